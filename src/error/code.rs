//! The stable codes of errors: one row each, with its kind, what it means and what to do about it.
//!
//! World: plan.
//! The rows are sorted. `scripts/errors` writes the table of docs/errors.md from them. A code that has been released keeps
//! its name and its kind.

use super::ErrorKind;

macro_rules! codes {
    ($(#[doc = $meaning:literal] $name:ident = $text:literal, $kind:ident, $remedy:literal;)*) => {
        /// What failed, in one word that does not change between versions: for programs, and for a search in
        /// docs/errors.md.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Code { $(#[doc = $meaning] $name,)* }

        /// One text, and not a list of words: each word of a list is also a relocation in the binary.
        const NAMES: &str = concat!($($text, "\n"),*);
        const KINDS: &[ErrorKind] = &[$(ErrorKind::$kind),*];

        impl Code {
            /// All codes, sorted by name.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What the code means, in one sentence of Markdown.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning.trim_ascii(),)* }
            }

            /// What the user can do, in one sentence of Markdown.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    /// The value of an annotation that tare knows cannot be used.
    AnnotationInvalid = "annotation-invalid", InvalidConfig, "Correct or remove the annotation.";
    /// An AppArmor profile is asked for, and AppArmor is not enabled on this host.
    ApparmorUnavailable = "apparmor-unavailable", Unsupported, "Enable AppArmor, or remove `process.apparmorProfile`.";
    /// The list of the program's arguments is empty.
    ArgumentsMissing = "arguments-missing", InvalidConfig,
        "Set `process.args`, or name a command after the container id.";
    /// The directory of the bundle cannot be opened.
    BundleFailed = "bundle-failed", System, "Name an existing directory with `--bundle`.";
    /// The kernel refused to change the capabilities.
    CapabilityFailed = "capability-failed", System, "Ask only for capabilities that the caller of tare has.";
    /// A set of capabilities has one that another set must have too.
    CapabilitySetInvalid = "capability-set-invalid", InvalidConfig,
        "Add it to the other set, or remove it from this one.";
    /// A capability does not exist.
    CapabilityUnknown = "capability-unknown", InvalidConfig, "Correct the name.";
    /// A limit needs a cgroup controller that is not there.
    CgroupControllerMissing = "cgroup-controller-missing", Unsupported,
        "Enable the controller on the host or in the parent cgroup, or remove the limit.";
    /// The caller may not create the cgroup that the container needs.
    CgroupDelegationMissing = "cgroup-delegation-missing", Denied,
        "Use `--systemd-cgroup`, or start tare in a delegated cgroup.";
    /// A device rule of the cgroup cannot be applied.
    CgroupDeviceRuleInvalid = "cgroup-device-rule-invalid", InvalidConfig,
        "Correct the rule in `linux.resources.devices`.";
    /// An operation on the container's cgroup failed.
    CgroupFailed = "cgroup-failed", System,
        "Look at the error number; the cgroup may have been changed or removed from outside.";
    /// The cgroup is frozen, or does not change its state.
    CgroupFrozen = "cgroup-frozen", System, "Thaw the cgroup, or the cgroup above it.";
    /// The cgroup belongs to another container.
    CgroupInUse = "cgroup-in-use", Exists, "Choose another `linux.cgroupsPath`, or delete the other container.";
    /// The kernel refused a limit.
    CgroupLimitFailed = "cgroup-limit-failed", System,
        "Compare the value with what the host has, and with the limits of the cgroups above.";
    /// The value of a limit cannot be accepted.
    CgroupLimitInvalid = "cgroup-limit-invalid", InvalidConfig, "Correct the value.";
    /// A limit has no counterpart in cgroup v2, or this kernel does not have it.
    CgroupLimitUnsupported = "cgroup-limit-unsupported", Unsupported, "Remove the limit.";
    /// A cgroup mount needs a cgroup namespace or a cgroup of the container.
    CgroupMountUnsupported = "cgroup-mount-unsupported", Unsupported,
        "Add `{\"type\": \"cgroup\"}` to `linux.namespaces`.";
    /// The cgroup has processes that do not belong to the container.
    CgroupNotEmpty = "cgroup-not-empty", System, "Choose another `linux.cgroupsPath`, or end these processes.";
    /// `linux.cgroupsPath` does not name a usable cgroup.
    CgroupPathInvalid = "cgroup-path-invalid", InvalidConfig,
        "Correct the path; with the systemd driver it is `slice:prefix:name`.";
    /// No cgroup v2 hierarchy is mounted.
    CgroupV2Missing = "cgroup-v2-missing", Unsupported,
        "Boot with `systemd.unified_cgroup_hierarchy=1`, or mount cgroup2.";
    /// The caller is not root, as CRIU demands.
    CheckpointDenied = "checkpoint-denied", Denied, "Run the command as root.";
    /// The directory of a checkpoint cannot be created, read or written.
    CheckpointImageFailed = "checkpoint-image-failed", System, "Correct `--image-path` or `--work-path`.";
    /// The directory of a checkpoint, or of its parent, is not usable.
    CheckpointImageInvalid = "checkpoint-image-invalid", InvalidConfig,
        "Name the directory that `checkpoint` has written.";
    /// The container has something that tare or CRIU cannot checkpoint or restore.
    CheckpointUnsupported = "checkpoint-unsupported", Unsupported, "Remove what the error names.";
    /// The kernel refused to create a process or a namespace.
    CloneFailed = "clone-failed", System,
        "Check the limits on processes and namespaces, and whether the caller may create user namespaces.";
    /// A command, option or argument is not known or is missing.
    CommandLineInvalid = "command-line-invalid", InvalidConfig,
        "Correct the command line; `tare COMMAND --help` shows it.";
    /// A file or stream of JSON cannot be opened or read.
    ConfigFileFailed = "config-file-failed", System, "Correct the path or the mode of the file.";
    /// A file or stream of JSON is not a regular file, has no writer or is too large.
    ConfigFileInvalid = "config-file-invalid", InvalidConfig, "Name a regular file of at most 16 MiB.";
    /// A file or stream is not JSON.
    ConfigJsonInvalid = "config-json-invalid", InvalidConfig, "Correct the JSON at the line and column.";
    /// A required key is missing.
    ConfigKeyMissing = "config-key-missing", InvalidConfig, "Add the key.";
    /// The config.json of the bundle cannot be opened.
    ConfigNotFound = "config-not-found", NotFound,
        "Name the bundle with `--bundle`, or make a config with `tare spec`.";
    /// A value has the wrong JSON type or is out of range.
    ConfigTypeWrong = "config-type-wrong", InvalidConfig, "Write a value of the type that the error names.";
    /// Another value of config.json, of a process file or of the request cannot be accepted.
    ConfigValueInvalid = "config-value-invalid", InvalidConfig, "Correct the value at the JSON path.";
    /// A word is not one of those that the specification lists.
    ConfigValueUnknown = "config-value-unknown", InvalidConfig, "Choose one of the words that the error names.";
    /// A property is valid, but tare does not implement it.
    ConfigValueUnsupported = "config-value-unsupported", Unsupported, "Remove the property.";
    /// Something in the config has no effect. Only a warning has this code.
    ConfigWarning = "config-warning", InvalidConfig, "Correct the key or value, or remove it.";
    /// The console socket cannot be reached.
    ConsoleSocketFailed = "console-socket-failed", System, "Start the listener of `--console-socket` first.";
    /// The container is not created completely: its creation is under way or was interrupted.
    ContainerCreating = "container-creating", WrongStatus, "Wait, or remove it with `tare delete --force`.";
    /// The container id is taken.
    ContainerExists = "container-exists", Exists, "Choose another id, or delete the container.";
    /// The container id is empty, too long or has a character that is not allowed.
    ContainerIdInvalid = "container-id-invalid", InvalidConfig,
        "Use letters, digits, `_`, `+`, `-` and, except at the start, `.`.";
    /// Another command works on the container.
    ContainerInUse = "container-in-use", WrongStatus, "Try again when that command has ended.";
    /// The kernel killed the container, usually because of its memory limit.
    ContainerKilled = "container-killed", System, "Raise the limit that the error names.";
    /// `start` needs a container whose status is `created`.
    ContainerNotCreated = "container-not-created", WrongStatus, "Start a container once, after `create`.";
    /// No container has this id in the state root.
    ContainerNotFound = "container-not-found", NotFound, "Check the id and `--root`; `tare list` shows the containers.";
    /// The container is not paused, so it cannot be resumed.
    ContainerNotPaused = "container-not-paused", WrongStatus, "Pause it first.";
    /// The command needs a container that runs, and this one does not.
    ContainerNotRunning = "container-not-running", WrongStatus, "Start the container, or delete it if it has stopped.";
    /// The command needs a stopped container.
    ContainerNotStopped = "container-not-stopped", WrongStatus, "Stop it first, or use `delete --force`.";
    /// The command needs a container that is not paused.
    ContainerPaused = "container-paused", WrongStatus, "Resume it first.";
    /// The container has no cgroup or resctrl group, which the command needs.
    ContainerUnmanaged = "container-unmanaged", Unsupported,
        "Create the container with a cgroup or with `linux.intelRdt`.";
    /// config.json has no process, which the command needs.
    ContainerWithoutProcess = "container-without-process", InvalidConfig, "Add `process`, or use `exec --process`.";
    /// The kernel refused to set user, groups or the ids of stdio.
    CredentialsFailed = "credentials-failed", System,
        "Map the ids in the user namespace, or run tare with the privilege.";
    /// CRIU failed.
    CriuFailed = "criu-failed", System, "Read the CRIU log that the error names.";
    /// The program criu cannot be found.
    CriuMissing = "criu-missing", Unsupported, "Install CRIU, or name it with `--criu`.";
    /// CRIU is too old, or it or the kernel lacks a feature.
    CriuUnsupported = "criu-unsupported", Unsupported, "Update CRIU, or leave out the option.";
    /// The working directory is outside of the container.
    CwdDenied = "cwd-denied", Denied, "Correct `process.cwd`.";
    /// The working directory cannot be created or entered.
    CwdFailed = "cwd-failed", System, "Create the directory in the rootfs, or correct `process.cwd`.";
    /// The working directory is empty or not absolute.
    CwdInvalid = "cwd-invalid", InvalidConfig, "Set `process.cwd` to an absolute path.";
    /// A file descriptor that was named is not open, or is not of the required kind.
    DescriptorInvalid = "descriptor-invalid", InvalidConfig,
        "Open the descriptor before tare is executed, or correct its number.";
    /// A device node cannot be created.
    DeviceFailed = "device-failed", System,
        "Check whether the caller may create devices, or bind the device of the host.";
    /// A device of `linux.devices` cannot be created as it is written.
    DeviceInvalid = "device-invalid", InvalidConfig, "Correct its path, type or numbers.";
    /// The BPF program with the device rules cannot be loaded or attached.
    DeviceProgramFailed = "device-program-failed", System,
        "Run tare with CAP_BPF and CAP_NET_ADMIN in the initial user namespace.";
    /// An environment variable is not `NAME=value`.
    EnvironmentInvalid = "environment-invalid", InvalidConfig, "Correct the entry.";
    /// The kernel refused to execute the program.
    ExecutableFailed = "executable-failed", System,
        "Check its format, architecture, interpreter and the mount options of its filesystem.";
    /// The program is not in the container, or cannot be executed there.
    ExecutableNotFound = "executable-not-found", NotFound,
        "Correct `process.args[0]` or PATH, or add the file to the image.";
    /// A file that tare would write exists.
    FileExists = "file-exists", Exists, "Remove the file first.";
    /// Additional groups are asked for where setgroups(2) is denied.
    GroupsUnsupported = "groups-unsupported", Unsupported,
        "Remove `process.user.additionalGids`, or map groups with newgidmap.";
    /// A hook cannot be executed.
    HookExecutableFailed = "hook-executable-failed", Hook, "Correct its path, or the file's mode or interpreter.";
    /// A hook did not exit with 0.
    HookFailed = "hook-failed", Hook, "Look at the standard error of the hook, which the error shows.";
    /// The container ended while a hook ran.
    HookInterrupted = "hook-interrupted", Hook, "Find out why the container ended.";
    /// A hook's path, environment or timeout cannot be accepted.
    HookInvalid = "hook-invalid", InvalidConfig, "Correct the hook.";
    /// A hook did not end within its timeout and was killed.
    HookTimeout = "hook-timeout", Hook, "Raise `timeout`, or correct the hook.";
    /// A host or domain name is too long.
    HostnameInvalid = "hostname-invalid", InvalidConfig, "Use at most 64 bytes.";
    /// The kernel refused the id mappings.
    IdMappingFailed = "id-mapping-failed", System, "Map ids that the caller has, or run tare with the privilege.";
    /// newuidmap or newgidmap is needed and cannot be found.
    IdMappingHelperMissing = "id-mapping-helper-missing", Unsupported, "Install the package uidmap or shadow-utils.";
    /// Id mappings are too many, contradict each other or do not belong to the container.
    IdMappingInvalid = "id-mapping-invalid", InvalidConfig,
        "Correct `linux.uidMappings`, `linux.gidMappings` or those of the mount.";
    /// A user namespace or an id-mapped mount has no id mappings.
    IdMappingMissing = "id-mapping-missing", InvalidConfig, "Map at least id 0 of the container.";
    /// newuidmap or newgidmap refused the id mappings.
    IdMappingRefused = "id-mapping-refused", Denied, "Add the ids to /etc/subuid and /etc/subgid.";
    /// A process of tare ended before the program was executed.
    InitDied = "init-died", System, "Look for a signal or the OOM killer in the kernel log.";
    /// A defect in tare.
    Internal = "internal", Internal, "Report it, with the output of `tare info`.";
    /// The kernel is older than Linux 5.14 and does not have a system call that tare needs.
    KernelTooOld = "kernel-too-old", Unsupported, "Use Linux 5.14 or later.";
    /// The kernel refused the AppArmor or SELinux label.
    LabelFailed = "label-failed", System, "Load the profile or policy first.";
    /// A label of AppArmor or SELinux is too long or has a reserved character.
    LabelInvalid = "label-invalid", InvalidConfig, "Correct the label.";
    /// The log cannot be opened or written.
    LogFailed = "log-failed", System, "Correct `--log`.";
    /// A path cannot be masked or made read-only.
    MaskedPathFailed = "masked-path-failed", System, "Remove it from `linux.maskedPaths` or `linux.readonlyPaths`.";
    /// A mount that is to be removed is covered by another one, or its state is unknown.
    MountCovered = "mount-covered", WrongStatus, "Unmount the other one first, or delete the container.";
    /// The destination of a mount cannot be resolved or created in the rootfs.
    MountDestinationFailed = "mount-destination-failed", System,
        "Correct the path; no part of it may lead out of the container or through procfs.";
    /// The destination of a mount is missing, too long or not permitted.
    MountDestinationInvalid = "mount-destination-invalid", InvalidConfig, "Correct `destination`.";
    /// The kernel refused a mount.
    MountFailed = "mount-failed", System, "Look at the text of the kernel in parentheses and at the remedy.";
    /// An id-mapped mount needs CAP_SYS_ADMIN.
    MountIdmapDenied = "mount-idmap-denied", Denied, "Run tare with the privilege, or remove the mappings.";
    /// The kernel refused to map the ids of a mount.
    MountIdmapFailed = "mount-idmap-failed", System, "Use a filesystem that supports id-mapped mounts.";
    /// No mount on this path was added with `tare mounts add`.
    MountNotFound = "mount-not-found", NotFound, "Correct `destination`.";
    /// A mount option does not apply to this mount or contradicts another one.
    MountOptionInvalid = "mount-option-invalid", InvalidConfig, "Remove the option.";
    /// The filesystem refused the value of a mount option.
    MountOptionRefused = "mount-option-refused", System, "Look at the text of the kernel in parentheses.";
    /// A mount option is not known to tare or to the filesystem.
    MountOptionUnknown = "mount-option-unknown", InvalidConfig,
        "Correct the option; `tare features` lists those that tare knows.";
    /// A mount option cannot be applied in this case.
    MountOptionUnsupported = "mount-option-unsupported", Unsupported, "Remove the option.";
    /// The source of a bind mount cannot be opened.
    MountSourceFailed = "mount-source-failed", System, "Create the source, or correct `source`.";
    /// The source of a bind mount is missing or not permitted.
    MountSourceInvalid = "mount-source-invalid", InvalidConfig, "Correct `source`.";
    /// A mount has neither a type nor the option `bind`.
    MountTypeMissing = "mount-type-missing", InvalidConfig, "Add `type`, or the option `bind` or `rbind`.";
    /// The mounts of this container cannot be changed.
    MountsUnsupported = "mounts-unsupported", Unsupported, "Create the container with its own mount namespace.";
    /// A type of namespace is listed twice.
    NamespaceDuplicate = "namespace-duplicate", InvalidConfig, "Remove one of the entries.";
    /// A namespace cannot be joined, or one of its attributes cannot be set.
    NamespaceFailed = "namespace-failed", System,
        "Check that the path leads to a namespace of this type, and whether the caller may enter it.";
    /// A property needs a namespace that the container does not have.
    NamespaceMissing = "namespace-missing", InvalidConfig,
        "Add the namespace to `linux.namespaces`, or remove the property.";
    /// A joined namespace is that of the runtime, which must not change.
    NamespaceOfRuntime = "namespace-of-runtime", InvalidConfig,
        "Name another namespace, or leave out the path for a new one.";
    /// The path of a namespace is not absolute or cannot be opened.
    NamespacePathInvalid = "namespace-path-invalid", InvalidConfig, "Correct the path.";
    /// A network device cannot be moved, renamed or enabled.
    NetworkDeviceFailed = "network-device-failed", System,
        "Check the type of the device, and whether the caller owns the network namespace.";
    /// A network device does not exist, or its name cannot be used in the container.
    NetworkDeviceInvalid = "network-device-invalid", InvalidConfig,
        "Correct `linux.netDevices`; `ip link` lists the devices.";
    /// NOTIFY_SOCKET does not name a socket.
    NotifySocketInvalid = "notify-socket-invalid", InvalidConfig,
        "Set an absolute path, or an abstract name after `@`.";
    /// A string has a NUL character, which the kernel does not take.
    NulCharacter = "nul-character", InvalidConfig, "Remove the character.";
    /// The value of an option of the command line cannot be accepted.
    OptionValueInvalid = "option-value-invalid", InvalidConfig, "Correct the value.";
    /// Standard output cannot be written.
    OutputFailed = "output-failed", System, "Keep the reader open, and check the space on the device.";
    /// /etc/passwd of the container is not a regular file.
    PasswdDenied = "passwd-denied", Denied, "Replace the file, or set HOME in `process.env`.";
    /// /etc/passwd of the container is too large to be searched.
    PasswdUnsupported = "passwd-unsupported", Unsupported, "Set HOME in `process.env`.";
    /// A path in the container is not absolute or too long.
    PathInvalid = "path-invalid", InvalidConfig, "Correct the path.";
    /// The pid file cannot be written.
    PidFileFailed = "pid-file-failed", System, "Correct `--pid-file`; its directory must exist.";
    /// The socket of the annotation `run.oci.pidfd_receiver` cannot be reached.
    PidfdReceiverFailed = "pidfd-receiver-failed", System, "Start the listener first.";
    /// The root of the container cannot be changed.
    PivotRootFailed = "pivot-root-failed", System, "Check that the rootfs is a directory that the caller may mount.";
    /// The kernel refused an attribute of the process.
    ProcessAttributeFailed = "process-attribute-failed", System, "Correct the value, or run tare with the privilege.";
    /// An attribute of the process is out of range.
    ProcessAttributeInvalid = "process-attribute-invalid", InvalidConfig, "Correct the value.";
    /// Processes do not end although they were killed.
    ProcessesRemain = "processes-remain", System,
        "Look for processes in an uninterruptible system call, and try again.";
    /// /proc is not a procfs.
    ProcfsMissing = "procfs-missing", System, "Mount procfs on /proc where tare runs.";
    /// tare cannot protect its own executable from containers.
    ProtectFailed = "protect-failed", System, "Mount /proc where tare runs, and permit memfd_create(2).";
    /// ps(1) cannot be run or failed.
    PsFailed = "ps-failed", System, "Install procps, or correct the arguments of ps.";
    /// The state of the container on disk is damaged or incomplete.
    RecordDamaged = "record-damaged", System, "Remove the container with `tare delete --force`.";
    /// The file of `--record-syscalls` is not a profile that was recorded for this container.
    RecordingInvalid = "recording-invalid", InvalidConfig, "Remove the file, or name another one.";
    /// The system calls of this process cannot be recorded.
    RecordingUnsupported = "recording-unsupported", Unsupported,
        "Record a process in the foreground, under a profile without an agent.";
    /// The kernel refused an operation on resctrl.
    ResctrlFailed = "resctrl-failed", System, "Look at the text of the kernel in parentheses.";
    /// The monitoring group belongs to another container.
    ResctrlGroupExists = "resctrl-group-exists", Exists, "Delete the other container, or remove the group.";
    /// The resctrl group does not exist, and no schemata are given to create it.
    ResctrlGroupMissing = "resctrl-group-missing", InvalidConfig, "Create the group first, or set the schemata.";
    /// A value of `linux.intelRdt` cannot be accepted, or differs from the existing group.
    ResctrlInvalid = "resctrl-invalid", InvalidConfig, "Correct the value, or choose another `closID`.";
    /// resctrl is not mounted.
    ResctrlMissing = "resctrl-missing", Unsupported, "Mount resctrl on /sys/fs/resctrl; this needs a CPU with RDT.";
    /// A limit of `process.rlimits` is given twice, or its soft limit is above the hard limit.
    RlimitInvalid = "rlimit-invalid", InvalidConfig, "Correct the entry.";
    /// The rootfs cannot be opened or mounted.
    RootfsFailed = "rootfs-failed", System, "Correct `root.path`; the caller must have access to the directory.";
    /// config.json has no root, or its path is empty.
    RootfsInvalid = "rootfs-invalid", InvalidConfig, "Set `root.path`.";
    /// A value of `process.scheduler` or `process.ioPriority` is out of range or does not belong to the policy.
    SchedulerInvalid = "scheduler-invalid", InvalidConfig, "Correct the value.";
    /// Linux does not implement the scheduling policy.
    SchedulerUnsupported = "scheduler-unsupported", Unsupported, "Choose another policy.";
    /// An action of the seccomp profile does not exist.
    SeccompActionUnknown = "seccomp-action-unknown", InvalidConfig, "Choose one of the actions that the error names.";
    /// The listener cannot be sent to the seccomp agent.
    SeccompAgentFailed = "seccomp-agent-failed", System, "Start the agent at `linux.seccomp.listenerPath` first.";
    /// The seccomp agent is not described completely.
    SeccompAgentInvalid = "seccomp-agent-invalid", InvalidConfig, "Set `linux.seccomp.listenerPath` to a socket.";
    /// tare has no system call table for this machine.
    SeccompArchitectureUnsupported = "seccomp-architecture-unsupported", Unsupported, "Remove the seccomp profile.";
    /// The kernel refused the seccomp filter.
    SeccompFailed = "seccomp-failed", System, "Check that the kernel has CONFIG_SECCOMP_FILTER.";
    /// The raw BPF filter of the annotation is not valid.
    SeccompFilterInvalid = "seccomp-filter-invalid", InvalidConfig, "Correct the annotation.";
    /// The seccomp profile needs more instructions than the kernel accepts.
    SeccompFilterTooLong = "seccomp-filter-too-long", Unsupported, "Use fewer rules with `args`.";
    /// The profile would prevent the listener from being sent.
    SeccompNotifyImpossible = "seccomp-notify-impossible", Unsupported, "Allow sendmsg or sendmmsg.";
    /// The seccomp profile does not allow execve, so no program can be executed.
    SeccompProfileRefusesExecve = "seccomp-profile-refuses-execve", InvalidConfig, "Allow execve.";
    /// A rule of the seccomp profile is incomplete or out of range.
    SeccompRuleInvalid = "seccomp-rule-invalid", InvalidConfig, "Correct the rule.";
    /// A system call does not exist, and an annotation forbids skipping it.
    SeccompSyscallUnknown = "seccomp-syscall-unknown", InvalidConfig, "Correct the name, or remove the annotation.";
    /// An SELinux label is asked for, and SELinux is not enabled on this host.
    SelinuxUnavailable = "selinux-unavailable", Unsupported, "Enable SELinux, or remove the label.";
    /// A signal does not exist.
    SignalUnknown = "signal-unknown", InvalidConfig, "Use a name like `TERM`, or a number.";
    /// `ociVersion` is missing or not a version.
    SpecVersionInvalid = "spec-version-invalid", InvalidConfig, "Write it like `1.2.0`.";
    /// The version of the specification is not 1.x.
    SpecVersionUnsupported = "spec-version-unsupported", Unsupported, "Use a config of version 1.x.";
    /// The state root does not belong to the caller, or others can write to it.
    StateRootDenied = "state-root-denied", Denied, "Correct owner and mode, or choose another `--root`.";
    /// The state root, or a file below it, cannot be created, read or written.
    StateRootFailed = "state-root-failed", System,
        "Check the space on its filesystem, or choose another directory with `--root`.";
    /// The state root is `/`.
    StateRootInvalid = "state-root-invalid", InvalidConfig, "Choose another directory with `--root`.";
    /// The cgroup below that of the container is frozen.
    SubCgroupFrozen = "sub-cgroup-frozen", WrongStatus, "Write 0 to its `cgroup.freeze` first.";
    /// The container has no such cgroup below its own.
    SubCgroupNotFound = "sub-cgroup-not-found", NotFound, "Create it in the container first.";
    /// A sysctl cannot be written.
    SysctlFailed = "sysctl-failed", System, "Check that this kernel has it, and the value.";
    /// A sysctl is not a name, or its value cannot be written.
    SysctlInvalid = "sysctl-invalid", InvalidConfig, "Correct `linux.sysctl`.";
    /// A sysctl would change the host.
    SysctlNotNamespaced = "sysctl-not-namespaced", InvalidConfig, "Set it on the host.";
    /// A seccomp filter or sandbox around tare denies a system call that tare needs.
    SystemCallDenied = "system-call-denied", Denied,
        "Allow the call there, or run tare outside of the sandbox; [kernels.md](kernels.md) has the list of calls.";
    /// Another system call failed.
    SystemCallFailed = "system-call-failed", System, "Look at `errno` and at the operation that the message names.";
    /// systemd refused to create or place the unit.
    SystemdDenied = "systemd-denied", Denied, "Check the permissions of the user in polkit, or the delegation.";
    /// systemd failed to carry out a request, or stopped answering.
    SystemdFailed = "systemd-failed", System, "See `systemctl status` and `journalctl` for the unit.";
    /// No systemd answers on this host.
    SystemdMissing = "systemd-missing", Unsupported, "Use the cgroupfs driver.";
    /// An annotation does not set a valid property of the unit.
    SystemdPropertyInvalid = "systemd-property-invalid", InvalidConfig, "Correct the annotation.";
    /// A unit of this name exists.
    SystemdUnitExists = "systemd-unit-exists", Exists, "Choose another `linux.cgroupsPath`, or stop the unit.";
    /// The terminal cannot be set up.
    TerminalFailed = "terminal-failed", System, "Check that devpts is mounted in the container.";
    /// The options and `process.terminal` do not agree, or the size is out of range.
    TerminalInvalid = "terminal-invalid", InvalidConfig,
        "Follow the remedy: `--console-socket` belongs to a detached process with a terminal.";
    /// A clock or an offset of `linux.timeOffsets` cannot be accepted.
    TimeOffsetInvalid = "time-offset-invalid", InvalidConfig,
        "Use monotonic or boottime, and less than a second of nanoseconds.";
    /// A mount cannot be removed.
    UnmountFailed = "unmount-failed", System, "End the processes that use it.";
    /// The calling program has not called `tare::protect`. Only the library has this error.
    Unprotected = "unprotected", Unprotected, "Call it at the start of `main`.";
    /// A user id, group id or umask cannot be accepted.
    UserInvalid = "user-invalid", InvalidConfig, "Give ids from 0 to 4294967294, and a umask of at most 0777.";
}

impl Code {
    /// The word for JSON logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.lines().nth(self as usize).unwrap_or_default()
    }

    /// The sort of failure.
    #[must_use]
    pub fn kind(self) -> ErrorKind {
        KINDS.get(self as usize).copied().unwrap_or(ErrorKind::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_words_and_sentences() {
        assert!(Code::ALL.is_sorted_by(|a, b| a.name() < b.name()), "the rows are not sorted");
        for (number, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, number);
            let words = code.name().split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
            assert_eq!(format!("{code:?}"), words.collect::<String>());
            for sentence in [code.meaning(), code.remedy()] {
                assert!(sentence.ends_with('.') && !sentence.contains(['|', '\n']), "{code:?}: {sentence}");
            }
        }
    }
}
