# shellcheck shell=bash disable=SC2154
# Sourced by the tests of CRI-O's contract: bundles with the configs that CRI-O 1.37 writes, and its calls (crio.py) through
# conmon. Each call is a process of its own: nothing but conmon lives on between two of them.
. "$(dirname "${BASH_SOURCE[0]}")/engines.sh"
command -v conmon >/dev/null || { echo "conmon is not there"; exit 77; }

export CRIO_HOME=$scratch CRIO_RUNTIME=$(command -v "$runtime") CRIO_DRIVER=$driver
parent=$(with_driver kubepods-crio.slice /kubepods/crio)
mkdir -p "$scratch"/{exits,sockets,logs,shm}
crio() { timeout 300 /usr/bin/python3 -B "$repository/tests/vm/engines/crio.py" "$@"; }

# What CRI-O's generator writes, from the bundle's own config: $name, $home, $path (the cgroup) and $syscalls are given.
written='
	["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "KILL"] as $capabilities
	| {destination: "/etc", type: "bind", options: ["rw", "bind"]} as $file
	| .ociVersion = "1.3.0"
	| .process.capabilities = ([$capabilities[] | "CAP_" + .] | {bounding: ., effective: ., permitted: .})
	| .process.env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=pod"]
	| .process.oomScoreAdj = 992 | .process.user.additionalGids = [0] | del(.process.rlimits, .process.noNewPrivileges)
	| .root = {path: "\($home)/\($name)/rootfs"} | .hostname = "pod"
	| .mounts = [
		{destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"]},
		{destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"]},
		{destination: "/dev/pts", type: "devpts", source: "devpts",
			options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
		{destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"]},
		{destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"]},
		{destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup",
			options: ["nosuid", "noexec", "nodev", "relatime", "ro"]},
		$file + {destination: "/dev/shm", source: "\($home)/shm"},
		$file + {destination: "/etc/resolv.conf", source: "\($home)/resolv.conf", options: ["rw", "bind", "nodev", "nosuid", "noexec"]},
		$file + {destination: "/etc/hostname", source: "\($home)/hostname"},
		$file + {destination: "/run/.containerenv", source: "\($home)/containerenv"}]
	| .annotations = {"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.TTY": "\(.process.terminal)",
		"io.kubernetes.cri-o.Volumes": "[]", "io.kubernetes.container.name": $name}
	| if $path[:1] == "/" then . else .annotations += {"org.systemd.property.DefaultDependencies": "true",
		"org.systemd.property.TimeoutStopUSec": "uint64 30000000", "org.systemd.property.After": "['"'crio.service'"']"} end
	| .linux = {cgroupsPath: $path, seccomp: $syscalls,
		resources: {devices: [{allow: false, access: "rwm"}], pids: {limit: 99}, memory: {limit: 67108864, swap: 67108864},
			cpu: {shares: 256, quota: 50000, period: 100000}},
		namespaces: ["pid", "network", "ipc", "uts", "mount", "cgroup"] | map({type: .}),
		maskedPaths: ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
			"/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"],
		readonlyPaths: ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]}'
syscalls='{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
	"syscalls": [{"names": ["bdflush", "keyctl", "add_key"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": []}]}'
echo pod >"$scratch/hostname"
touch "$scratch/resolv.conf" "$scratch/containerenv"

# container NAME FILTER PROGRAM [ARGUMENT...]: a bundle with a config as CRI-O writes it, and jq's FILTER applied to that.
container() {
	bundle "$1" "${@:3}"
	jq --arg name "$1" --arg home "$scratch" --arg path "$(cgroups_path "$1")" --argjson syscalls "$syscalls" \
		"$written | $2" "$scratch/$1/config.json" >"$scratch/config" && mv "$scratch/config" "$scratch/$1/config.json"
}
# create NAME [OPTION...]: the options of crio.py. starts NAME [OPTION...]: and starts it.
create() { crio create "$@" >"$scratch/created" 2>&1 </dev/null; }
starts() { create "$@" && crio runtime "$1" start >"$scratch/started" 2>&1; }
said() { cat "$scratch/created" "$scratch/started" "$scratch/logs/$1.log" 2>&1; }
cgroups_path() { with_driver "$parent:crio:$1" "$parent/crio-$1"; }
cgroup() { with_driver "/kubepods.slice/$parent/crio-$1.scope" "$parent/crio-$1"; }
# inner NAME: what the runtime adds to that path. CRI-O looks for a cgroup named container, as crun makes it with systemd.
inner() { [ ! -d "$(files "$1")/container" ] || echo /container; }
files() { echo "/sys/fs/cgroup$(cgroup "$1")"; }
pid() { cat "$scratch/$1/pidfile"; }
# The container's output without time and stream.
log() { sed 's/^[^ ]* [a-z]* [FP] //' "$scratch/logs/$1.log"; }
logged() { log "$1" | grep -qx "$2"; }
removed() { crio runtime "$1" delete --force; }

crio_left() {
	systemctl list-units --all --plain --no-legend 'crio-*.scope'
	find /sys/fs/cgroup -name 'crio-*'
	find "$scratch/state" -mindepth 1 -not -path '*/locks*'
	pgrep -x conmon
	pgrep -f "$scratch"
	true
}
finish_crio() {
	local id
	for id in $(tare list --quiet); do tare delete --force "$id"; done
	# What is pinned below: the scratch directory is removed next.
	awk -v scratch="$scratch/" 'index($5, scratch) == 1 { print $5 }' /proc/self/mountinfo | tac | xargs -r umount
	rmdir /sys/fs/cgroup/kubepods/crio /sys/fs/cgroup/kubepods 2>/dev/null
	finish
}
trap finish_crio EXIT
