//! The plan of a group, the comparison of schemata, and a look at groups that exist, in a directory made for that.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::plan::{ResctrlFacts, ResctrlPlan, line, plan};
use super::root::{Root, mount_point};
use super::{parent, schema};
use crate::error::{Error, ErrorKind};

fn planned(rdt: &Value) -> Result<Option<ResctrlPlan>, String> {
    let spec = serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": {"intelRdt": rdt}})).unwrap();
    let root = Ok("/sys/fs/resctrl".to_owned());
    plan(&spec, &ResctrlFacts { id: "c1", root: &root }).map_err(|error| error.to_string())
}

fn lines(rdt: &Value) -> Vec<(String, String)> {
    planned(rdt).unwrap().unwrap().lines.into_iter().map(|line| (line.at, line.text)).collect()
}

#[test]
fn the_group_has_the_name_of_the_class_or_of_the_container() {
    assert_eq!(planned(&Value::Null), Ok(None));
    for (rdt, group, named, must_exist) in [
        (json!({}), Some("c1"), false, false),
        (json!({"closID": ""}), Some("c1"), false, false),
        (json!({"closID": "gold"}), Some("gold"), true, true),
        (json!({"closID": "/"}), None, true, true),
        (json!({"closID": "/", "schemata": []}), None, true, true),
        (json!({"closID": "gold", "memBwSchema": "MB:0=10"}), Some("gold"), true, false),
        (json!({"l3CacheSchema": "L3:0=f"}), Some("c1"), false, false),
    ] {
        let plan = planned(&rdt).unwrap().unwrap();
        let found = (plan.group.as_deref(), plan.named, plan.must_exist(), plan.monitor);
        assert_eq!(found, (group, named, must_exist, None), "{rdt}");
    }
    let plan = planned(&json!({"closID": "gold", "enableMonitoring": true})).unwrap().unwrap();
    assert_eq!(plan.monitor.as_deref(), Some("c1"));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["a/b", "/a", "..", ".", "a\nb", "a\0b", "//"] {
        let error = planned(&json!({"closID": name})).unwrap_err();
        let end = "cannot be the name of a resctrl group: it must be one component of a path";
        assert!(error.starts_with("linux.intelRdt.closID: ") && error.ends_with(end), "{error}");
    }
    assert_eq!(
        planned(&json!({"closID": "info"})).unwrap_err(),
        "linux.intelRdt.closID: \"info\" cannot be the name of a resctrl group: resctrl has a directory of its own there"
    );
    assert!(planned(&json!({"closID": "x".repeat(256)})).unwrap_err().ends_with("it has more than 255 bytes"));
}

#[test]
fn schemata_are_written_last() {
    let all = json!({"schemata": ["L2:0=3", "", "MB:0=70"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f\n"});
    let expected = [
        ("linux.intelRdt.l3CacheSchema", "L3:0=f"),
        ("linux.intelRdt.memBwSchema", "MB:0=20"),
        ("linux.intelRdt.schemata[0]", "L2:0=3"),
        ("linux.intelRdt.schemata[2]", "MB:0=70"),
    ];
    assert_eq!(lines(&all), expected.map(|(at, text)| (at.to_owned(), text.to_owned())));
    assert_eq!(lines(&json!({"l3CacheSchema": "L3CODE:0=f\nL3DATA:0=f"})).len(), 1);
    for (rdt, error) in [
        (
            json!({"schemata": ["a", "L3:0=f\nMB:0=1"]}),
            "linux.intelRdt.schemata[1]: an element is one line; add an element for each line",
        ),
        (
            json!({"memBwSchema": "L3:0=f"}),
            "linux.intelRdt.memBwSchema: \"L3:0=f\" is not one line that starts with \"MB:\"",
        ),
        (
            json!({"memBwSchema": "MB:0=1\nMB:1=1"}),
            "linux.intelRdt.memBwSchema: \"MB:0=1\\nMB:1=1\" is not one line that starts with \"MB:\"",
        ),
        (json!({"l3CacheSchema": "L3:\0"}), "linux.intelRdt.l3CacheSchema: contains a NUL byte"),
    ] {
        assert_eq!(planned(&rdt).unwrap_err(), error);
    }
}

#[test]
fn a_host_without_resctrl_is_an_error_with_the_remedy() {
    let root = Err(super::root::not_mounted());
    let planned = |rdt: Value| {
        let spec = serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": {"intelRdt": rdt}})).unwrap();
        plan(&spec, &ResctrlFacts { id: "c1", root: &root })
    };
    assert!(planned(json!({})).unwrap().is_none() && planned(json!({"enableMonitoring": false})).unwrap().is_none());
    assert!(planned(json!({"enableMonitoring": true})).is_err() && planned(json!({"memBwSchema": "MB:0=20"})).is_err());
    let error = planned(json!({"closID": "gold"})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "linux.intelRdt: resctrl is not mounted on this host; mount -t resctrl resctrl /sys/fs/resctrl; \
         that needs a CPU with RDT and a kernel with CONFIG_X86_CPU_RESCTRL"
    );
}

#[test]
fn the_mount_is_found_elsewhere() {
    let mounts = b"22 1 0:20 / /sys rw - sysfs sysfs rw\n30 22 0:26 /a /part rw shared:1 - resctrl resctrl rw\n\
                  31 22 0:26 / /mnt/r\\040d rw shared:7 - resctrl none rw\n";
    assert_eq!(mount_point(mounts).as_deref(), Some("/mnt/r d"));
    assert_eq!(mount_point(b"22 1 0:20 / /resctrl rw - tmpfs resctrl rw\n"), None);
}

#[test]
fn values_are_compared_as_the_kernel_reads_them() {
    const PRESENT: &str = "    L3:0=ff;1=0f\n    MB:0= 20;1=100\n";
    for wanted in
        ["L3:0=ff;1=f", "L3:1=0f;0=FF", "L3:0=0xff", "L3:0=ff;\n", "MB:0=20", "MB:0=11;1=95", "L3:0=ff\nMB:0=20"]
    {
        assert!(schema::matches(PRESENT, wanted, 10), "{wanted}");
    }
    for wanted in [
        "L3:0=f",
        "L3:2=ff",
        "L3:0=ff;1=1",
        "L3:0=",
        "L2:0=ff",
        "MB:0=21",
        "MB:0=10",
        "MB:x=20",
        "L3:0=ff\nMB:0=30",
        "junk",
    ] {
        assert!(!schema::matches(PRESENT, wanted, 10), "{wanted}");
    }
    assert!(!schema::matches(PRESENT, "MB:0=11", 1));
    assert_eq!(schema::of_resource(PRESENT, "MB:0=1"), Some("MB:0= 20;1=100"));
}

/// A directory with the files of resctrl and the group `gold`.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("schemata", "L3:0=ff\nMB:0=100\n"),
        ("tasks", ""),
        ("info/last_cmd_status", "ok\n"),
        ("info/MB/bandwidth_gran", "10\n"),
        ("gold/schemata", "L3:0=f\nMB:0=20\n"),
        ("gold/tasks", ""),
        ("gold/mon_groups/other/tasks", ""),
    ] {
        let path = tree.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    tree
}

fn root(tree: &Path) -> Root {
    Root::at(fs::File::open(tree).unwrap().into(), "/sys/fs/resctrl")
}

fn look(tree: &Path, rdt: &Value) -> Result<parent::Looked, Error> {
    parent::look_below(root(tree), &planned(rdt).unwrap().unwrap())
}

#[test]
fn a_group_that_exists_must_have_the_values() {
    let tree = tree();
    for rdt in [
        json!({"closID": "gold"}),
        json!({"closID": "/"}),
        json!({"closID": "gold", "l3CacheSchema": "L3:0=0f", "memBwSchema": "MB:0=15"}),
        json!({"closID": "gold", "schemata": ["L3:0=1"]}),
    ] {
        let looked = look(tree.path(), &rdt).unwrap();
        assert!(!looked.recorded(&planned(&rdt).unwrap().unwrap()).made, "{rdt}");
    }
    let looked = look(tree.path(), &json!({"closID": "new", "l3CacheSchema": "L3:0=1"})).unwrap();
    let recorded = looked.recorded(&planned(&json!({"closID": "new"})).unwrap().unwrap());
    assert!(recorded.made && recorded.named);
    for (rdt, error) in [
        (
            json!({"closID": "gone"}),
            "linux.intelRdt.closID: there is no resctrl group \"gone\"; create it first, or set the schemata that it is to have",
        ),
        (
            json!({"closID": "gold", "l3CacheSchema": "L3:0=ff"}),
            "linux.intelRdt.l3CacheSchema: resctrl group \"gold\" exists and has L3:0=f, not L3:0=ff; \
             choose another closID, or omit the schema to use the group as it is",
        ),
        (
            json!({"closID": "/", "memBwSchema": "MB:0=50"}),
            "linux.intelRdt.memBwSchema: the default group of /sys/fs/resctrl exists and has MB:0=100, not MB:0=50; \
             choose another closID, or omit the schema to use the group as it is",
        ),
    ] {
        assert_eq!(look(tree.path(), &rdt).unwrap_err().to_string(), error);
    }
}

#[test]
fn a_monitoring_group_belongs_to_one_container() {
    let tree = tree();
    fs::create_dir(tree.path().join("gold/mon_groups/c1")).unwrap();
    let error = look(tree.path(), &json!({"closID": "gold", "enableMonitoring": true})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert!(error.to_string().starts_with("linux.intelRdt.enableMonitoring: there is a monitoring group \"c1\" in"));
}

#[test]
fn a_link_is_no_group() {
    let tree = tree();
    std::os::unix::fs::symlink("gold", tree.path().join("link")).unwrap();
    std::os::unix::fs::symlink("/proc", tree.path().join("out")).unwrap();
    for name in ["link", "out"] {
        let error = look(tree.path(), &json!({"closID": name})).unwrap_err().to_string();
        assert!(error.contains("too many levels of symbolic links"), "{error}");
    }
}

/// What a group had is put back; the texts of the kernel are in the errors.
#[test]
fn a_refused_write_says_why() {
    let tree = tree();
    let rdt = json!({"closID": "gold"});
    let plan = planned(&rdt).unwrap().unwrap();
    let mut group = parent::make(&plan, look(tree.path(), &rdt).unwrap()).unwrap();
    group.write_lines(&[line("l3CacheSchema", "L3:0=3").unwrap()]).unwrap();
    let schemata = tree.path().join("gold/schemata");
    assert!(fs::read_to_string(&schemata).unwrap().starts_with("L3:0=3\n"));
    group.put_back().unwrap();
    assert_eq!(fs::read_to_string(&schemata).unwrap(), "L3:0=f\nMB:0=20\n");
    fs::write(tree.path().join("info/last_cmd_status"), "Unknown resource name 'L9'\n").unwrap();
    fs::remove_file(&schemata).unwrap();
    fs::create_dir(&schemata).unwrap();
    let error = parent::make(&plan, look(tree.path(), &rdt).unwrap()).unwrap().put_back();
    assert!(error.is_ok(), "nothing was written");
    fs::remove_dir(&schemata).unwrap();
    std::os::unix::fs::symlink("/dev/null", &schemata).unwrap();
    let error = group.put_back().unwrap_err().to_string();
    assert_eq!(
        error,
        "put back the schemata of resctrl group \"gold\": too many levels of symbolic links (Unknown resource name 'L9')"
    );
}
