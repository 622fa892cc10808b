# shellcheck shell=bash disable=SC2154
# Sourced by scripts/test after vm.sh: all tests in a virtual machine of another processor, or with the kernel of another
# Debian. The programs of tests/ are built here and run there.

# other_machine --arch|--kernel VALUE [FILTER]: FILTER is a part of `host/PROGRAM`, of `conformance` or of the name of a
# test in tests/vm.
other_machine() {
	local machine kind file=target/tare target=x86_64-unknown-linux-musl
	case $1 in
	--arch)
		kind=$2 file=target/tare-aarch64 target=aarch64-unknown-linux-musl
		export TARE_VM_ARCH=$2 TARE_VM_KERNEL=
		;;
	--kernel) kind=linux-$2 && export TARE_VM_ARCH=amd64 TARE_VM_KERNEL=$2 ;;
	esac
	machine=test-$kind-$$
	deadline=$((240 * 60))
	has_image 3600 || return 0
	case $1 in
	--arch) check build 900 "${as_caller[@]}" scripts/build aarch64 ;;
	--kernel) binary ;;
	esac
	programs_of "$target"
	[ $failed = 0 ] || return
	with_machine 600 fill_other other_tests "${3:-}"
}

# programs_of TARGET: builds the programs of tests/, which are static; for another processor with Rust's own linker.
# `listed` as in `programs`.
programs_of() {
	local settings=(--locked --target "$1")
	[ "$1" = x86_64-unknown-linux-musl ] || settings+=(--config "target.$1.linker=\"rust-lld\"")
	check examples 900 "${as_caller[@]}" env CARGO_PROFILE_DEV_DEBUG=0 cargo build --examples "${settings[@]}"
	check host-programs 1800 "${as_caller[@]}" env CARGO_PROFILE_DEV_DEBUG=0 cargo test --no-run --test '*' --lib "${settings[@]}"
	listed=$(list_programs)$'\n'$(sed -n 's|^ *Executable unittests src/lib.rs (\(.*\))$|unit \1|p' "$log")
}

# fill_other SHARE: what the tests need of the repository, in its places.
fill_other() {
	local to=$1/repository name program
	mkdir -p "$to/target" "$to/examples"
	cp "$file" "$to/target/tare"
	cp -r docs scripts tests "$to/"
	# Next to the directory of the programs, as cargo has them.
	cp "target/$target/debug/examples/"{list,run_container,supervise} "$to/examples/"
	while read -r name program; do
		cp "$program" "$to/target/$name"
	done <<<"$listed"
}

# other_tests FILTER: one after the other, in the order of scripts/test.
other_tests() {
	local name test
	# The programs look for files of the repository where they were built.
	check vm-repository 60 scripts/vm exec $machine -- "mkdir -p ${root%/*} && ln -sfn /root/share/repository $root"
	while read -r name _; do
		# /tmp is a tmpfs there without devices.
		[[ host/$name != *$1* ]] || other_suite "host/$name" \
			"env TMPDIR=/var/tmp scripts/testing/world target/$name --include-ignored --show-output"
	done <<<"$listed"
	if [[ conformance == *$1* ]]; then suite "$kind/conformance" 3600 scripts/conformance --vm "$file"; fi
	for test in "$share"/repository/tests/vm/* "$share"/repository/tests/vm/engines/* "$share"/repository/tests/vm/last/*; do
		name=${test#"$share"/repository/tests/vm/}
		# engines.sh is sourced. What is long is cut short, as in a run of everything on amd64, unless it was asked for.
		[ -f "$test" ] && [ -x "$test" ] && [[ vm/$name == *$1* ]] || continue
		[ -n "$1" ] || [[ " $hour_tests " != *" $name "* ]] || continue
		other_suite "vm/$name" "tests/vm/$name $([ -n "$1" ] || echo short)"
	done
}

other_suite() {
	suite "$kind/$1" 3600 scripts/vm exec "$machine" --timeout 3500 -- "cd $root; export TARE_BIN=/usr/local/bin/tare
		export TARE_RUNTIME=\$TARE_BIN TARE_DRIVER=${TARE_DRIVER:-systemd}; exec $2"
}
