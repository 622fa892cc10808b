//! What is found later: after a reboot, when the pid is another's, when nobody waits for the dead.

use std::fs;
use std::time::{Duration, Instant};

use crate::bundle::{Bundle, eventually, is_tare, reap, stat};

fn running(line: &str) -> Option<Bundle> {
    if !is_tare() {
        eprintln!("skipped: knows the files of tare's state, and promises of tare's");
        return None;
    }
    let bundle = Bundle::script(line);
    bundle.begin();
    Some(bundle)
}

/// It counts as stopped: nothing touches the process that has its pid, until it is deleted.
fn is_stopped_for_all(bundle: &Bundle, pid: i32) {
    assert_eq!((bundle.status().as_str(), bundle.pid()), ("stopped", 0));
    assert!(bundle.tare(&["kill", &bundle.id, "KILL"]).refused().contains("container not running"));
    assert!(bundle.exec("true").refused().contains("container not running"));
    assert!(bundle.on("start").refused().contains("has stopped"));
    assert!(bundle.on("pause").refused().contains("container not running"));
    assert_eq!(stat(pid).unwrap()[0], "S");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn after_a_reboot_every_container_has_stopped() {
    let Some(bundle) = running("sleep 1000") else { return };
    let pid = bundle.pid();
    bundle.edit_record("boot_id", |_| "11111111-2222-3333-4444-555555555555".into());
    is_stopped_for_all(&bundle, pid);
    // Its cgroup did not survive the boot either; this one is there, and goes with what is in it.
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
    assert_eq!(reap(pid), 137);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_reused_pid_is_not_signalled() {
    let Some(bundle) = running("sleep 1000") else { return };
    let init = bundle.pid();
    // Not in the tick of the clock that init was born in: pid and start time would be those of init.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(other.id()).unwrap();
    eventually("sleep", || stat(pid).is_some_and(|fields| fields[0] == "S"));
    bundle.edit_record("pid", |_| pid.into());
    is_stopped_for_all(&bundle, pid);
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
    assert_eq!(reap(init), 137);
    assert_eq!(other.try_wait().unwrap(), None);
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_record_of_a_later_version_is_refused_and_can_be_deleted() {
    let Some(bundle) = running("sleep 1000") else { return };
    bundle.edit_record("version", |version| (version.as_u64().unwrap() + 1).into());
    let line = bundle.on("state").refused();
    assert!(line.contains("is damaged: ") && line.contains("`tare delete --force "), "{line}");
    assert_eq!(bundle.tare(&["delete", "--force", &bundle.id]).code, 0);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn zombies_without_a_parent_that_waits_do_not_block_delete() {
    // init of a pid namespace ends only when the zombies in it are gone, which exec's are when we wait for them.
    for force in [true, false] {
        let Some(bundle) = running("sleep 1000") else { return };
        let init = bundle.pid();
        let execs: Vec<i32> = (0..3)
            .map(|n| {
                let file = format!("exec{n}.pid");
                bundle.tare(&["exec", "-d", "--pid-file", &file, &bundle.id, "/bin/sleep", "1000"]).silent();
                fs::read_to_string(bundle.file(&file)).unwrap().parse().unwrap()
            })
            .collect();
        let before = Instant::now();
        if force {
            bundle.tare(&["delete", "--force", &bundle.id]).silent();
        } else {
            bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
            eventually("stopped", || bundle.status() == "stopped");
            assert!(bundle.tare(&["kill", &bundle.id, "KILL"]).refused().contains("container not running"));
            bundle.on("delete").silent();
        }
        assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
        assert!(!bundle.cgroup().exists());
        assert!(execs.iter().all(|pid| stat(*pid).is_some_and(|fields| fields[0] == "Z")));
        execs.into_iter().chain([init]).for_each(|pid| assert_eq!(reap(pid), 137));
        bundle.assert_nothing_left();
    }
}
