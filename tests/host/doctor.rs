//! doctor: what is left by force is found and named, and only what is dead is removed.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::bundle::{Bundle, Done, eventually, is_tare};

/// `--repair` removes what other tests here have just left behind, too.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sleeper() -> Option<Bundle> {
    if !is_tare() {
        eprintln!("skipped: only tare has doctor");
        return None;
    }
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    Some(bundle)
}

/// The findings about this bundle's container; others have tests beside this one.
fn findings(bundle: &Bundle, done: &Done) -> Vec<Value> {
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let ours = |finding: &&Value| finding.to_string().contains(&bundle.name);
    report["findings"].as_array().unwrap().iter().filter(ours).cloned().collect()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_running_container_has_no_findings() {
    let _alone = alone();
    let Some(bundle) = sleeper() else { return };
    let done = bundle.tare(&["doctor"]);
    assert!(done.stdout.starts_with(&format!("{}: 1 container, ", bundle.root().display())), "{done:?}");
    assert_eq!(findings(&bundle, &bundle.tare(&["doctor", "--json"])), [Value::Null; 0]);
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_cgroup_without_a_record_is_removed_when_it_is_empty() {
    let _alone = alone();
    let Some(bundle) = sleeper() else { return };
    fs::remove_dir_all(bundle.root().join(&bundle.id)).unwrap();
    let done = bundle.tare(&["doctor", "--repair", "--json"]);
    let found = findings(&bundle, &done);
    assert_eq!((done.code, found.len()), (1, 1), "{done:?}");
    assert_eq!((&found[0]["kind"], &found[0]["repaired"]), (&"orphan-cgroup".into(), &false.into()));
    assert!(found[0]["what"].as_str().unwrap().contains("it still has processes: ["), "{found:?}");
    assert!(bundle.cgroup().exists(), "doctor removes what lives");

    fs::write(bundle.cgroup().join("cgroup.kill"), "1").unwrap();
    let events = bundle.cgroup().join("cgroup.events");
    eventually("an empty cgroup", || {
        bundle.reap_orphans();
        fs::read_to_string(&events).unwrap().contains("populated 0")
    });
    let done = bundle.tare(&["doctor", "--repair"]);
    let line = format!("/{}: it belongs to container {:?}, which does not exist in", bundle.name, bundle.id);
    assert!(done.stdout.lines().any(|found| found.starts_with(&line) && found.ends_with("; removed")), "{done:?}");
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_creation_that_was_killed_is_removed() {
    let _alone = alone();
    let Some(bundle) = sleeper() else { return };
    let killed = bundle.root().join("killed");
    fs::create_dir(&killed).unwrap();
    let done = bundle.tare(&["doctor"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stdout.contains(
            "killed: its creation was interrupted before its record was written; `tare delete --force killed`"
        ),
        "{done:?}"
    );
    assert!(killed.exists(), "doctor removes without being asked");
    bundle.tare(&["doctor", "--repair"]);
    assert!(!killed.exists());
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_damaged_record_is_kept_while_its_container_runs() {
    let _alone = alone();
    let Some(bundle) = sleeper() else { return };
    let record = bundle.root().join(&bundle.id).join("record");
    fs::write(&record, "garbled").unwrap();
    let found = findings(&bundle, &bundle.tare(&["doctor", "--repair", "--json"]));
    assert_eq!((found.len(), &found[0]["kind"]), (1, &"damaged-record".into()), "{found:?}");
    assert!(record.exists() && found[0]["repaired"] == false, "{found:?}");

    fs::write(bundle.cgroup().join("cgroup.kill"), "1").unwrap();
    eventually("removal", || {
        bundle.reap_orphans();
        findings(&bundle, &bundle.tare(&["doctor", "--repair", "--json"])).iter().all(|found| found["repaired"] == true)
    });
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_of_an_earlier_boot_is_left_to_its_engine() {
    let _alone = alone();
    let Some(bundle) = sleeper() else { return };
    bundle.tare(&["kill", &bundle.id, "KILL"]);
    eventually("the end", || {
        bundle.reap_orphans();
        bundle.status() == "stopped"
    });
    let path = bundle.root().join(&bundle.id).join("record");
    bundle.edit_record("boot_id", |_| "00000000-0000-0000-0000-000000000000".into());
    let found = findings(&bundle, &bundle.tare(&["doctor", "--repair", "--json"]));
    assert_eq!((found.len(), &found[0]["kind"]), (1, &"before-reboot".into()), "{found:?}");
    assert!(path.exists() && found[0]["repairable"] == false, "{found:?}");
}
