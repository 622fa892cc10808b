# shellcheck shell=bash disable=SC2154
# Sourced by scripts/test: the tests that need systemd and all controllers, in a virtual machine.

# Tests of engines that have a quick beginning worth its time on every run.
short_tests="containerd podman crio"
# Those outside of engines/ that are long; of these, too, only the beginning runs on every run.
long_tests="checkpoint checkpoint-systemd"
# Those that take an hour under emulation: they run only when FILTER is a part of their names, such as `swarm`.
hour_tests="engines/swarm engines/kubelet"

# virtual_machine [FILTER]: one machine for all of tests/vm/*, and for the beginnings of some tests/vm/engines/*. All
# of those run to their ends when FILTER is `engines` or part of a name: that takes half an hour under emulation.
virtual_machine() {
	local machine=test-$$
	has_image 900 || return 0
	if [[ packages == *"${1:-}"* ]]; then packages; fi
	if [[ faults == *"${1:-}"* ]] || [[ mount-namespace == *"${1:-}"* ]]; then programs; fi
	with_machine 180 fill vm_tests "${1:-}"
}

# has_image SECONDS: builds the image, or skips the tests.
has_image() {
	attempt vm-image "$1" scripts/vm build
	[ $code != 0 ] || return 0
	skip vm "no virtual machine can be had: $(tail -n 1 "$log")"
	return 1
}

# with_machine SECONDS FILL TESTS [FILTER]: starts `machine` with what FILL copies into its argument, `share`, calls TESTS
# with the filter, and destroys the machine.
with_machine() {
	local share
	share=$(mktemp -d)
	# shellcheck disable=SC2064  (the names are wanted as they are now)
	trap "scripts/vm stop $machine >/dev/null 2>&1; rm -rf $share" EXIT
	"$2" "$share"
	check vm-start "$1" scripts/vm start $machine --share "$share"
	if [ $code = 0 ]; then
		check vm-install 60 scripts/vm exec $machine -- "install /root/share/repository/target/tare /usr/local/bin/ &&
			systemd-run --quiet --unit=hold-perf-event /root/share/repository/scripts/testing/hold-perf-event"
		"$3" "${4:-}"
	fi
	scripts/vm stop $machine >/dev/null 2>&1
	rm -rf "$share"
	trap - EXIT
}

vm_tests() {
	local test
	for test in "$share"/repository/tests/vm/*; do
		if [ -z "$1" ] && [[ " $long_tests " == *" ${test##*/} "* ]]; then
			in_machine $machine "${test#"$share"/repository/}" "" short
		else
			in_machine $machine "${test#"$share"/repository/}" "$1"
		fi
	done
	for test in "$share"/repository/tests/vm/engines/*; do
		if [ -n "$1" ]; then
			in_machine $machine "${test#"$share"/repository/}" "${1/#engines/}"
		elif [[ " $short_tests " == *" ${test##*/} "* ]]; then
			in_machine $machine "${test#"$share"/repository/}" "" short
		fi
	done
	# What other programs of the machine do not survive.
	for test in "$share"/repository/tests/vm/last/*; do
		in_machine $machine "${test#"$share"/repository/}" "$1"
	done
}

# packages: one of this version, and a newer one of the same binary.
packages() {
	rm -rf target/packages-newer
	check packages 600 "${as_caller[@]}" scripts/package amd64
	[ $code != 0 ] || check packages-newer 600 "${as_caller[@]}" env PACKAGE_VERSION="$(newer_version)" \
		scripts/package --output target/packages-newer amd64
}

newer_version() { echo "$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)+1"; }

# fill SHARE: what the tests need of the repository, in its places.
fill() {
	local to=$1/repository name program
	mkdir -p "$to/target" "$to/scripts" "$to/tests"
	cp target/tare "$to/target/"
	[ ! -d target/packages-newer ] || cp -r target/packages target/packages-newer "$to/target/"
	cp -r scripts/bundle scripts/prerequisites.sh scripts/testing "$to/scripts/"
	cp -r tests/vm "$to/tests/"
	mkdir "$to/docs" && cp docs/nested.md "$to/docs/"
	while read -r name program; do
		case $name in faults | host) strip -o "$to/target/$name" "$program" ;; esac
	done <<<"${listed:-}"
}

# in_machine MACHINE PATH FILTER [ARGUMENT]: runs one test of the repository, unless the filter leaves it out.
in_machine() {
	local name=${2#tests/vm/} limit=600
	[ -f "$share/repository/$2" ] && [ -x "$share/repository/$2" ] && [[ $name == *$3* ]] || return 0
	[[ " $long_tests " != *" $name "* ]] || limit=1800
	if [[ " $hour_tests " == *" $name "* ]]; then
		[ -n "$3" ] || return 0
		limit=7200 deadline=$((SECONDS + limit))
	fi
	suite "vm/$name" $limit scripts/vm exec "$1" --timeout $((limit + 600)) -- \
		"cd /root/share/repository; TARE_BIN=/usr/local/bin/tare TARE_DRIVER=${TARE_DRIVER:-systemd} exec $2 ${4:-}"
}
