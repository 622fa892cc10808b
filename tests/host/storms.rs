//! Many commands at once on one container, and very many one after the other.
//!
//! `TARE_STORM` is the number of short execs, 10 000 in the full set.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::bundle::{Bundle, is_tare};

/// Bytes that each short exec writes, to stdout and to stderr.
const BURST: usize = 3000;

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn short_execs_lose_no_byte_and_leave_nothing() {
    let total = std::env::var("TARE_STORM").map_or(300, |count| count.parse::<usize>().unwrap());
    let bundle = Bundle::script("sleep 100000");
    bundle.begin();
    let line = format!("printf '%{BURST}s' o; printf '%{BURST}s' e >&2; exit 9");
    let next = AtomicUsize::new(0);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut wrong = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < total {
                let done = bundle.exec(&line);
                if (done.code, done.stdout.len(), done.stderr.len()) != (9, BURST, BURST) {
                    wrong.push(format!("{}: {} + {} bytes", done.code, done.stdout.len(), done.stderr.len()));
                }
            }
            wrong
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {total}: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    assert_eq!(bundle.members(), [bundle.pid()]);
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_storms_during_delete() {
    let bundle = Bundle::script("sleep 100000");
    for _ in 0..5 {
        bundle.begin();
        let over = AtomicBool::new(false);
        let answers = std::thread::scope(|scope| {
            let storm = || {
                let mut answers = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    answers.push(bundle.tare(&["exec", "-d", &bundle.id, "/bin/sleep", "100000"]));
                    bundle.reap_orphans();
                }
                answers
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(storm)).collect();
            crate::bundle::eventually("some execs", || bundle.members().len() > 4);
            let deleted = bundle.tare(&["delete", "--force", &bundle.id]);
            over.store(true, Ordering::Relaxed);
            let answers: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            deleted.silent();
            answers
        });
        for done in answers.into_iter().filter(|done| done.code != 0) {
            let line = done.refused();
            let known = ["does not exist", "container not running", "died", "killed", "no such", "has no record yet"];
            assert!(!is_tare() || known.iter().any(|words| line.contains(words)), "{line}");
        }
        bundle.assert_nothing_left();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn one_id_created_and_deleted_by_many() {
    let bundle = Bundle::script("sleep 100000");
    if !is_tare() {
        return eprintln!("skipped: runc's create and delete of one id get into each other's way");
    }
    bundle.write();
    let answers = std::thread::scope(|scope| {
        let creates = || (0..15).map(|_| ("create", bundle.on("create"))).collect::<Vec<_>>();
        let deletes =
            || (0..15).map(|_| ("delete", bundle.tare(&["delete", "--force", &bundle.id]))).collect::<Vec<_>>();
        let mut threads: Vec<_> = (0..3).map(|_| scope.spawn(creates)).collect();
        threads.extend((0..3).map(|_| scope.spawn(deletes)));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut lines = BTreeMap::new();
    for (command, done) in answers {
        match done.code {
            0 => *lines.entry(command.to_string()).or_insert(0) += 1,
            _ => *lines.entry(format!("{command}: {}", done.refused())).or_insert(0) += 1,
        }
    }
    assert!(lines["create"] > 0 && lines["delete"] == 45, "{lines:#?}");
    let refused: Vec<_> = lines.keys().filter(|line| line.contains(": ")).collect();
    let known = ["already exists", "in use by another command"];
    assert!(refused.iter().all(|line| known.iter().any(|words| line.contains(words))), "{lines:#?}");
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
    assert!(fs::read_dir(bundle.root()).unwrap().next().is_none());
}
