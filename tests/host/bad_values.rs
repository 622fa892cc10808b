//! Values in config.json that cannot be accepted: each is refused by one line that names its JSON path and what to do,
//! before or while the container is made, and nothing is left of it.

use serde_json::Value;

use crate::bundle::{Bundle, is_skipped, is_tare};

/// A name, edits (JSON pointer and value; an empty value removes the key), the line. In it `{bundle}` stands for the
/// bundle's path, and "..." at the end for more words of the kernel's or the host's.
pub type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[rustfmt::skip]
const DOCUMENT: &[Case] = &[
    ("no version", &[("/ociVersion", "")],
     r#"ociVersion: is missing; it looks like "1.2.0""#),
    ("version of the future", &[("/ociVersion", r#""2.0.0""#)],
     r#"ociVersion: version "2.0.0" of the spec is not 1.x"#),
    ("version that is none", &[("/ociVersion", r#""latest""#)],
     r#"ociVersion: "latest" is not a version; it looks like "1.2.0""#),
    ("version of the wrong type", &[("/ociVersion", "1")],
     "ociVersion: 1 where a string is expected"),
    ("no root", &[("/root", "")],
     "root: config.json has no root"),
    ("empty rootfs path", &[("/root/path", r#""""#)],
     "root.path: the path of the root filesystem is empty"),
    ("rootfs that is missing", &[("/root/path", r#""nothing""#)],
     "root.path: open the rootfs {bundle}/nothing: no such file or directory"),
    ("rootfs that is a file", &[("/root/path", r#""config.json""#)],
     "root.path: open the rootfs {bundle}/config.json: not a directory"),
    ("virtual machine", &[("/vm", r#"{"kernel":{"path":"/k"}}"#)],
     "vm: tare does not run virtual machines"),
    ("mounts that are no list", &[("/mounts", "{}")],
     "mounts: an object where a list is expected"),
    ("misspelt key of a mount", &[("/mounts/0", r#"{"destinaton":"/proc"}"#)],
     r#"mounts[0]: "destination" is missing; "destinaton" is not known: did you mean "destination"?"#),
    ("wrong type deep inside", &[("/process/user/uid", r#""root""#)],
     r#"process.user.uid: "root" where a number from 0 to 4294967295 is expected"#),
];

#[rustfmt::skip]
const PROCESS: &[Case] = &[
    ("no arguments", &[("/process/args", "[]")],
     "process.args: args must not be empty"),
    ("arguments left out", &[("/process/args", "")],
     "process.args: args must not be empty"),
    ("program without a name", &[("/process/args", r#"[""]"#)],
     r#"process.args[0]: exec: "": executable file not found in $PATH"#),
    ("NUL in an argument", &[("/process/args", r#"["/bin/true","a\u0000b"]"#)],
     "process.args[1]: contains a NUL character"),
    ("program that is missing", &[("/process/args", r#"["nothing"]"#)],
     r#"process.args[0]: exec: "nothing": executable file not found in $PATH"#),
    ("path that is missing", &[("/process/args", r#"["/no/thing"]"#)],
     r#"process.args[0]: exec: "/no/thing": stat /no/thing: no such file or directory"#),
    ("program that may not be run", &[("/process/args", r#"["/etc/passwd"]"#)],
     r#"process.args[0]: exec: "/etc/passwd": permission denied"#),
    ("program that is a directory", &[("/process/args", r#"["/tmp"]"#)],
     r#"process.args[0]: exec: "/tmp": is a directory"#),
    ("no cwd", &[("/process/cwd", "")],
     r#"process: "cwd" is missing"#),
    ("relative cwd", &[("/process/cwd", r#""tmp""#)],
     r#"process.cwd: cwd must be an absolute path, not "tmp""#),
    ("empty cwd", &[("/process/cwd", r#""""#)],
     "process.cwd: cwd must not be empty"),
    ("cwd below a file", &[("/process/cwd", r#""/etc/passwd/x""#)],
     r#"process.cwd: chdir to cwd ("/etc/passwd/x") set in config.json failed: not a directory"#),
    ("cwd that is a file", &[("/process/cwd", r#""/etc/passwd""#)],
     r#"process.cwd: chdir to cwd ("/etc/passwd") set in config.json failed: not a directory"#),
    ("cwd through a descriptor", &[("/process/cwd", r#""/proc/self/fd/5""#)],
     r#"process.cwd: chdir to cwd ("/proc/self/fd/5") set in config.json failed: too many levels of symbolic links; directories reached through links in /proc are not accepted"#),
    ("NUL in the environment", &[("/process/env", r#"["A=\u0000"]"#)],
     "process.env[0]: contains a NUL character"),
    ("environment without =", &[("/process/env", r#"["PATH=/bin","A"]"#)],
     r#"process.env[1]: invalid environment variable: "A"; an entry has the form NAME=value"#),
    ("environment without a name", &[("/process/env", r#"["=x"]"#)],
     r#"process.env[0]: environment variable name can't be empty: "=x""#),
    ("uid -1", &[("/process/user/uid", "-1")],
     "process.user.uid: -1 where a number from 0 to 4294967295 is expected"),
    ("uid that the kernel takes for no change", &[("/process/user/uid", "4294967295")],
     "process.user.uid: 4294967295 is not an id: ids go from 0 to 4294967294"),
    ("uid of more than 32 bits", &[("/process/user/uid", "4294967296")],
     "process.user.uid: 4294967296 where a number from 0 to 4294967295 is expected"),
    ("gid that the kernel takes for no change", &[("/process/user/gid", "4294967295")],
     "process.user.gid: 4294967295 is not an id: ids go from 0 to 4294967294"),
    ("additional gid that is none", &[("/process/user/additionalGids", "[1,4294967295]")],
     "process.user.additionalGids[1]: 4294967295 is not an id: ids go from 0 to 4294967294"),
    ("umask", &[("/process/user/umask", "512")],
     "process.user.umask: 512 (octal 1000) is above 511 (octal 777)"),
    ("unknown rlimit", &[("/process/rlimits", r#"[{"type":"RLIMIT_NOFILES","soft":1,"hard":1}]"#)],
     r#"process.rlimits[0].type: unknown value "RLIMIT_NOFILES"; did you mean "RLIMIT_NOFILE"?"#),
    ("rlimit twice", &[("/process/rlimits", r#"[{"type":"RLIMIT_NOFILE","soft":9,"hard":9},{"type":"RLIMIT_NOFILE","soft":8,"hard":8}]"#)],
     "process.rlimits[1].type: RLIMIT_NOFILE is given twice"),
    ("soft above hard", &[("/process/rlimits", r#"[{"type":"RLIMIT_NOFILE","soft":9,"hard":8}]"#)],
     "process.rlimits[0].soft: the soft limit 9 of RLIMIT_NOFILE is above its hard limit 8"),
    ("rlimit above the kernel's", &[("/process/rlimits", r#"[{"type":"RLIMIT_NOFILE","soft":9000000000,"hard":9000000000}]"#)],
     "process.rlimits[0]: set the rlimit: operation not permitted; a higher hard limit needs CAP_SYS_RESOURCE on the host, and RLIMIT_NOFILE ends at /proc/sys/fs/nr_open"),
    ("effective beyond permitted", &[("/process/capabilities/effective", r#"["CAP_SYS_ADMIN"]"#)],
     "process.capabilities.effective: CAP_SYS_ADMIN must be in permitted, too"),
    ("capabilities that are no list", &[("/process/capabilities/bounding", r#""CAP_KILL""#)],
     r#"process.capabilities.bounding: "CAP_KILL" where a list is expected"#),
    ("score", &[("/process/oomScoreAdj", "1001")],
     "process.oomScoreAdj: 1001 is not between -1000 and 1000"),
    ("AppArmor where there is none", &[("/process/apparmorProfile", r#""docker-default""#)],
     r#"process.apparmorProfile: AppArmor profile "docker-default": AppArmor is not enabled on this host"#),
    ("SELinux where there is none", &[("/process/selinuxLabel", r#""system_u:system_r:container_t:s0""#)],
     "process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported"),
    ("I/O priority", &[("/process/ioPriority", r#"{"class":"IOPRIO_CLASS_BE","priority":8}"#)],
     "process.ioPriority.priority: 8 is not between 0 and 7"),
    ("unknown I/O class", &[("/process/ioPriority", r#"{"class":"IOPRIO_CLASS_BEE","priority":1}"#)],
     r#"process.ioPriority.class: unknown value "IOPRIO_CLASS_BEE"; did you mean "IOPRIO_CLASS_BE"?"#),
    ("scheduler", &[("/process/scheduler", r#"{"policy":"SCHED_OTHER","nice":20}"#)],
     "process.scheduler.nice: 20 is not between -20 and 19"),
    ("unknown scheduler", &[("/process/scheduler", r#"{"policy":"SCHED_FIFOO"}"#)],
     r#"process.scheduler.policy: unknown value "SCHED_FIFOO"; did you mean "SCHED_FIFO"?"#),
    ("priority for a policy without", &[("/process/scheduler", r#"{"policy":"SCHED_BATCH","deadline":5}"#)],
     "process.scheduler.deadline: is for SCHED_DEADLINE, not for SCHED_BATCH"),
    ("terminal on create without a socket", &[("/process/terminal", "true")],
     "process.terminal: a detached process with a terminal needs a console socket; give --console-socket PATH with a listener on it, or set process.terminal to false, or do not detach"),
];

#[rustfmt::skip]
const NAMESPACES: &[Case] = &[
    ("misspelt", &[("/linux/namespaces/-", r#"{"type":"utss"}"#)],
     r#"linux.namespaces[6].type: unknown value "utss"; did you mean "uts"?"#),
    ("no type", &[("/linux/namespaces/-", "{}")],
     r#"linux.namespaces[6]: "type" is missing"#),
    ("twice", &[("/linux/namespaces/-", r#"{"type":"pid"}"#)],
     "linux.namespaces[6]: namespace type pid is listed twice"),
    ("relative path", &[("/linux/namespaces/4", r#"{"type":"network","path":"ns/net"}"#)],
     "linux.namespaces[4].path: namespace path ns/net is not absolute"),
    ("path that is missing", &[("/linux/namespaces/4", r#"{"type":"network","path":"/no/net"}"#)],
     "linux.namespaces[4].path: open network namespace /no/net: no such file or directory"),
    ("path of another kind", &[("/linux/namespaces/4", r#"{"type":"network","path":"/proc/self/ns/ipc"}"#)],
     "linux.namespaces[4].path: join the network namespace /proc/self/ns/ipc: invalid argument; the file is not a network namespace"),
    ("path of no namespace", &[("/linux/namespaces/4", r#"{"type":"network","path":"/etc/passwd"}"#)],
     "linux.namespaces[4].path: join the network namespace /etc/passwd: invalid argument; the file is not a network namespace"),
    ("hostname without uts", &[("/linux/namespaces/2", r#"{"type":"user"}"#)],
     "linux.uidMappings: a new user namespace is asked for, but no id mappings found; map at least id 0 of the container"),
    ("long hostname", &[("/hostname", r#""a123456789b123456789c123456789d123456789e123456789f123456789g1234""#)],
     "hostname: 65 bytes; the kernel accepts at most 64"),
    ("mappings without user namespace", &[("/linux/uidMappings", r#"[{"containerID":0,"hostID":0,"size":1}]"#)],
     r#"linux.uidMappings: id mappings are given, but no user namespace; add {"type": "user"} to linux.namespaces or remove the mappings"#),
    ("user namespace without mappings", &[("/linux/namespaces/-", r#"{"type":"user"}"#)],
     "linux.uidMappings: a new user namespace is asked for, but no id mappings found; map at least id 0 of the container"),
    ("mappings that wrap", &[("/linux/namespaces/-", r#"{"type":"user"}"#), ("/linux/uidMappings", r#"[{"containerID":0,"hostID":4294967295,"size":2}]"#), ("/linux/gidMappings", r#"[{"containerID":0,"hostID":0,"size":1}]"#)],
     "linux.uidMappings[0]: mapping of 2 ids from 0 to 4294967295 is empty or exceeds the range of ids"),
    ("mappings that overlap", &[("/linux/namespaces/-", r#"{"type":"user"}"#), ("/linux/uidMappings", r#"[{"containerID":0,"hostID":0,"size":10},{"containerID":5,"hostID":100,"size":10}]"#), ("/linux/gidMappings", r#"[{"containerID":0,"hostID":0,"size":1}]"#)],
     "linux.uidMappings: write /proc/..."),
    ("root is not mapped", &[("/linux/namespaces/-", r#"{"type":"user"}"#), ("/linux/uidMappings", r#"[{"containerID":1,"hostID":100000,"size":10}]"#), ("/linux/gidMappings", r#"[{"containerID":0,"hostID":100000,"size":10}]"#)],
     "linux.uidMappings: become root of the user namespace: invalid argument; id 0 of the container must be mapped"),
    ("time offsets without time namespace", &[("/linux/timeOffsets", r#"{"monotonic":{"secs":1}}"#)],
     r#"linux.timeOffsets: time offsets are given, but no new time namespace; add {"type": "time"} to linux.namespaces"#),
    ("propagation without mount namespace", &[("/linux/namespaces/1", r#"{"type":"time"}"#), ("/linux/rootfsPropagation", r#""shared""#)],
     r#"linux.rootfsPropagation: needs a mount namespace of the container's own; add {"type": "mount"} to linux.namespaces"#),
    ("sysctl of the host", &[("/linux/sysctl", r#"{"vm.swappiness":"1"}"#)],
     r#"linux.sysctl["vm.swappiness"]: this sysctl is not namespaced, setting it would change the host; set it on the host"#),
    ("sysctl that climbs", &[("/linux/sysctl", r#"{"net/../kernel/panic":"1"}"#)],
     r#"linux.sysctl["net/../kernel/panic"]: not a sysctl name"#),
    ("sysctl of a shared namespace", &[("/linux/namespaces/4", r#"{"type":"time"}"#), ("/linux/sysctl", r#"{"net.ipv4.ip_forward":"1"}"#)],
     r#"linux.sysctl["net.ipv4.ip_forward"]: this sysctl belongs to the network namespace, and the container shares the host's; add {"type": "network"} to linux.namespaces"#),
    ("sysctl that does not exist", &[("/linux/sysctl", r#"{"net.ipv4.no_such_thing":"1"}"#)],
     r#"linux.sysctl["net.ipv4.no_such_thing"]: write "1": no such file or directory; this kernel has no such sysctl"#),
    ("sysctl with a bad value", &[("/linux/sysctl", r#"{"net.ipv4.ip_forward":"yes"}"#)],
     r#"linux.sysctl["net.ipv4.ip_forward"]: write "yes": invalid argument"#),
    ("host name as sysctl", &[("/linux/sysctl", r#"{"kernel.hostname":"x"}"#)],
     r#"linux.sysctl["kernel.hostname"]: the hostname is not set by sysctl; use the field hostname"#),
];

#[rustfmt::skip]
const MOUNTS: &[Case] = &[
    ("unknown option of tmpfs", &[("/mounts/-", r#"{"destination":"/tmp","type":"tmpfs","source":"tmpfs","options":["nosuid","nosiud"]}"#)],
     r#"mounts[4].options[1]: mount tmpfs on /tmp: invalid argument (tmpfs: Unknown parameter 'nosiud'); did you mean "nosuid"?"#),
    ("bad value of a tmpfs option", &[("/mounts/-", r#"{"destination":"/tmp","type":"tmpfs","source":"tmpfs","options":["size=lots"]}"#)],
     "mounts[4].options[0]: mount tmpfs on /tmp: invalid argument (tmpfs: Bad value for 'size')"),
    ("unknown option of a bind mount", &[("/mounts/-", r#"{"destination":"/tmp","type":"bind","source":"/etc","options":["rbind","readonly"]}"#)],
     r#"mounts[4].options[1]: unknown option "readonly" of a bind mount"#),
    ("unknown filesystem", &[("/mounts/-", r#"{"destination":"/tmp","type":"tmfps","source":"x"}"#)],
     "mounts[4]: mount tmfps on /tmp: no such device (unknown filesystem type)"),
    ("missing source of a bind mount", &[("/mounts/-", r#"{"destination":"/tmp","type":"bind","source":"/no/source","options":["rbind"]}"#)],
     "mounts[4].source: bind /no/source on /tmp: open the source: no such file or directory"),
    ("bind mount without a source", &[("/mounts/-", r#"{"destination":"/tmp","options":["bind"]}"#)],
     "mounts[4].source: a bind mount needs a source"),
    ("file on a directory", &[("/mounts/-", r#"{"destination":"/tmp","source":"/etc/passwd","options":["bind"]}"#)],
     "mounts[4]: bind /etc/passwd on /tmp: invalid argument; a file cannot be mounted on a directory, nor a directory on a file"),
    ("directory on a file", &[("/mounts/-", r#"{"destination":"/etc/passwd","source":"/tmp","options":["bind"]}"#)],
     "mounts[4]: bind /tmp on /etc/passwd: invalid argument; a file cannot be mounted on a directory, nor a directory on a file"),
    ("mount point below a file", &[("/mounts/-", r#"{"destination":"/etc/passwd/x","type":"tmpfs","source":"tmpfs"}"#)],
     "mounts[4].destination: resolve the mount destination /etc/passwd/x: not a directory"),
    ("no destination", &[("/mounts/-", r#"{"type":"tmpfs","source":"tmpfs"}"#)],
     r#"mounts[4]: "destination" is missing"#),
    ("NUL in a source", &[("/mounts/-", r#"{"destination":"/tmp","source":"/a\u0000b","options":["bind"]}"#)],
     "mounts[4].source: contains a NUL character"),
    ("tmpfs over /proc/self", &[("/mounts/-", r#"{"destination":"/proc/self/attr","type":"tmpfs","source":"tmpfs"}"#)],
     r#"mounts[4].destination: "/proc/self/attr" cannot be mounted on because it is inside /proc"#),
    ("long path", &[("/mounts/-", r#"{"destination":"/a123456789b123456789c123456789d123456789e123456789f123456789g123456789h123456789i123456789j123456789k123456789l123456789m123456789n123456789o123456789p123456789q123456789r123456789s123456789t123456789u123456789v123456789w123456789x123456789y123456789z123456789","type":"tmpfs","source":"tmpfs"}"#)],
     "mounts[4].destination: file name too long"),
    ("mappings of a mount", &[("/mounts/-", r#"{"destination":"/tmp","source":"/etc","options":["bind"],"uidMappings":[{"containerID":0,"hostID":0,"size":1}]}"#)],
     "mounts[4].uidMappings: needs gidMappings too"),
    ("unknown propagation", &[("/linux/rootfsPropagation", r#""rslaev""#)],
     r#"linux.rootfsPropagation: unknown propagation "rslaev"; did you mean "slave"?"#),
    ("relative masked path", &[("/linux/maskedPaths", r#"["proc/kcore"]"#)],
     r#"linux.maskedPaths[0]: "proc/kcore" is not an absolute path"#),
    ("relative read-only path", &[("/linux/readonlyPaths", r#"["proc/sys"]"#)],
     r#"linux.readonlyPaths[0]: "proc/sys" is not an absolute path"#),
];

#[rustfmt::skip]
const LINUX: &[Case] = &[
    ("memory without its controller", &[("/linux/resources/memory", r#"{"limit":1000000000}"#)],
     "linux.resources.memory.limit: this host's cgroup v2 has no memory controller"),
    ("pids without its controller", &[("/linux/resources/pids", r#"{"limit":100}"#)],
     "linux.resources.pids.limit: this host's cgroup v2 has no pids controller"),
    ("cpu without its controller", &[("/linux/resources/cpu", r#"{"shares":100}"#)],
     "linux.resources.cpu.shares: this host's cgroup v2 has no cpu controller"),
    ("negative memory", &[("/linux/resources/memory", r#"{"limit":-2}"#)],
     "linux.resources.memory.limit: -2 is negative; -1 means no limit"),
    ("swap without memory", &[("/linux/resources/memory", r#"{"swap":5}"#)],
     "linux.resources.memory.swap: is memory plus swap and needs a memory limit; set linux.resources.memory.limit"),
    ("kernel memory", &[("/linux/resources/memory", r#"{"kernel":5}"#)],
     "linux.resources.memory.kernel: cgroup v2 has no separate limit for kernel memory; memory.limit covers it"),
    ("unified file that is none", &[("/linux/resources/unified", r#"{"../cgroup.procs":"1"}"#)],
     r#"linux.resources.unified["../cgroup.procs"]: is not a file of a cgroup; write it as CONTROLLER.FILE"#),
    ("unified file without a controller", &[("/linux/resources/unified", r#"{"memory.nothing":"1"}"#)],
     r#"linux.resources.unified["memory.nothing"]: this host's cgroup v2 has no memory controller"#),
    ("unified file of cgroup itself", &[("/linux/resources/unified", r#"{"cgroup.procs":"1"}"#)],
     r#"linux.resources.unified["cgroup.procs"]: only tare writes this file; of cgroup.*, cgroup.max.depth, cgroup.max.descendants, cgroup.pressure can be set"#),
    ("page size", &[("/linux/resources/hugepageLimits", r#"[{"pageSize":"2XB","limit":1}]"#)],
     r#"linux.resources.hugepageLimits[0].pageSize: "2XB" is not a page size; write it like 64KB, 2MB or 1GB"#),
    ("device rule of an unknown type", &[("/linux/resources/devices", r#"[{"allow":true,"type":"x","access":"r"}]"#)],
     r#"linux.resources.devices[0].type: unknown value "x"; known are a, b, c, u, p"#),
    ("device rule without access", &[("/linux/resources/devices", r#"[{"allow":true,"type":"c","access":""}]"#)],
     r#"linux.resources.devices[0].access: is empty; use letters of rwm"#),
    ("cgroup that climbs", &[("/linux/cgroupsPath", r#""/../tare""#)],
     r#"linux.cgroupsPath: component ".." is not allowed"#),
    ("root of the hierarchy", &[("/linux/cgroupsPath", r#""/""#)],
     r#"linux.cgroupsPath: "/" is the root of the hierarchy; name a cgroup below it"#),
    ("line break in the cgroup", &[("/linux/cgroupsPath", r#""/a\nb""#)],
     r#"linux.cgroupsPath: component "a\nb" has a control character"#),
    ("device of an unknown type", &[("/linux/devices", r#"[{"path":"/dev/x","type":"x","major":1,"minor":1}]"#)],
     r#"linux.devices[0].type: unknown value "x"; known are a, b, c, u, p"#),
    ("device with a relative path", &[("/linux/devices", r#"[{"path":"dev/x","type":"c","major":1,"minor":3}]"#)],
     r#"linux.devices[0].path: "dev/x" is not an absolute path"#),
    ("device without numbers", &[("/linux/devices", r#"[{"path":"/dev/x","type":"c"}]"#)],
     "linux.devices[0].major: a device of this type needs its major number"),
    ("device without a minor number", &[("/linux/devices", r#"[{"path":"/dev/x","type":"b","major":8}]"#)],
     "linux.devices[0].minor: a device of this type needs its minor number"),
    ("device with a negative number", &[("/linux/devices", r#"[{"path":"/dev/x","type":"c","major":-1,"minor":3}]"#)],
     "linux.devices[0].major: -1 is not a major number of a device"),
    ("unknown action", &[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ALOW"}"#)],
     r#"linux.seccomp.defaultAction: unknown value "SCMP_ACT_ALOW"; did you mean "SCMP_ACT_ALLOW"?"#),
    ("no default action", &[("/linux/seccomp", r#"{"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#)],
     r#"linux.seccomp: "defaultAction" is missing"#),
    ("unknown architecture", &[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_65"]}"#)],
     r#"linux.seccomp.architectures[0]: unknown value "SCMP_ARCH_X86_65"; did you mean "SCMP_ARCH_X86_64"?"#),
    ("unknown operator", &[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQQ"}]}]}"#)],
     r#"linux.seccomp.syscalls[0].args[0].op: unknown value "SCMP_CMP_EQQ"; did you mean "SCMP_CMP_EQ"?"#),
    ("seventh argument", &[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#)],
     "linux.seccomp.syscalls[0].args[0].index: system calls have the arguments 0 to 5, not 6"),
    ("no names", &[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[],"action":"SCMP_ACT_ERRNO"}]}"#)],
     "linux.seccomp.syscalls[0].names: a rule needs the name of a system call"),
    ("unknown flag", &[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOGG"]}"#)],
     r#"linux.seccomp.flags[0]: unknown value "SECCOMP_FILTER_FLAG_LOGG"; did you mean "SECCOMP_FILTER_FLAG_LOG"?"#),
    ("error number that is none", &[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}"#)],
     "linux.seccomp.defaultErrnoRet: 5000 is above 4095, the highest number that SCMP_ACT_ERRNO takes"),
    ("notify without an agent", &[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#)],
     "linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs the path of the agent's socket"),
    ("agent that does not listen", &[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/no/agent","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#)],
     "linux.seccomp.listenerPath: send the seccomp listener to the agent at /no/agent: no such file or directory"),
    ("class of service in another directory", &[("/linux/intelRdt", r#"{"closID":"a/b"}"#)],
     "linux.intelRdt.closID: \"a/b\" cannot be the name of a resctrl group: it must be one component of a path"),
    ("bandwidth for another resource", &[("/linux/intelRdt", r#"{"memBwSchema":"L3:0=f"}"#)],
     r#"linux.intelRdt.memBwSchema: "L3:0=f" is not one line that starts with "MB:""#),
    ("two lines of schemata in one", &[("/linux/intelRdt", r#"{"schemata":["L3:0=f\nMB:0=10"]}"#)],
     "linux.intelRdt.schemata[0]: an element is one line; add an element for each line"),
    ("network device", &[("/linux/netDevices", r#"{"eth7":{"name":"a/b"}}"#)],
     r#"linux.netDevices["eth7"].name: "a/b" is not the name of a network device: no '/', ':' or blank may be in it"#),
    ("unknown personality", &[("/linux/personality", r#"{"domain":"LINUX64"}"#)],
     r#"linux.personality.domain: unknown value "LINUX64"; did you mean "LINUX"?"#),
    ("memory policy", &[("/linux/memoryPolicy", r#"{"mode":"MPOL_BIND"}"#)],
     "linux.memoryPolicy.nodes: MPOL_BIND needs nodes"),
];

#[rustfmt::skip]
const HOOKS: &[Case] = &[
    ("relative path", &[("/hooks", r#"{"createRuntime":[{"path":"true"}]}"#)],
     r#"hooks.createRuntime[0].path: the path of a hook must be absolute: "true""#),
    ("missing program", &[("/hooks", r#"{"createRuntime":[{"path":"/no/hook"}]}"#)],
     "hooks.createRuntime[0]: error running createRuntime hook #0: /no/hook: execute the program: no such file or directory; the program or the interpreter of its first line is missing"),
    ("failure", &[("/hooks", r#"{"createRuntime":[{"path":"/bin/true"},{"path":"/bin/sh","args":["sh","-c","echo why >&2; exit 7"]}]}"#)],
     "hooks.createRuntime[1]: error running createRuntime hook #1: /bin/sh: exit status 7 (why)"),
    ("timeout of nothing", &[("/hooks", r#"{"prestart":[{"path":"/bin/true","timeout":0}]}"#)],
     "hooks.prestart[0].timeout: 0 is not greater than 0; leave it out for no timeout"),
    ("hook that hangs", &[("/hooks", r#"{"prestart":[{"path":"/bin/sleep","args":["sleep","100"],"timeout":1}]}"#)],
     "hooks.prestart[0]: error running prestart hook #0: /bin/sleep: timed out after 1 s, killed with its process group"),
];

/// All of them.
pub const ALL: [&[Case]; 6] = [DOCUMENT, PROCESS, NAMESPACES, MOUNTS, LINUX, HOOKS];

/// Those that only the kernel or a hook decides, when it is asked: `check` does not find them.
pub const UNKNOWN_TO_CHECK: [&str; 3] = ["sysctl with a bad value", "failure", "hook that hangs"];

/// Whether what the line says of the host is true. `words.rs` and tests/vm/limits have what happens elsewhere.
pub fn applies((_, _, expected): &Case) -> bool {
    !is_skipped(expected)
}

/// Edits a config.
pub fn edit(bundle: &mut Bundle, (name, edits, _): &Case) {
    for (pointer, value) in *edits {
        match *value {
            "" => bundle.unset(pointer),
            value => {
                bundle.set(pointer, serde_json::from_str::<Value>(value).unwrap_or_else(|e| panic!("{name}: {e}")))
            }
        };
    }
}

/// The number of a process that create has made is not known before.
pub fn without_pid(line: &str) -> String {
    match line.split_once("/proc/") {
        Some((start, rest)) if rest.contains("id_map") => {
            format!("{start}/proc/PID{}", rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric()))
        }
        _ => line.to_owned(),
    }
}

fn check(cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases.iter().filter(|case| applies(case)) {
        let (name, _, expected) = case;
        let mut bundle = Bundle::new();
        edit(&mut bundle, case);
        let done = bundle.create();
        if !is_tare() {
            // Others accept some of these. What they refuse must be refused cleanly, too.
            if done.code != 0 && !bundle.leftovers().is_empty() {
                eprintln!("{name}: leaves {:?}", bundle.leftovers());
            }
            continue;
        }
        if done.code == 0 {
            wrong.push(format!("{name}: accepted"));
            continue;
        }
        let expected = expected.replace("{bundle}", &bundle.path().display().to_string());
        let line = done.refused();
        let fits = expected.strip_suffix("...").map_or(line == expected, |start| line.starts_with(start));
        if !fits {
            wrong.push(format!("{name}:\n     is {line}\n  wants {expected}"));
        }
        bundle.assert_nothing_left();
        let first = bundle.errors(&[]).into_iter().next().unwrap_or_default();
        if without_pid(&first) != without_pid(&line) && !UNKNOWN_TO_CHECK.contains(name) {
            wrong.push(format!("{name}:\n  create {line}\n   check {first}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} texts differ\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn document() {
    check(DOCUMENT);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn process() {
    check(PROCESS);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn namespaces() {
    check(NAMESPACES);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn mounts() {
    check(MOUNTS);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn linux() {
    check(LINUX);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn hooks() {
    check(HOOKS);
}
