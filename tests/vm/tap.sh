# shellcheck shell=bash
# Sourced by the tests in shell: results in the Test Anything Protocol, a scratch directory
# that goes at the end, and containers of bundles made of busybox.
set -uo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export TARE_BIN=${TARE_BIN:-$repository/target/tare}
# The runtime under test; bundles are those of tare for each.
runtime=${TARE_RUNTIME:-$TARE_BIN}
scratch=$(mktemp -d) results=0 failures=0
trap 'finish' EXIT

# tare ARGUMENT...: with a state directory of its own.
tare() { timeout 60 "$runtime" --root "$scratch/state" "$@"; }

# bundle NAME [PROGRAM [ARGUMENT...]]: makes the bundle $scratch/NAME.
bundle() { "$repository/scripts/bundle" "$scratch/$1" "${@:2}"; }

# resources NAME JSON: adds members to linux.resources of a bundle, such as '"pids": {"limit": 9}'.
resources() { sed -i "s|\"resources\": {|&${2//$'\n'/ },|" "$scratch/$1/config.json"; }

# result NAME STATUS [TEXT]: one line of TAP, with the text below it when STATUS is not 0.
result() {
	results=$((results + 1))
	[ "$2" = 0 ] && echo "ok $results - $1" && return
	failures=$((failures + 1))
	echo "not ok $results - $1"
	[ -z "${3:-}" ] || sed 's/^/# /' <<<"$3"
}

# prints NAME EXPECTED COMMAND...: what the command prints, errors included, matches the pattern.
# Into a file: a container that stays would hold a pipe open.
prints() {
	local output
	"${@:3}" >"$scratch/output" 2>&1 </dev/null
	output=$(<"$scratch/output")
	# shellcheck disable=SC2053  (EXPECTED is a pattern)
	[[ $output == $2 ]]
	result "$1" $? "expected: $2"$'\n'"printed:  $output"
}

# skip NAME REASON
skip() {
	results=$((results + 1))
	echo "ok $results - $1 # SKIP $2"
}

# eventually COMMAND...: true as soon as the command is, at the latest after two minutes or TARE_PATIENCE seconds.
eventually() {
	local end=$((SECONDS + ${TARE_PATIENCE:-120}))
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

finish() {
	for id in $(tare list --quiet 2>/dev/null); do tare delete --force "$id"; done
	rm -rf --one-file-system "$scratch"
	echo "1..$results"
	[ $failures = 0 ] || exit 1
}
