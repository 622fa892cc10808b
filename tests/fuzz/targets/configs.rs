//! config.json and its parts, the process file, the record on disk: from bytes to plans.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxSeccomp, Spec};
use serde_json::json;

use super::{check_error, check_same};
use tare::internals::bundle::{parse, parse_process, parse_spec};
use tare::internals::cgroup::{CgroupManager, Hierarchy};
use tare::internals::container::record::Record;
use tare::internals::hooks;
use tare::internals::host::{HostFacts, ProgramFacts};
use tare::internals::namespaces::NamespaceSet;
use tare::internals::namespaces::plan::Caller;
use tare::internals::plan::{ContainerPlan, ExecRequest, Program, Request, plan, plan_exec};
use tare::internals::rootfs::{self, options};
use tare::internals::seccomp::{self, tests as specification};
use tare::internals::sys::mount::Attributes;

/// A machine as most are; in a user namespace or not.
fn host(in_user_namespace: bool) -> HostFacts {
    HostFacts {
        caller: Caller { uid: 0, gid: 0, sets_uids: true, sets_gids: true, administers: true },
        rootless: in_user_namespace,
        in_user_namespace,
        hierarchy: Ok(Hierarchy { root: PathBuf::from("/sys/fs/cgroup"), hybrid: false }),
        own_cgroup: Ok("/user.slice/session.scope".to_owned()),
        control_group: Ok("/".to_owned()),
        cgroup_refusal: Ok(None),
        subordinate_ids: [Vec::new(), Vec::new()],
        resctrl: Ok("/sys/fs/resctrl".to_string()),
        maps_tty: Ok(true),
        set_groups: Ok(true),
        labels_mounts: false,
        program: Some(ProgramFacts {
            in_user_namespace,
            last_capability: 40,
            callers_capabilities: u64::MAX,
            apparmor: false,
            selinux: false,
        }),
    }
}

fn request(rootless: bool) -> Request<'static> {
    Request {
        id: "box",
        bundle: Path::new("/bundle"),
        console_socket: Some(Path::new("/run/console.sock")),
        detach: true,
        no_pivot: rootless,
        new_keyring: true,
        preserve_fds: 0,
        cgroup: CgroupManager::File,
        rootless: Some(rootless),
    }
}

/// config.json -> plan.
pub(super) fn config(input: &[u8]) {
    let spec = match parse_spec(input) {
        Ok((spec, warnings)) => {
            warnings.iter().for_each(|warning| assert!(!warning.is_empty()));
            spec
        }
        Err(error) => return check_error(&error, "config.json"),
    };
    for in_user_namespace in [false, true] {
        let (request, host) = (request(in_user_namespace), host(in_user_namespace));
        match plan(&spec, &request, &host) {
            Ok(planned) => {
                check_plan(&spec, &planned);
                // Maps of JSON have no order; a plan has.
                let again = parse_spec(input).unwrap().0;
                check_same(&planned, &plan(&again, &request, &host).unwrap());
            }
            Err(error) => check_error(&error, "config.json"),
        }
    }
    super::cgroups::scope(&spec);
}

fn check_plan(spec: &Spec, plan: &ContainerPlan) {
    if let Some(cgroup) = &plan.cgroup {
        super::cgroups::check_plan(cgroup);
    }
    for sysctl in &plan.namespaces.sysctls {
        let path = sysctl.path.to_str().unwrap();
        assert!(path.starts_with("sys/") && !path.split('/').any(|part| matches!(part, "" | "." | "..")), "{path}");
        assert!(!sysctl.value.contains(&0), "{sysctl:?}");
    }
    plan.namespaces.join.iter().for_each(|join| assert!(join.path.is_absolute(), "{join:?}"));
    let joined: NamespaceSet = plan.namespaces.join.iter().map(|join| NamespaceSet::from(join.kind)).collect();
    assert!(!joined.intersects(plan.namespaces.new), "a namespace is made and joined");
    check_rootfs(spec, &plan.rootfs);
    assert_eq!(plan.program.is_some(), spec.process().is_some());
    plan.program.iter().for_each(check_program);
    check_hooks(&plan.hooks);
    plan.warnings().for_each(|warning| assert!(!warning.is_empty()));
}

fn check_rootfs(spec: &Spec, plan: &rootfs::RootfsPlan) {
    assert!(plan.root.as_bytes().starts_with(b"/"), "{:?}", plan.root);
    if plan.mount_namespace {
        assert_eq!(plan.mounts.len(), spec.mounts().as_ref().map_or(0, Vec::len), "a mount was dropped or added");
    }
    let absolute = |path: &CString| path.as_bytes().starts_with(b"/");
    assert!(plan.mounts.iter().all(|mount| absolute(&mount.target)), "{:?}", plan.mounts);
    assert!(plan.readonly_paths.iter().chain(&plan.masked_paths).all(absolute), "{plan:?}");
    let shared = libc::MS_SHARED;
    assert_eq!(plan.building & shared, 0, "mounts would reach the host while they are made");
}

fn check_program(program: &Program) {
    let process = &program.process;
    assert!(!process.args.as_slice().is_empty());
    assert!(process.cwd.as_bytes().starts_with(b"/"), "{:?}", process.cwd);
    let with_name = |entry: &CString| entry.as_bytes().iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0);
    assert!(process.env.as_slice().iter().all(with_name), "{:?}", process.env);
    assert!(process.uid != u32::MAX && process.gid != u32::MAX && !process.groups.contains(&u32::MAX));
    assert_eq!(process.umask & !0o7777, 0, "{:o}", process.umask);
    for limit in &process.rlimits {
        let (soft, hard) = (limit.value.current, limit.value.maximum);
        assert!(hard.is_none_or(|hard| soft.is_some_and(|soft| soft <= hard)), "{limit:?}");
    }
    let affinities = [&process.initial_affinity, &process.final_affinity];
    assert!(affinities.into_iter().flatten().all(|mask| mask.iter().any(|word| *word != 0)), "an empty mask");
    program.seccomp.iter().for_each(|plan| specification::interpreter::check(&plan.program));
}

fn check_hooks(plan: &hooks::HookPlan) {
    let lists = [
        &plan.prestart,
        &plan.create_runtime,
        &plan.create_container,
        &plan.start_container,
        &plan.poststart,
        &plan.poststop,
    ];
    for hook in lists.into_iter().flatten() {
        assert!(hook.path.as_bytes().starts_with(b"/") && !hook.args.as_slice().is_empty(), "{hook:?}");
        assert!(hook.timeout.is_none_or(|timeout| !timeout.is_zero()), "{hook:?}");
    }
}

/// process.json -> the program of exec.
pub(super) fn process(input: &[u8]) {
    let process = match parse_process(input) {
        Ok((process, _)) => process,
        Err(error) => return check_error(&error, "process file"),
    };
    let spec: Spec = serde_json::from_value(json!({ "ociVersion": "1.2.0", "linux": {} })).unwrap();
    for user in [NamespaceSet::empty(), NamespaceSet::USER] {
        let request = ExecRequest {
            id: "box",
            namespaces: user,
            at: "",
            console_socket: Some(Path::new("/run/console.sock")),
            detach: true,
            new_keyring: true,
            preserve_fds: 0,
            set_groups: true,
        };
        match plan_exec(&spec, &process, &request, &host(false).program.unwrap()) {
            Ok(program) => check_program(&program),
            Err(error) => check_error(&error, "process file"),
        }
    }
}

/// A profile -> a filter that means the same.
pub(super) fn seccomp(input: &[u8]) {
    let Ok((profile, _)) = parse::<LinuxSeccomp>(input, "profile") else { return };
    let plan = match seccomp::plan(&profile) {
        Ok(plan) => plan,
        Err(error) => return check_error(&error, "linux.seccomp"),
    };
    specification::interpreter::check(&plan.program);
    let named = profile.syscalls().iter().flatten().flat_map(|rule| rule.args().iter().flatten());
    let mut arguments: Vec<u64> = named.take(8).flat_map(|arg| [arg.value(), arg.value_two().unwrap_or(0)]).collect();
    arguments.extend([0, 1, 0xffff_ffff, 0x1_0000_0000, u64::MAX]);
    // x86_64, x86, aarch64, arm, riscv64, one that does not exist.
    for arch in [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028, 0xc000_00f3, 0x1234] {
        for number in (0..480).step_by(7).chain([0, 1, 2, 16, 41, 56, 102, 117, 135, 272, 435, 0x4000_0001, u32::MAX]) {
            let turn = number as usize % arguments.len();
            let args = std::array::from_fn(|at| arguments[(turn + at) % arguments.len()]);
            let call = specification::interpreter::Call { arch, number, args };
            let answer = specification::interpreter::run(&plan.program, &call);
            assert_eq!(answer, specification::specification::evaluate(&profile, &call), "{call:x?}");
        }
    }
}

/// A list of mount options, one in each line.
pub(super) fn options(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let words: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let parsed = match options::parse(&words, "mounts[0].options") {
        Ok(parsed) => parsed,
        Err(error) => return check_error(&error, "mounts[0].options["),
    };
    for parameter in &parsed.parameters {
        assert!(parameter.option < words.len(), "{parameter:?}");
        let value = parameter.value.as_deref().unwrap_or_default();
        assert!(!parameter.key.contains('\0') && !value.contains('\0'), "{parameter:?}");
    }
    for wanted in [parsed.top, parsed.tree] {
        // The kernel wants the whole mask cleared when one of its values is set; nothing else is in both.
        assert!(Attributes::ATIME.contains(wanted.set & wanted.clear), "{wanted:?}");
    }
    words.iter().filter_map(|word| options::suggestion(word)).for_each(|hint| super::check_words(&hint));
}

/// What lies in the state directory: JSON with the right checksum, and the bytes as they are.
pub(super) fn record(input: &[u8]) {
    let _damaged = Record::decode(input, "box");
    let json = input.strip_suffix(b"\n").unwrap_or(input);
    let Ok(record) = Record::decode(&Record::seal(json), "box") else { return };
    assert_eq!(record.id, "box");
    let again = Record::decode(&record.encode().unwrap(), "box").unwrap();
    assert_eq!(again, record);
}
