//! checkpoint and restore: what happens when CRIU is missing, fails or dies, and one round with a CRIU that works here.
//! tests/vm/checkpoint has the rest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bundle::{Bundle, eventually, is_tare, reap};

/// A running container that counts in /tmp/n, and a directory for its images.
fn counter() -> Option<(Bundle, PathBuf)> {
    if !is_tare() {
        eprintln!("skipped: the texts are tare's");
        return None;
    }
    let bundle = Bundle::script("i=0; while :; do i=$((i+1)); echo $i > /tmp/n; sleep 0.05; done");
    begin(&bundle);
    bundle.wait_file("tmp/n");
    let images = bundle.path().join("images");
    Some((bundle, images))
}

/// Without the files that the tests have as stdout and stderr: they are the host's, and CRIU dumps none of these.
fn begin(bundle: &Bundle) {
    bundle.write();
    let mut create = bundle.command(&["create", "-b", bundle.path().to_str().unwrap(), &bundle.id]);
    create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(create.status().unwrap().success());
    bundle.on("start").silent();
}

fn count(bundle: &Bundle) -> u64 {
    fs::read_to_string(bundle.file("rootfs/tmp/n")).unwrap().trim().parse().unwrap_or(0)
}

fn runs_on(bundle: &Bundle) {
    assert_eq!(bundle.status(), "running");
    let before = count(bundle);
    eventually("the program runs on", || count(bundle) > before);
}

/// A program in the place of CRIU.
fn program(directory: &Path, script: &str) -> String {
    let path = directory.join("criu");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn end(bundle: &Bundle) {
    let pid = bundle.pid();
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    reap(pid);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_checkpoint_without_criu_names_it_and_the_container_runs_on() {
    let Some((bundle, images)) = counter() else { return };
    let images = images.to_str().unwrap();
    let checkpoint = |criu: &str| bundle.tare(&["checkpoint", "--criu", criu, "--image-path", images, &bundle.id]);
    let said = checkpoint("/nonexistent/criu").refused();
    assert!(said.contains("start /nonexistent/criu: no such file or directory"), "{said}");
    for script in ["exit 0", "exit 3", "kill -KILL $$", "exec sleep 0.1"] {
        let said = checkpoint(&program(bundle.path(), script)).refused();
        assert!(said.contains("CRIU does not answer") && said.contains("`criu check`"), "{script}: {said}");
        runs_on(&bundle);
    }
    let report: serde_json::Value = serde_json::from_str(&bundle.tare(&["doctor", "--json"]).stdout).unwrap();
    assert!(!report["findings"].to_string().contains(&bundle.name), "{report}");
    end(&bundle);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn only_what_runs_is_checkpointed() {
    if !is_tare() {
        return;
    }
    let bundle = Bundle::script("exit 0");
    let images = bundle.path().join("images");
    let checkpoint = || bundle.tare(&["checkpoint", "--image-path", images.to_str().unwrap(), &bundle.id]).refused();
    assert!(checkpoint().contains("does not exist"));
    bundle.create().silent();
    let said = checkpoint();
    assert!(said.contains("cannot be checkpointed: it is created"), "{said}");
    let pid = bundle.pid();
    bundle.on("start").silent();
    reap(pid);
    let said = checkpoint();
    assert!(said.contains("cannot be checkpointed: container not running"), "{said}");
    assert!(!images.exists(), "a refused checkpoint made a directory");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_restore_that_fails_leaves_nothing() {
    if !is_tare() {
        return;
    }
    let bundle = Bundle::script("exit 0");
    bundle.write();
    let images = bundle.path().join("images");
    let path = bundle.path().to_str().unwrap();
    let restore = |criu: &str| {
        let words = ["restore", "--criu", criu, "--image-path", images.to_str().unwrap(), "-b", path, &bundle.id];
        bundle.tare(&words).refused()
    };
    let said = restore("/bin/false");
    assert!(said.contains("--image-path: open") && said.contains("no such file or directory"), "{said}");
    fs::create_dir(&images).unwrap();
    let said = restore("/bin/false");
    assert!(said.contains("descriptors.json") && said.contains("the directory of a checkpoint"), "{said}");
    bundle.assert_nothing_left();
    fs::write(images.join("descriptors.json"), "[]").unwrap();
    for script in ["exit 0", "kill -KILL $$"] {
        let said = restore(&program(bundle.path(), script));
        assert!(said.contains("CRIU does not answer"), "{script}: {said}");
        bundle.assert_nothing_left();
    }
    let said = restore("/nonexistent/criu");
    assert!(said.contains("start /nonexistent/criu: no such file or directory"), "{said}");
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn options_of_checkpoint_are_checked() {
    let Some((bundle, images)) = counter() else { return };
    let images = images.to_str().unwrap();
    let with = |words: &[&str]| {
        let all = [&["checkpoint", "--criu", "/bin/false", "--image-path", images], words, &[&bundle.id]].concat();
        bundle.tare(&all).refused()
    };
    for (words, text) in [
        (&["--page-server", "nonsense"][..], "--page-server: \"nonsense\" is not ADDRESS:PORT"),
        (&["--page-server", "127.0.0.1:0"], "is not ADDRESS:PORT"),
        (&["--status-fd", "99"], "--status-fd 99: duplicate it: bad file descriptor"),
        (&["--status-fd", "0"], "--status-fd 0: it is not open for writing"),
        (&["--parent-path", "/pre"], "--parent-path: must be relative to --image-path"),
        (&["--parent-path", "../pre"], "is not a directory"),
        (&["--empty-ns", "ipc"], "--empty-ns: \"ipc\" is not supported"),
        (&["--manage-cgroups-mode", "soff"], "\"soff\" is not one of soft"),
    ] {
        let said = with(words);
        assert!(said.contains(text), "{words:?}: {said}");
    }
    runs_on(&bundle);
    end(&bundle);
}

/// The CRIU of this host, if it can dump and restore here.
fn criu() -> Option<&'static str> {
    let check = Command::new("criu").arg("check").stdin(Stdio::null()).output();
    match check {
        Ok(done) if done.status.success() => Some("criu"),
        Ok(_) => {
            eprintln!("skipped: `criu check` fails on this host; tests/vm/checkpoint has a CRIU that works");
            None
        }
        Err(error) => {
            eprintln!("skipped: criu: {error}");
            None
        }
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_restored_container_goes_on_where_it_was() {
    let Some(_) = criu() else { return };
    let Some((bundle, images)) = counter() else { return };
    let (images, path) = (images.to_str().unwrap(), bundle.path().to_str().unwrap());
    let pid = bundle.pid();
    bundle.tare(&["checkpoint", "--network-lock", "skip", "--image-path", images, &bundle.id]).silent();
    reap(pid);
    bundle.assert_nothing_left();
    let before = count(&bundle);
    assert!(before > 0);
    bundle
        .tare(&["restore", "--network-lock", "skip", "--image-path", images, "-b", path, "--detach", &bundle.id])
        .silent();
    runs_on(&bundle);
    assert!(count(&bundle) > before && count(&bundle) < before + 200);
    end(&bundle);
}
