//! What a killed creator leaves is a container all the same. Deaths anywhere else are in tests/faults.

use crate::bundle::{Bundle, eventually, is_tare};
use crate::trace::{self, Aim, Blow};

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_outlives_its_dead_creator() {
    // Killed after the container was made, the container is whole: state says what it is.
    if !is_tare() {
        return eprintln!("skipped: a promise of tare's; TARE_BIN names another build of it");
    }
    let bundle = Bundle::script("sleep 100");
    bundle.write();
    let create = |at: usize, blow: Blow| {
        let aim = Aim { at, blow, pure: false };
        trace::run(bundle.command(&["create", &bundle.id]), aim, tempfile::tempfile().unwrap()).unwrap()
    };
    let calls = create(usize::MAX, Blow::Count).calls.len();
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    // The calls of init at its gate, and with them the number of all, differ by a few from run to run.
    let killed = (calls - 8..calls).rev().any(|at| {
        let code = create(at, Blow::KillMain).code;
        if code == 0 {
            bundle.tare(&["delete", "--force", &bundle.id]).silent();
        }
        code == 128 + libc::SIGKILL
    });
    assert!(killed, "it ended before any of its last calls");
    eventually("a settled state", || {
        let done = bundle.on("state");
        done.code == 0 && ["created", "stopped"].iter().any(|word| done.stdout.contains(word))
    });
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}
