//! Class 34: a process of the container waits in the kernel for a FUSE server, and SIGKILL does not end it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::Duration;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use serde_json::json;

use crate::bundle::{Bundle, eventually_within, is_tare};
use crate::patience;
use crate::support::{only_tare, skip};

const INIT: u32 = 26;
const LOOKUP: u32 = 1;

/// Serves a filesystem that comes up and then answers nothing; says when a file of it has been asked for. Source:
/// linux/fuse.h.
fn serve(mut device: File, asked: &mpsc::Sender<()>) {
    let mut request = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut request) {
        let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        assert!(length >= 40);
        match word(4) {
            INIT => {
                // fuse_out_header: length, error, unique; fuse_init_out: the version, and max_write.
                let mut reply = vec![0_u8; 16 + 64];
                reply[0..4].copy_from_slice(&80_u32.to_le_bytes());
                reply[8..16].copy_from_slice(&request[8..16]);
                reply[16..20].copy_from_slice(&7_u32.to_le_bytes());
                reply[20..24].copy_from_slice(&31_u32.to_le_bytes());
                reply[36..40].copy_from_slice(&4096_u32.to_le_bytes());
                device.write_all(&reply).unwrap();
            }
            LOOKUP => asked.send(()).unwrap(),
            _ => {}
        }
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_34_a_process_that_cannot_be_killed_is_named() {
    if !only_tare() {
        return;
    }
    let mut bundle = Bundle::new();
    let volume = bundle.file("volume");
    fs::create_dir(&volume).unwrap();
    mount("none", &volume, "tmpfs", MountFlags::empty(), None).unwrap();
    mount_change(&volume, MountPropagationFlags::SHARED).unwrap();
    fs::create_dir(volume.join("stuck")).unwrap();
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind", "rslave"] }),
    );
    let script = "echo up > /tmp/up; while :; do cat /volume/stuck/file; sleep 0.05; done 2>/dev/null";
    bundle.set("/process/args", json!(["/bin/sh", "-c", script]));
    bundle.begin();
    bundle.wait_file("tmp/up");

    let device = match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(device) => device,
        Err(error) => return skip(&format!("no FUSE: {error}")),
    };
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let options = std::ffi::CString::new(options).unwrap();
    mount("stuck", volume.join("stuck"), "fuse", MountFlags::empty(), Some(options.as_c_str())).unwrap();
    let (sender, asked) = mpsc::channel();
    let server = std::thread::spawn(move || serve(device, &sender));
    asked.recv_timeout(Duration::from_secs(20)).expect("nobody has looked for the file");

    let timed = |args: &[&str], limit| match patience::ends_within(&bundle, args, Duration::from_secs(limit)) {
        Ok(done) => done,
        Err(hangs) => panic!("{hangs}"),
    };
    assert_eq!(timed(&["state", &bundle.id], 2).code, 0);
    assert_eq!(timed(&["kill", &bundle.id, "TERM"], 2).code, 0);
    let done = timed(&["delete", "--force", &bundle.id], 10);
    assert_ne!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("(cat, state D)"), "{done:?}");
    assert_eq!(done.stderr.trim().lines().count(), 1, "{done:?}");
    assert!(bundle.tare(&["state", &bundle.id]).code == 0, "the container is forgotten");

    // The end of the filesystem: what waits for it gets an error.
    unmount(volume.join("stuck"), UnmountFlags::DETACH | UnmountFlags::FORCE).unwrap();
    server.join().unwrap();
    assert_eq!(timed(&["delete", "--force", &bundle.id], 2).code, 0);
    unmount(&volume, UnmountFlags::DETACH).unwrap();
    assert!(eventually_within(2000, || bundle.leftovers().is_empty() || !is_tare()), "{:?}", bundle.leftovers());
}
