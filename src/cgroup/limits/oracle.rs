//! libcgroups as oracle: the values it writes for the same resources, into plain files.

use std::collections::BTreeMap;

use libcgroups::common::{CgroupManager, ControllerOpt};
use libcgroups::v2::manager::Manager;
use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

const FILES: [&str; 14] = [
    "cpu.weight",
    "cpu.max",
    "cpu.max.burst",
    "cpu.idle",
    "cpuset.cpus",
    "cpuset.mems",
    "memory.max",
    "memory.low",
    "memory.swap.max",
    "pids.max",
    "io.max",
    "io.bfq.weight",
    "hugetlb.2MB.max",
    "hugetlb.2MB.rsvd.max",
];

type Values = BTreeMap<String, String>;

fn theirs(resources: &LinuxResources) -> Values {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("cgroup.controllers"), "cpu cpuset io memory pids hugetlb").unwrap();
    let box_directory = root.path().join("box");
    std::fs::create_dir(&box_directory).unwrap();
    for file in FILES {
        std::fs::write(box_directory.join(file), "").unwrap();
    }
    let manager = Manager::new(root.path().to_owned(), "box".into()).unwrap();
    let options = ControllerOpt { resources, disable_oom_killer: false, oom_score_adj: None, freezer_state: None };
    manager.apply(&options).unwrap();
    let values = FILES.map(|file| (file.to_owned(), std::fs::read_to_string(box_directory.join(file)).unwrap()));
    values.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn ours(resources: &LinuxResources) -> Values {
    super::plan(resources, "linux.resources").unwrap().into_iter().map(|write| (write.file, write.value)).collect()
}

fn both(json: Value) -> (Values, Values) {
    let resources: LinuxResources = serde_json::from_value(json).unwrap();
    (ours(&resources), theirs(&resources))
}

#[test]
fn the_same_values_are_written() {
    let same = [
        json!({"cpu": {"shares": 2}}),
        json!({"cpu": {"shares": 512}}),
        json!({"cpu": {"shares": 1024}}),
        json!({"cpu": {"shares": 262_144, "cpus": "0-3", "mems": "0"}}),
        json!({"cpu": {"quota": 50000, "period": 200_000, "burst": 100, "idle": 0}}),
        json!({"cpu": {"quota": -1, "period": 200_000}}),
        json!({"memory": {"limit": 1000, "swap": 3000, "reservation": 500}}),
        json!({"memory": {"limit": 1000, "swap": -1}}),
        json!({"memory": {"limit": -1}}),
        json!({"memory": {"limit": -1, "swap": 5000}}),
        json!({"memory": {"limit": 0, "reservation": -1}}),
        json!({"pids": {"limit": 10}}),
        json!({"pids": {"limit": 0}}),
        json!({"pids": {"limit": -1}}),
        json!({"blockIO": {"weight": 500}}),
        json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 300}]}}),
        json!({"blockIO": {"throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]}}),
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}),
    ];
    for json in same {
        let (ours, theirs) = both(json.clone());
        assert_eq!(ours, theirs, "{json}");
    }
}

#[test]
fn known_differences() {
    let values = |pairs: &[(&str, &str)]| pairs.iter().map(|(file, value)| ((*file).into(), (*value).into())).collect();
    let different: [(&str, Value, Values, Values); 3] = [
        (
            "the spec has a period, 100 ms when none is given; libcgroups leaves whatever is there",
            json!({"cpu": {"quota": 50000}}),
            values(&[("cpu.max", "50000 100000")]),
            values(&[("cpu.max", "50000")]),
        ),
        (
            "swap equal to memory means no swap; libcgroups takes the difference, 0, for unset",
            json!({"memory": {"limit": 1000, "swap": 1000}}),
            values(&[("memory.max", "1000"), ("memory.swap.max", "0")]),
            values(&[("memory.max", "1000")]),
        ),
        (
            "a rate of 0 lifts a limit on v1; v2 wants max and refuses 0 with ERANGE",
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}}),
            values(&[("io.max", "8:0 rbps=max")]),
            values(&[("io.max", "8:0 rbps=0")]),
        ),
    ];
    for (why, json, expected_ours, expected_theirs) in different {
        assert_eq!(both(json), (expected_ours, expected_theirs), "{why}");
    }
}
