//! Class 41: masked and read-only paths that are symbolic links of the image.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::bundle::{Bundle, is_tare};
use crate::support::{Bait, both_refuse, every_way, only_tare, skip, try_both};

/// Links to a file, by every kind of path; each is tried alone.
const LINKS: &[(&str, &str)] = &[
    // The last name, absolute and relative.
    ("/link", "/secrets/file"),
    ("/link", "secrets/file"),
    // Above the root is the root.
    ("/link", "../../../../../../../../secrets/file"),
    ("/etc/link", "/../../etc/../secrets/./file"),
    // In the middle.
    ("/link/file", "/secrets"),
    ("/link/../secrets/file", "bin"),
    // A link to a link.
    ("/link", "/chain"),
    // The directory.
    ("/link", "/secrets"),
    ("/link", "chain/.."),
];

fn with_secrets(bundle: &mut Bundle, link: &str, target: &str) {
    let rootfs = bundle.file("rootfs");
    fs::create_dir(rootfs.join("secrets")).unwrap();
    fs::write(rootfs.join("secrets/file"), "secret\n").unwrap();
    symlink("/secrets/file", rootfs.join("chain")).unwrap();
    let name = if link.starts_with("/etc/") { "etc/link" } else { "link" };
    symlink(target, rootfs.join(name)).unwrap();
}

/// What a link shows is masked, not the link: crun and runc do so, and who masks a path wants its content hidden.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_41_masks_follow_links_inside_the_root() {
    for &(link, target) in LINKS.iter().take(8) {
        let configure = |bundle: &mut Bundle| {
            with_secrets(bundle, link, target);
            bundle.set("/linux/maskedPaths", json!([link]));
        };
        let line = "cat /link /link/file /etc/link /chain /secrets/file 2>/dev/null; echo end";
        let ways = every_way(&configure, line);
        for (way, text) in ways {
            assert_eq!(text, "end\n", "{link} -> {target}: {way}");
        }
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_41_read_only_paths_follow_links_inside_the_root() {
    for &(link, target) in LINKS.iter().take(8) {
        let configure = |bundle: &mut Bundle| {
            with_secrets(bundle, link, target);
            bundle.set("/linux/readonlyPaths", json!([link]));
        };
        let line = "for i in /secrets/file /chain; do { echo >>$i; } 2>/dev/null && echo $i written; done; echo end";
        let ways = every_way(&configure, line);
        for (way, text) in ways {
            assert_eq!(text, "end\n", "{link} -> {target}: {way}");
        }
    }
}

/// Nothing of the host is covered, whatever the links say.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_41_links_out_of_the_root_stay_inside() {
    let bait = Bait::new();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    for target in [bait.text().to_string(), "../".repeat(20) + bait.text(), "/proc/self/root".to_string() + bait.text()]
    {
        for field in ["/linux/maskedPaths", "/linux/readonlyPaths"] {
            let mut bundle = Bundle::new();
            symlink(&target, bundle.file("rootfs/link")).unwrap();
            bundle.set(field, json!(["/link/secret", "/link"]));
            try_both(&bundle, &|_| bait.assert_untouched());
            assert_eq!(mounts(), before);
        }
    }
}

/// A path that leads nowhere needs no mask.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_41_dangling_links_are_ignored() {
    for target in ["/nowhere", "../../nowhere/deeper", "/link2"] {
        let mut bundle = Bundle::new();
        symlink(target, bundle.file("rootfs/link")).unwrap();
        symlink("nowhere", bundle.file("rootfs/link2")).unwrap();
        let paths = json!(["/link", "/link/below"]);
        bundle.set("/linux/maskedPaths", paths.clone()).set("/linux/readonlyPaths", paths);
        bundle.run().silent();
    }
}

/// A circle is an error, as with runc and crun: nobody knows what should have been masked.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_41_circles_are_refused() {
    for field in ["maskedPaths", "readonlyPaths"] {
        let mut bundle = Bundle::new();
        symlink("/two", bundle.file("rootfs/one")).unwrap();
        symlink("one", bundle.file("rootfs/two")).unwrap();
        bundle.set(&format!("/linux/{field}"), json!(["/etc", "/one"]));
        for line in both_refuse(&bundle) {
            let expected = format!("linux.{field}[1]: ");
            assert!(!is_tare() || line.starts_with(&expected) && line.contains("; its symbolic links"), "{line}");
        }
    }
}

/// /etc/mtab of many images is one link into /proc; a magic link, which could lead anywhere, is an error. runc follows
/// it, crun refuses it.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_41_links_into_proc() {
    let mut bundle = Bundle::script("cat /proc/1/mounts; echo end");
    symlink("/proc/self/mounts", bundle.file("rootfs/etc/mtab")).unwrap();
    bundle.set("/linux/maskedPaths", json!(["/etc/mtab"]));
    assert_eq!(bundle.run().good(), "end\n");
    if !only_tare() {
        return;
    }
    for target in ["/proc/self/exe", "/proc/self/root/etc/passwd", "/proc/self/cwd", "/proc/thread-self/fd/0"] {
        for field in ["maskedPaths", "readonlyPaths"] {
            let mut bundle = Bundle::new();
            symlink(target, bundle.file("rootfs/link")).unwrap();
            bundle.set(&format!("/linux/{field}"), json!(["/link"]));
            for line in both_refuse(&bundle) {
                assert!(line.starts_with(&format!("linux.{field}[0]: ")), "{target}: {line}");
            }
        }
    }
}

/// The root of a process cannot be covered: a mask on it would hide nothing, and a read-only copy would bind nobody.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_41_links_to_the_root() {
    for path in ["/", "/link", "/link/dev/.."] {
        let mut bundle = Bundle::script("echo >/new && echo written; echo end");
        symlink("../..", bundle.file("rootfs/link")).unwrap();
        bundle.set("/linux/readonlyPaths", json!([path]));
        if !is_tare() {
            skip("crun makes a read-only copy that nobody sees");
        } else {
            assert_eq!(bundle.run().stdout, "end\n", "{path}");
            bundle.unset("/linux/readonlyPaths").set("/linux/maskedPaths", json!([path]));
            for line in both_refuse(&bundle) {
                assert!(line.ends_with("; it leads to the root of the container"), "{line}");
            }
        }
    }
}

/// What covers directories is the smallest tmpfs that there is.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_41_masks_take_no_memory() {
    let mut bundle = Bundle::script("grep /tmp/masked /proc/self/mounts; echo >/tmp/masked/x");
    fs::create_dir(bundle.file("rootfs/tmp/masked")).unwrap();
    bundle.set("/linux/maskedPaths", json!(["/tmp/masked"]));
    let done = bundle.run();
    assert!(done.stderr.contains("Read-only file system"), "{}", done.stderr);
    if only_tare() {
        let limits = |page: u64| format!(",size={}k,nr_inodes=1", page / 1024);
        let page = u64::try_from(rustix::param::page_size()).unwrap();
        assert!(done.stdout.contains(&limits(page)), "{}", done.stdout);
    }
}
