//! Words for the faults of this room's child, as runc words them where engines match them.
//!
//! World: plan.

use super::ProcessPlan;
use super::capabilities::{self, SYS_ADMIN};
use super::child::{MAKING, OUTSIDE, STAT};
use super::plan::path;
use crate::error::{Code, Error, errno_text};
use crate::wire::{Fault, Step};

/// Source: setrlimit(2).
const RLIMIT: &str =
    "a higher hard limit needs CAP_SYS_RESOURCE on the host, and RLIMIT_NOFILE ends at /proc/sys/fs/nr_open";

/// Source: prlimit(2), proc(5); both ask for it in the first user namespace.
const NEEDS_RESOURCE: &str = "this needs CAP_SYS_RESOURCE on the host";

impl ProcessPlan {
    /// The error for `fault`; `None` when the step is not one of this room.
    #[must_use]
    pub fn explain(&self, fault: &Fault) -> Option<Error> {
        let at = |field: &str| path(&self.at, field);
        let plain = |field: &str| Error::system(fault.step.name(), fault.errno).at(at(field));
        Some(match fault.step {
            Step::FindProgram => self.explain_program(fault),
            Step::Exec => self.explain_exec(fault),
            Step::WorkingDirectory => self.explain_directory(fault),
            Step::OomScoreAdj => hinted(plain("oomScoreAdj"), fault, &[libc::EACCES, libc::EPERM], NEEDS_RESOURCE),
            Step::Rlimit => hinted(plain(&format!("rlimits[{}]", fault.index)), fault, &[libc::EPERM], RLIMIT),
            Step::Scheduler => hinted(plain("scheduler"), fault, &[libc::EPERM], "this needs CAP_SYS_NICE"),
            Step::IoPriority => hinted(plain("ioPriority"), fault, &[libc::EPERM], "this needs CAP_SYS_NICE"),
            Step::MemoryPolicy => Error::system(fault.step.name(), fault.errno).at("linux.memoryPolicy"),
            Step::Personality => Error::system(fault.step.name(), fault.errno).at("linux.personality"),
            Step::CpuAffinity if fault.index == 0 => plain("execCPUAffinity.initial"),
            Step::CpuAffinity => plain("execCPUAffinity.final"),
            Step::Label => self.explain_label(fault),
            Step::Keyring => explain_keyring(fault),
            Step::StdioOwner => {
                let name = ["stdin", "stdout", "stderr"].get(usize_of(fault.index)).copied().unwrap_or("stdio");
                Error::system(format!("change the owner of {name} to uid {}", self.uid), fault.errno)
            }
            Step::NoNewPrivileges => plain("noNewPrivileges"),
            Step::Groups => self.explain_id(fault, "user.additionalGids", "a group"),
            Step::Gid => self.explain_id(fault, "user.gid", &format!("gid {}", self.gid)),
            Step::Uid => self.explain_id(fault, "user.uid", &format!("uid {}", self.uid)),
            Step::BoundingCapabilities => self.explain_capability(fault, "bounding"),
            Step::AmbientCapabilities => self.explain_capability(fault, "ambient"),
            Step::Capabilities => self.explain_capabilities(fault),
            Step::VerifyCredentials => {
                let what = ["the user ids", "the group ids", "the capabilities"];
                let what = what.get(usize_of(fault.index)).copied().unwrap_or("the credentials");
                Error::new(Code::CredentialsFailed, format!("{what} differ from those that were set"))
            }
            _ => return None,
        })
    }

    /// The texts of Go's exec.LookPath, from which engines derive the exit codes 126 and 127.
    fn explain_program(&self, fault: &Fault) -> Error {
        let name = self.args.as_slice().first().map(|arg| arg.to_string_lossy()).unwrap_or_default();
        let at = path(&self.at, "args[0]");
        let error = |what: String| Error::new(Code::ExecutableNotFound, format!("exec: {name:?}: {what}")).at(&at);
        let reason = errno_text(fault.errno);
        if !self.searched {
            let stat = fault.said() == STAT;
            return error(if stat { format!("stat {name}: {reason}") } else { reason });
        }
        let error = error("executable file not found in $PATH".to_string());
        match self.candidates.get(usize_of(fault.index)) {
            Some(near) if fault.errno == libc::EISDIR => error.hint(format!("{near:?} exists but is not a file")),
            Some(near) => error.hint(format!("{near:?} exists but is not executable for uid {}", self.uid)),
            None if self.candidates.is_empty() && !name.is_empty() => {
                error.hint(format!("{} sets no PATH", path(&self.at, "env")))
            }
            None => error,
        }
    }

    fn explain_exec(&self, fault: &Fault) -> Error {
        let program = self.candidates.get(usize_of(fault.index)).map(|path| path.to_string_lossy()).unwrap_or_default();
        let error = Error::system(format!("exec {program}"), fault.errno).at(path(&self.at, "args[0]"));
        match fault.errno {
            libc::ENOENT => error.hint("the interpreter that its first line or its ELF header names is missing"),
            libc::ENOEXEC => error.hint("it is not an executable for this machine and has no #! line"),
            libc::EACCES => error.hint("its filesystem may be mounted noexec, or its interpreter not executable"),
            libc::E2BIG => error.hint("arguments and environment are too long for the kernel"),
            _ => error,
        }
    }

    fn explain_directory(&self, fault: &Fault) -> Error {
        let cwd = self.cwd.to_string_lossy();
        let at = path(&self.at, "cwd");
        match fault.said() {
            MAKING => Error::system(format!("mkdir {cwd}"), fault.errno).at(at),
            OUTSIDE => Error::new(Code::CwdDenied, format!("cwd {cwd:?} is outside of the container")).at(at),
            _ => {
                let error = Error::system(format!("chdir to cwd ({cwd:?}) set in config.json failed"), fault.errno);
                let error = error.at(at);
                hinted(error, fault, &[libc::ELOOP], "directories reached through links in /proc are not accepted")
            }
        }
    }

    /// podman recognises the back-quoted path.
    fn explain_label(&self, fault: &Fault) -> Error {
        let file = String::from_utf8_lossy(fault.said()).into_owned();
        let selinux = self.labels.apparmor.is_none();
        let field = if selinux { "selinuxLabel" } else { "apparmorProfile" };
        let error = Error::system(format!("write to `/proc/{file}`"), fault.errno).at(path(&self.at, field));
        hinted(error, fault, &[libc::ENOENT], "the profile is not loaded")
    }

    fn explain_id(&self, fault: &Fault, field: &str, what: &str) -> Error {
        let error = Error::system(fault.step.name(), fault.errno).at(path(&self.at, field));
        match fault.errno {
            libc::EINVAL if self.user_namespace => {
                error.hint(format!("{what} has no mapping in the user namespace of the container"))
            }
            libc::EAGAIN => error.hint("the user has as many processes as RLIMIT_NPROC allows"),
            _ => error,
        }
    }

    fn explain_capability(&self, fault: &Fault, set: &str) -> Error {
        let name = capabilities::names(1_u64.checked_shl(fault.index).unwrap_or(0));
        let error = Error::system(format!("{} ({name})", fault.step.name()), fault.errno);
        error.at(path(&self.at, &format!("capabilities.{set}")))
    }

    /// Tare cannot give what it does not have: names it.
    fn explain_capabilities(&self, fault: &Fault) -> Error {
        let error = Error::system(fault.step.name(), fault.errno).at(path(&self.at, "capabilities"));
        let own = self.callers_capabilities;
        let masks = &self.capabilities;
        let missing = (masks.permitted | masks.inheritable) & !own;
        if fault.errno != libc::EPERM || self.user_namespace {
            return error;
        }
        if missing != 0 {
            return error.hint(format!("tare itself was started without {}", capabilities::names(missing)));
        }
        if !self.no_new_privileges && own & SYS_ADMIN == 0 {
            return error.hint("a seccomp filter without noNewPrivileges needs CAP_SYS_ADMIN");
        }
        error
    }
}

fn usize_of(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// An error, or the warning about a fault that is tolerated.
fn explain_keyring(fault: &Fault) -> Error {
    let error = Error::system(fault.step.name(), fault.errno);
    let tolerated = super::child::TOLERATED_OF_KEYRINGS.iter().any(|errno| errno.raw_os_error() == fault.errno);
    match fault.errno {
        libc::EDQUOT => error.hint(
            "the container keeps the caller's keyring; /proc/key-users shows who has how many keys, and \
             /proc/sys/kernel/keys has the quotas",
        ),
        _ if tolerated => error.hint("the container keeps the caller's keyring, if there is one"),
        _ => error.hint("--no-new-keyring leaves the keyring of the caller in place"),
    }
}

fn hinted(error: Error, fault: &Fault, errnos: &[i32], hint: &str) -> Error {
    if errnos.contains(&fault.errno) { error.hint(hint) } else { error }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;
    use serde_json::{Value, json};

    use super::super::plan::tests::planned;
    use super::*;

    fn shown(changes: Value, fault: &Fault) -> String {
        planned(changes).explain(fault).unwrap().to_string()
    }

    fn find(index: usize, errno: Errno) -> Fault {
        Fault::new(Step::FindProgram, index, errno)
    }

    #[test]
    fn a_missing_program_is_told_in_the_words_of_runc() {
        let sh = || json!({"args": ["/bin/sh"]});
        assert_eq!(
            shown(json!({}), &find(usize::MAX, Errno::NOENT)),
            "process.args[0]: exec: \"sh\": executable file not found in $PATH"
        );
        assert_eq!(
            shown(json!({}), &find(0, Errno::ACCESS)),
            "process.args[0]: exec: \"sh\": executable file not found in $PATH; \
             \"/bin/sh\" exists but is not executable for uid 0"
        );
        assert_eq!(
            shown(json!({"env": []}), &find(usize::MAX, Errno::NOENT)),
            "process.args[0]: exec: \"sh\": executable file not found in $PATH; process.env sets no PATH"
        );
        assert_eq!(
            shown(sh(), &find(0, Errno::NOENT).text(STAT)),
            "process.args[0]: exec: \"/bin/sh\": stat /bin/sh: no such file or directory"
        );
        assert_eq!(shown(sh(), &find(0, Errno::ACCESS)), "process.args[0]: exec: \"/bin/sh\": permission denied");
        assert_eq!(shown(sh(), &find(0, Errno::ISDIR)), "process.args[0]: exec: \"/bin/sh\": is a directory");
    }

    #[test]
    fn a_failed_exec_names_file_and_likely_cause() {
        let fault = Fault::new(Step::Exec, 0, Errno::NOENT);
        assert_eq!(
            shown(json!({}), &fault),
            "process.args[0]: exec /bin/sh: no such file or directory; \
             the interpreter that its first line or its ELF header names is missing"
        );
    }

    #[test]
    fn a_bad_working_directory_is_told_in_the_words_of_runc() {
        let cwd = || json!({"cwd": "/nope"});
        let fault = Fault::new(Step::WorkingDirectory, 0, Errno::NOENT);
        assert_eq!(
            shown(cwd(), &fault),
            "process.cwd: chdir to cwd (\"/nope\") set in config.json failed: no such file or directory"
        );
        assert_eq!(shown(cwd(), &fault.text(OUTSIDE)), "process.cwd: cwd \"/nope\" is outside of the container");
    }

    #[test]
    fn faults_carry_their_place() {
        let limits = json!({"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}]});
        assert_eq!(
            shown(limits, &Fault::new(Step::Rlimit, 0, Errno::PERM)),
            "process.rlimits[0]: set the rlimit: operation not permitted; a higher hard limit needs \
             CAP_SYS_RESOURCE on the host, and RLIMIT_NOFILE ends at /proc/sys/fs/nr_open"
        );
        assert_eq!(
            shown(json!({}), &Fault::new(Step::BoundingCapabilities, 5, Errno::PERM)),
            "process.capabilities.bounding: drop capabilities from the bounding set (CAP_KILL): operation not permitted"
        );
        assert_eq!(
            shown(json!({}), &Fault::new(Step::Keyring, 0, Errno::PERM)),
            "join a session keyring: operation not permitted; the container keeps the caller's keyring, if there is one"
        );
        assert!(planned(json!({})).explain(&Fault::new(Step::Mount, 0, Errno::PERM)).is_none());
    }
}
