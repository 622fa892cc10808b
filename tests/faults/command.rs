//! The commands under trial: what they need before, and what must be true after.

use std::fs;

use crate::bundle::eventually_within;
use crate::stage::Stage;

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    Create,
    Start,
    /// In the foreground, of a program that ends.
    Run,
    /// Detached.
    RunDetached,
    Exec,
    Kill,
    Pause,
    Update,
    /// Adds mounts.
    Mounts,
    Delete,
    Checkpoint,
    CheckpointRunning,
    Restore,
}

/// What is expected of a command that says that it succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effect {
    /// There is a living init, if there should be one.
    pub lives: bool,
    /// What else can be seen: reports of the processes, the freezer's state, the limit.
    pub seen: String,
}

impl Command {
    pub const ALL: [Self; 13] = [
        Self::Create,
        Self::Start,
        Self::Run,
        Self::RunDetached,
        Self::Exec,
        Self::Kill,
        Self::Pause,
        Self::Update,
        Self::Mounts,
        Self::Delete,
        Self::Checkpoint,
        Self::CheckpointRunning,
        Self::Restore,
    ];

    /// Whether it runs CRIU.
    pub fn needs_criu(self) -> bool {
        matches!(self, Self::Checkpoint | Self::CheckpointRunning | Self::Restore)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Run => "run",
            Self::RunDetached => "run --detach",
            Self::Exec => "exec",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Update => "update",
            Self::Mounts => "mounts add",
            Self::Delete => "delete --force",
            Self::Checkpoint => "checkpoint",
            Self::CheckpointRunning => "checkpoint --leave-running",
            Self::Restore => "restore --detach",
        }
    }

    /// Its words.
    pub fn arguments(self, stage: &Stage) -> Vec<String> {
        let id = stage.bundle.id.clone();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        match self {
            Self::Create => [words(&["create"]), stage.socket_options(), vec![id]].concat(),
            Self::Start => vec!["start".into(), id],
            Self::Run => [words(&["run", "--bundle", &stage.short]), vec![id]].concat(),
            Self::RunDetached => [words(&["run", "--detach"]), stage.socket_options(), vec![id]].concat(),
            Self::Exec => {
                let tty = if stage.socket_options().is_empty() { vec![] } else { words(&["--tty"]) };
                let script = words(&["/bin/sh", "-c", &stage.exec_script()]);
                [words(&["exec", "--detach"]), tty, stage.socket_options(), vec![id], script].concat()
            }
            Self::Kill => vec!["kill".into(), id, "KILL".into()],
            Self::Pause => vec!["pause".into(), id],
            Self::Update => [words(&["update", "--resources", "resources.json"]), vec![id]].concat(),
            Self::Mounts => vec!["mounts".into(), "add".into(), id, "mounts.json".into()],
            Self::Delete => [words(&["delete", "--force"]), vec![id]].concat(),
            Self::Checkpoint => [words(&["checkpoint"]), stage.criu_options(), vec![id]].concat(),
            Self::CheckpointRunning => {
                [words(&["checkpoint", "--leave-running"]), stage.criu_options(), vec![id]].concat()
            }
            Self::Restore => {
                let bundle = words(&["restore", "--detach", "--bundle", &stage.endless]);
                [bundle, stage.criu_options(), vec![id]].concat()
            }
        }
    }

    /// Makes the container that it works on.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn prepare(self, stage: &Stage) -> Result<(), String> {
        stage.wipe();
        if self.needs_criu() {
            return self.prepare_for_criu(stage);
        }
        let steps: &[Self] = match self {
            Self::Create | Self::Run | Self::RunDetached => &[],
            Self::Start => &[Self::Create],
            Self::Exec | Self::Kill | Self::Pause | Self::Update | Self::Mounts | Self::Delete => {
                &[Self::Create, Self::Start]
            }
            Self::Checkpoint | Self::CheckpointRunning | Self::Restore => &[],
        };
        for step in steps {
            let done = stage.bundle.tare(&step.arguments(stage));
            if done.code != 0 {
                return Err(format!("{} before the trial: {}", step.name(), done.stderr.trim()));
            }
        }
        Ok(())
    }

    fn prepare_for_criu(self, stage: &Stage) -> Result<(), String> {
        let id = stage.bundle.id.as_str();
        let create: &[&str] = &["create", "--bundle", &stage.endless, id];
        let start: &[&str] = &["start", id];
        let mut steps = vec![create, start];
        let checkpoint = Self::Checkpoint.arguments(stage);
        let words: Vec<&str> = checkpoint.iter().map(String::as_str).collect();
        if self == Self::Restore {
            steps.push(&words);
        }
        steps.into_iter().try_for_each(|words| stage.run_without_files(words))
    }

    /// What it has done, if it says that it succeeded.
    pub fn effect(self, stage: &Stage) -> Effect {
        let bundle = &stage.bundle;
        let is = |status: &str| eventually_within(200, || bundle.on("state").stdout.contains(&format!("\"{status}\"")));
        match self {
            Self::Create => {
                let lives = is("created");
                bundle.on("start");
                Effect { lives, seen: stage.report("init") }
            }
            Self::Start | Self::RunDetached => Effect { lives: is("running"), seen: stage.report("init") },
            Self::Run => Effect { lives: true, seen: stage.report("init") },
            Self::Exec => Effect { lives: is("running"), seen: stage.report("exec") },
            Self::Kill => {
                let dead = eventually_within(500, || is("stopped"));
                Effect { lives: true, seen: format!("stopped: {dead}") }
            }
            Self::Pause => {
                let events = fs::read_to_string(bundle.cgroup().join("cgroup.events")).unwrap_or_default();
                Effect { lives: is("paused"), seen: events }
            }
            Self::Update => {
                let limit = fs::read_to_string(bundle.cgroup().join("hugetlb.2MB.max")).unwrap_or_default();
                Effect { lives: is("running"), seen: limit }
            }
            Self::Mounts => Effect { lives: is("running"), seen: added(stage).join("\n") },
            Self::Delete => {
                eventually_within(100, || bundle.leftovers().is_empty());
                Effect { lives: true, seen: bundle.leftovers().join(", ") }
            }
            Self::Checkpoint => {
                eventually_within(1000, || bundle.leftovers().is_empty());
                Effect { lives: true, seen: format!("{} {}", stage.has_images(), bundle.leftovers().join(", ")) }
            }
            Self::CheckpointRunning => {
                Effect { lives: is("running"), seen: format!("{} {:?}", stage.has_images(), self.remains(stage)) }
            }
            Self::Restore => Effect { lives: is("running"), seen: format!("{} process", bundle.members().len()) },
        }
    }

    /// What a command that says that it failed has left of its own.
    pub fn remains(self, stage: &Stage) -> Vec<String> {
        let bundle = &stage.bundle;
        match self {
            Self::Create | Self::Run | Self::RunDetached | Self::Restore => bundle.leftovers(),
            Self::Checkpoint | Self::CheckpointRunning => {
                let state = bundle.on("state").stdout;
                if state.contains("\"running\"") { Vec::new() } else { vec![state] }
            }
            // The container is there still, or no more.
            Self::Start | Self::Kill | Self::Delete => Vec::new(),
            Self::Exec => {
                let processes = bundle.members().len();
                if processes > 1 { vec![format!("{processes} processes")] } else { Vec::new() }
            }
            Self::Pause => {
                let frozen = fs::read_to_string(bundle.cgroup().join("cgroup.freeze")).unwrap_or_default();
                if frozen == "1\n" { vec!["frozen".into()] } else { Vec::new() }
            }
            Self::Update => {
                let limit = fs::read_to_string(bundle.cgroup().join("hugetlb.2MB.max")).unwrap_or_default();
                if limit == "4194304\n" { vec!["the new limit".into()] } else { Vec::new() }
            }
            Self::Mounts => added(stage),
        }
    }
}

/// The mounts of the container that `mounts add` adds: mount point, options, type.
fn added(stage: &Stage) -> Vec<String> {
    let state: serde_json::Value = serde_json::from_str(&stage.bundle.on("state").stdout).unwrap_or_default();
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", state["pid"])).unwrap_or_default();
    let fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields.get(4).is_some_and(|point| point.starts_with("/added")));
    ours.map(|fields| format!("{} {} {}", fields[4], fields[5], fields[fields.len() - 3])).collect()
}
