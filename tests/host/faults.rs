//! Trials for the systemd driver: a command is killed, or made to fail, at sampled points. Those of the other driver are
//! in tests/faults.
//!
//! `TARE_FAULTS` is the number of points per command, spread evenly; "all" tries each.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::bundle::{Bundle, eventually, is_tare};
use crate::trace::{self, Blow, Traced};

/// Stands for the exit code of a command that has none.
const HANGS: i32 = -1;

/// Which of `count` points are tried.
fn sample(count: usize, usual: usize) -> Vec<usize> {
    let wanted = match std::env::var("TARE_FAULTS").as_deref() {
        Ok("all") => count,
        Ok(number) => number.parse().unwrap(),
        Err(_) => usual,
    };
    let wanted = wanted.clamp(1, count.max(1));
    (0..wanted).map(|n| n * count / wanted).collect()
}

pub struct Trial<'b> {
    pub bundle: &'b Bundle,
    /// The command under trial.
    pub args: &'b [&'b str],
    /// What makes the container it works on.
    pub before: fn(&Bundle),
}

impl Trial<'_> {
    fn run(&self, at: usize, blow: Blow) -> (Traced, String) {
        (self.before)(self.bundle);
        let mut stderr = tempfile::tempfile().unwrap();
        let traced = trace::run(self.bundle.command(self.args), at, blow, stderr.try_clone().unwrap());
        let traced = traced.unwrap_or_else(|| {
            self.bundle.kill_processes();
            Traced { code: HANGS, calls: Vec::new() }
        });
        (traced, text(&mut stderr))
    }

    /// Deletes what the trial left; what is wrong then.
    fn clean_up(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let done = self.reaping(|| self.bundle.tare(&["delete", "--force", &self.bundle.id]));
        if done.code != 0 {
            wrong.push(format!("delete --force fails: {}", done.stderr.trim()));
        }
        let mut left = self.bundle.leftovers();
        for _ in 0..50 {
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            left = self.bundle.leftovers();
        }
        wrong.extend(left.into_iter().map(|left| format!("left: {left}")));
        wrong
    }

    /// Does what an engine does meanwhile.
    fn reaping<T>(&self, act: impl FnOnce() -> T) -> T {
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    self.bundle.reap_orphans();
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            // Also when `act` panics.
            let _done = Done(&done);
            act()
        })
    }

    /// The id can be used again at once.
    fn use_again(&self) -> Vec<String> {
        let done = self.bundle.on("create");
        let mut wrong = Vec::new();
        if done.code != 0 {
            wrong.push(format!("the id is not free: {}", done.stderr.trim()));
        }
        wrong.extend(self.clean_up());
        wrong
    }

    pub fn kill_everywhere(&self, points: usize) {
        let (traced, stderr) = self.run(usize::MAX, Blow::Count);
        assert_eq!((traced.code, stderr.as_str()), (0, ""));
        assert_eq!(self.clean_up(), [""; 0]);
        let mut wrong = Vec::new();
        for blow in [Blow::KillMain, Blow::KillCaller] {
            for at in sample(traced.calls.len(), points) {
                let (killed, _) = self.run(at, blow);
                let mut found = self.clean_up();
                found.extend((killed.code == HANGS).then(|| "hangs".to_string()));
                found.extend(self.use_again());
                let call = traced.calls[at];
                wrong.extend(found.into_iter().map(|what| format!("{blow:?} at {at} (call {call}): {what}")));
            }
        }
        assert!(wrong.is_empty(), "{} of {} calls\n{}", self.args[0], traced.calls.len(), wrong.join("\n"));
    }

    pub fn fail_everywhere(&self, points: usize, leaves: fn(&Bundle) -> Vec<String>) {
        let (traced, _) = self.run(usize::MAX, Blow::Count);
        assert_eq!(self.clean_up(), [""; 0]);
        let mut wrong = Vec::new();
        for at in sample(traced.calls.len(), points) {
            for errno in [libc::ENOMEM, libc::EPERM] {
                let (failed, stderr) = self.run(at, Blow::Fail(errno));
                let mut found = Vec::new();
                if ![0, HANGS].contains(&failed.code) {
                    if failed.code > 128 && failed.code != 255 {
                        found.push(format!("dies with {}", failed.code));
                    }
                    let lines = stderr.lines().count();
                    // A binary that is not static may fail before it is tare's.
                    let loader = stderr.contains("error while loading shared libraries");
                    if !loader && (lines != 1 || !stderr.starts_with("tare: ")) {
                        found.push(format!("{lines} lines: {stderr:?}"));
                    }
                    settle(self.bundle, leaves);
                    found.extend(leaves(self.bundle).into_iter().map(|left| format!("left before delete: {left}")));
                }
                found.extend(self.clean_up());
                found.extend((failed.code == HANGS).then(|| "hangs".to_string()));
                let call = traced.calls[at];
                wrong.extend(
                    found.into_iter().map(|what| format!("{errno} at {at} (call {call}): {what}; {}", stderr.trim())),
                );
            }
        }
        assert!(wrong.is_empty(), "{} of {} calls\n{}", self.args[0], traced.calls.len(), wrong.join("\n"));
    }
}

fn settle(bundle: &Bundle, leaves: fn(&Bundle) -> Vec<String>) {
    for _ in 0..50 {
        if leaves(bundle).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

pub fn bundle() -> Option<Bundle> {
    if !is_tare() {
        eprintln!("skipped: a promise of tare's; TARE_BIN names another build of it");
        return None;
    }
    let bundle = Bundle::script("sleep 100")?;
    bundle.write();
    Some(bundle)
}

pub fn nothing(_: &Bundle) {}

pub fn created(bundle: &Bundle) {
    bundle.on("create").silent();
}

pub fn started(bundle: &Bundle) {
    created(bundle);
    bundle.on("start").silent();
}

#[test]
fn a_container_outlives_its_dead_creator() {
    // Killed after the container was made, the container is whole: state says what it is, and start works.
    let Some(bundle) = bundle() else { return };
    let trial = Trial { bundle: &bundle, args: &["create", &bundle.id], before: nothing };
    let (traced, _) = trial.run(usize::MAX, Blow::Count);
    let last = traced.calls.len() - 1;
    assert_eq!(trial.clean_up(), [""; 0]);
    trial.run(last, Blow::KillMain);
    eventually("a settled state", || {
        let done = bundle.on("state");
        done.code == 0 && ["created", "stopped"].iter().any(|word| done.stdout.contains(word))
    });
    assert_eq!(trial.clean_up(), [""; 0]);
}
