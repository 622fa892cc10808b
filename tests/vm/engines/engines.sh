# shellcheck shell=bash
# Sourced by the tests of container engines, which run in the virtual machine only:
# tap.sh, and engines whose default runtime is the tare in /usr/local/bin.
. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"
export TARE_BIN=/usr/local/bin/tare
image=busybox:local

# What hangs must not stop the rest.
for program in docker podman ctr cri-client; do eval "$program() { timeout 600 $program \"\$@\"; }"; done

# The cgroup driver of docker, CRI and podman: systemd unless TARE_DRIVER says cgroupfs.
driver=${TARE_DRIVER:-systemd}

# engine UNIT: has it run tare with that driver. The first test configures all of them.
engine() {
	local marker=/run/tare-engines-$driver
	if [ ! -e "$marker" ]; then
		rm -f /run/tare-engines-*
		use-runtime tare "$driver" --restart || exit 1
		touch "$marker"
	fi
	[ -z "${1:-}" ] || systemctl is-active --quiet "$1" || systemctl start "$1" || exit 1
}

# with_driver SYSTEMD CGROUPFS: the word for the driver in use.
with_driver() { if [ "$driver" = systemd ]; then echo "$1"; else echo "$2"; fi; }

# gives NAME CODE EXPECTED COMMAND...: the command's exit code, and what it prints, errors
# included, matches the pattern.
gives() {
	local output code=0
	"${@:4}" >"$scratch/output" 2>&1 </dev/null || code=$?
	# The terminal of on_terminal adds carriage returns, and echoes the end of its input.
	output=$(sed 's/\r//g; s/^\^[@D]//; s/\x08//g' <"$scratch/output" | tr -d '\0')
	# shellcheck disable=SC2053  (EXPECTED is a pattern)
	[[ $code = "$2" && $output == $3 ]]
	result "$1" $? "expected: $2: $3"$'\n'"got:      $code: $output"
}

# on_terminal ROWS COLUMNS COMMAND: a shell line on a terminal of that size.
on_terminal() { script --echo never --quiet --return --command "stty rows $1 cols $2; $3" /dev/null; }

# gone NAME COMMAND...: the command prints nothing, now or soon.
gone() {
	local last=
	nothing() { last=$("$@" 2>&1) && [ -z "$last" ]; }
	eventually nothing "${@:2}"
	result "$1" $? "left: $last"
}

# cgroups_left PATTERN UNIT: the cgroups whose path matches, and the units whose name does.
cgroups_left() {
	find /sys/fs/cgroup -mindepth 1 -type d -path "/sys/fs/cgroup$1" 2>/dev/null
	systemctl list-units --all --plain --no-legend "$2"
}

# What containerd's CRI has left.
pods_state() { find /run/containerd/runc/k8s.io -mindepth 1 2>/dev/null; true; }
pods_cgroups() { cgroups_left "$(with_driver '/kubepods.slice/*' '/kubepods/*')" 'cri-containerd-*.scope'; }
pods_leave_nothing() {
	gone "no state is left" pods_state
	gone "no cgroup is left" pods_cgroups
}

# short_run_ends: a run of the quickest checks alone (its first argument is `short`) is over here.
short=${1:-}
short_run_ends() { [ "$short" != short ] || { leaves_nothing; exit; }; }
