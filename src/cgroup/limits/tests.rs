//! Resources as JSON against the writes they become.

use oci_spec::runtime::LinuxResources;
use serde_json::json;

use super::{IfMissing, plan};

fn resources(json: serde_json::Value) -> LinuxResources {
    serde_json::from_value(json).unwrap()
}

/// Each write as `file=value`, with `?` for one that may be missing and `|file=value` for the other way.
fn written(json: serde_json::Value) -> Vec<String> {
    let shown = plan(&resources(json), "linux.resources").unwrap().into_iter().map(|write| {
        let end = match write.if_missing {
            IfMissing::Fail => String::new(),
            IfMissing::Skip => "?".to_owned(),
            IfMissing::Instead(file, value) => format!("|{file}={value}"),
        };
        format!("{}={}{end}", write.file, write.value)
    });
    shown.collect()
}

fn refused(json: serde_json::Value) -> String {
    plan(&resources(json), "linux.resources").unwrap_err().to_string()
}

#[test]
fn nothing_asked_nothing_written() {
    let empty: Vec<String> = Vec::new();
    assert_eq!(written(json!({})), empty);
    // What Docker, podman and containerd send for "not set".
    assert_eq!(
        written(json!({
            "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0, "kernelTCP": -1, "swappiness": u64::MAX,
                "disableOOMKiller": false, "useHierarchy": true, "checkBeforeUpdate": false},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""},
            "blockIO": {"weight": 0, "leafWeight": 0},
            "network": {"classID": 0, "priorities": []}, "hugepageLimits": [], "unified": {}, "rdma": {}
        })),
        empty
    );
}

#[test]
fn cpu() {
    assert_eq!(
        written(
            json!({"cpu": {"shares": 1024, "quota": 50000, "period": 200000, "burst": 1000, "cpus": "0-1", "mems": "0"}})
        ),
        ["cpuset.mems=0", "cpuset.cpus=0-1", "cpu.weight=100", "cpu.max=50000 200000", "cpu.max.burst=1000"]
    );
    assert_eq!(written(json!({"cpu": {"quota": 50000}})), ["cpu.max=50000 100000"]);
    assert_eq!(written(json!({"cpu": {"quota": -1}})), ["cpu.max=max 100000?"]);
    assert_eq!(written(json!({"cpu": {"period": 50000}})), ["cpu.max=max 50000?"]);
    assert_eq!(written(json!({"cpu": {"idle": 1, "shares": 2}})), ["cpu.weight=1", "cpu.idle=1"]);
    assert_eq!(written(json!({"cpu": {"idle": 0, "shares": 2}})), ["cpu.idle=0", "cpu.weight=1"]);
    assert_eq!(refused(json!({"cpu": {"idle": 2}})), "linux.resources.cpu.idle: 2 is neither 0 nor 1");
    assert_eq!(
        refused(json!({"cpu": {"quota": 10000, "burst": 10001}})),
        "linux.resources.cpu.burst: 10001 is greater than the quota, 10000"
    );
    assert_eq!(
        refused(json!({"cpu": {"realtimeRuntime": 95000}})),
        "linux.resources.cpu.realtimeRuntime: cgroup v2 has no limit for realtime scheduling"
    );
    assert_eq!(
        refused(json!({"cpu": {"cpus": "0\n1"}})),
        "linux.resources.cpu.cpus: \"0\\n1\" has a control character"
    );
}

#[test]
fn memory() {
    assert_eq!(
        written(json!({"memory": {"limit": 1000, "swap": 3000, "reservation": 500}})),
        ["memory.swap.max=2000", "memory.max=1000", "memory.low=500"]
    );
    assert_eq!(written(json!({"memory": {"limit": 1000, "swap": 1000}})), ["memory.swap.max=0?", "memory.max=1000"]);
    assert_eq!(written(json!({"memory": {"limit": 1000, "swap": -1}})), ["memory.swap.max=max?", "memory.max=1000"]);
    assert_eq!(written(json!({"memory": {"limit": -1}})), ["memory.swap.max=max?", "memory.max=max?"]);
    assert_eq!(written(json!({"memory": {"limit": -1, "swap": 5}})), ["memory.swap.max=5", "memory.max=max?"]);
    assert_eq!(written(json!({"memory": {"limit": 1000}})), ["memory.max=1000"]);
    assert_eq!(
        refused(json!({"memory": {"limit": 1000, "swap": 999}})),
        "linux.resources.memory.swap: 999 is memory plus swap and less than the memory limit, 1000"
    );
    assert_eq!(
        refused(json!({"memory": {"swap": 999}})),
        "linux.resources.memory.swap: is memory plus swap and needs a memory limit; set linux.resources.memory.limit"
    );
    assert_eq!(
        refused(json!({"memory": {"limit": -2}})),
        "linux.resources.memory.limit: -2 is negative; -1 means no limit"
    );
    for (name, value) in [
        ("kernel", json!(1)),
        ("kernelTCP", json!(1)),
        ("swappiness", json!(60)),
        ("disableOOMKiller", json!(true)),
        ("useHierarchy", json!(false)),
    ] {
        let error = refused(json!({"memory": {name: value}}));
        assert!(error.starts_with(&format!("linux.resources.memory.{name}: cgroup v2 ")), "{error}");
    }
}

#[test]
fn block_io() {
    assert_eq!(
        written(json!({"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}})),
        [
            "io.bfq.weight=500|io.weight=4950",
            "io.bfq.weight=8:0 10|io.weight=8:0 1",
            "io.max=8:0 rbps=600",
            "io.max=8:16 wiops=max"
        ]
    );
    assert_eq!(
        refused(json!({"blockIO": {"weight": 9}})),
        "linux.resources.blockIO.weight: 9 is not between 10 and 1000"
    );
    assert_eq!(
        refused(json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}})),
        "linux.resources.blockIO.weightDevice[0].leafWeight: cgroup v2 has no weight for leaves"
    );
    assert_eq!(
        refused(json!({"blockIO": {"throttleReadBpsDevice": [{"major": -8, "minor": 0, "rate": 1}]}})),
        "linux.resources.blockIO.throttleReadBpsDevice[0]: -8:0 is not a device number"
    );
}

#[test]
fn the_rest() {
    assert_eq!(written(json!({"pids": {"limit": 7}})), ["pids.max=7"]);
    assert_eq!(written(json!({"pids": {"limit": 0}})), ["pids.max=1"]);
    assert_eq!(written(json!({"pids": {"limit": -1}})), ["pids.max=max?"]);
    assert_eq!(
        written(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]})),
        ["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304?"]
    );
    for size in ["2mb", "MB", "02MB", "2MB/../x", "-2MB", ""] {
        let error = refused(json!({"hugepageLimits": [{"pageSize": size, "limit": 0}]}));
        assert!(error.ends_with("is not a page size; write it like 64KB, 2MB or 1GB"), "{error}");
    }
    assert_eq!(
        written(json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 1000}}})),
        ["rdma.max=mlx4_0 hca_object=1000", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"]
    );
    assert_eq!(
        refused(json!({"network": {"classID": 1048577}})),
        "linux.resources.network.classID: cgroup v2 has no network classes; match the cgroup itself in nftables or tc"
    );
}

#[test]
fn unified() {
    assert_eq!(
        written(json!({"pids": {"limit": 5}, "unified": {"memory.high": "1G", "io.max": "8:0 rbps=1\n8:16 wbps=2\n"}})),
        ["pids.max=5", "io.max=8:0 rbps=1", "io.max=8:16 wbps=2", "memory.high=1G"]
    );
    let long = format!("memory.{}", "x".repeat(249));
    let others = ["../../x", "memory/max", "memory", "", ".", "..", "memory.", "memory..max", "memory.max\n", "a b.c"];
    for key in others.into_iter().chain([long.as_str()]) {
        let error = refused(json!({"unified": {key: "1"}}));
        assert!(error.contains("is not a file of a cgroup; write it as CONTROLLER.FILE"), "{error}");
    }
    for key in ["cgroup.procs", "cgroup.kill", "cgroup.freeze", "cgroup.type", "cgroup.subtree_control"] {
        let error = refused(json!({"unified": {key: "1"}}));
        assert!(error.contains("only tare writes this file"), "{error}");
    }
    assert_eq!(
        refused(json!({"unified": {"memory.high": ""}})),
        "linux.resources.unified[\"memory.high\"]: is empty; an empty write does not reach the kernel"
    );
    assert_eq!(
        refused(json!({"unified": {"memory.high": "1\u{0}"}})),
        "linux.resources.unified[\"memory.high\"]: has a control character, which no cgroup file accepts"
    );
}

#[test]
fn controllers_that_are_needed() {
    let needed = |json| {
        let writes = plan(&resources(json), "linux.resources").unwrap();
        writes.iter().filter_map(|write| write.controller().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(needed(json!({"pids": {"limit": -1}, "memory": {"limit": -1}, "cpu": {"quota": -1}})), [""; 0]);
    assert_eq!(needed(json!({"unified": {"cgroup.max.depth": "1", "memory.pressure": "some 1 2"}})), [""; 0]);
    assert_eq!(needed(json!({"blockIO": {"weight": 10}, "memory": {"limit": 1, "swap": 1}})), ["memory", "io"]);
    assert_eq!(needed(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})), ["hugetlb"]);
}
