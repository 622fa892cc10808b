# shellcheck shell=bash disable=SC2154
# Sourced by scripts/test: the tests on aarch64, in a virtual machine of that processor. The programs
# of tests/ are built here and run there.

export TARE_VM_ARCH=arm64
arm64_target=aarch64-unknown-linux-musl

# arm64_machine [FILTER]: FILTER is a part of `host/PROGRAM`, of `conformance` or of the name of a test in tests/vm.
arm64_machine() {
	local test machine=test-arm64-$$ share
	deadline=$((240 * 60))
	attempt vm-image 3600 scripts/vm build
	if [ $code != 0 ]; then
		skip vm "no virtual machine can be had: $(tail -n 1 "$log")"
		return
	fi
	check build 900 "${as_caller[@]}" scripts/build aarch64
	arm64_programs
	[ $failed = 0 ] || return
	share=$(mktemp -d)
	# shellcheck disable=SC2064  (the names are wanted as they are now)
	trap "scripts/vm stop $machine >/dev/null 2>&1; rm -rf $share" EXIT
	arm64_fill "$share"
	check vm-start 600 scripts/vm start $machine --share "$share"
	if [ $code = 0 ]; then
		# The programs look for files of the repository where they were built.
		check vm-install 60 scripts/vm exec $machine -- "install /root/share/repository/target/tare /usr/local/bin/ &&
			mkdir -p ${root%/*} && ln -sfn /root/share/repository $root &&
			systemd-run --quiet --unit=hold-perf-event /root/share/repository/scripts/testing/hold-perf-event"
		arm64_tests "${1:-}"
	fi
	scripts/vm stop $machine >/dev/null 2>&1
	rm -rf "$share"
	trap - EXIT
}

# arm64_programs: builds the programs of tests/, which are static, with Rust's own linker. `listed` as in `programs`.
arm64_programs() {
	check host-programs 1800 "${as_caller[@]}" env CARGO_PROFILE_DEV_DEBUG=0 cargo test --locked --no-run --test '*' --lib \
		--target $arm64_target --config "target.$arm64_target.linker=\"rust-lld\""
	listed=$(list_programs)$'\n'$(sed -n 's|^ *Executable unittests src/lib.rs (\(.*\))$|unit \1|p' "$log")
}

# arm64_fill SHARE: what the tests need of the repository, in its places.
arm64_fill() {
	local to=$1/repository name program
	mkdir -p "$to/target"
	cp target/tare-aarch64 "$to/target/tare"
	cp -r docs scripts tests "$to/"
	while read -r name program; do
		cp "$program" "$to/target/$name"
	done <<<"$listed"
}

# arm64_tests FILTER: one after the other, in the order of scripts/test.
arm64_tests() {
	local name test
	while read -r name _; do
		[[ host/$name != *$1* ]] || arm64_suite "host/$name" "scripts/testing/world target/$name --include-ignored --show-output"
	done <<<"$listed"
	if [[ conformance == *$1* ]]; then suite arm64/conformance 3600 scripts/conformance --vm target/tare-aarch64; fi
	for test in "$share"/repository/tests/vm/* "$share"/repository/tests/vm/engines/* "$share"/repository/tests/vm/last/*; do
		name=${test#"$share"/repository/tests/vm/}
		# engines.sh is sourced. What is long is cut short, as in a run of everything on amd64, unless it was asked for.
		[ -f "$test" ] && [ -x "$test" ] && [[ vm/$name == *$1* ]] || continue
		arm64_suite "vm/$name" "tests/vm/$name $([ -n "$1" ] || echo short)"
	done
}

arm64_suite() {
	suite "arm64/$1" 3600 scripts/vm exec "$machine" --timeout 3500 -- "cd $root; export TARE_BIN=/usr/local/bin/tare
		export TARE_RUNTIME=\$TARE_BIN TARE_DRIVER=${TARE_DRIVER:-systemd}; exec $2"
}
