//! linux.netDevices: devices of the runtime's network namespace become the container's, and come back when it cannot be
//! made. In network namespaces of their own, with pairs of virtual Ethernet devices.

use std::process::Command;

use serde_json::json;

use crate::bundle::{Bundle, Done, finish, is_tare};

/// Runs a line in a new network namespace; $TARE is the runtime with its state root, $ID the container.
fn in_namespace(bundle: &Bundle, line: &str) -> Done {
    bundle.write();
    let tare = bundle.command::<&str>(&[]);
    let words = std::iter::once(tare.get_program()).chain(tare.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-ec", line]).current_dir(bundle.path());
    command.env("TARE", words.join(" ")).env("ID", &bundle.id);
    finish(command)
}

const PAIR: &str = "ip link add v0 type veth peer name peer; ip link set v0 mtu 1400 address 02:00:00:00:00:07
    ip addr add 192.0.2.7/24 broadcast + dev v0; ip addr add 192.0.2.8/24 dev v0; ip addr add 2001:db8::7/64 dev v0 nodad
    ip addr add 10.9.9.9/32 scope host dev v0
    ip addr add 2001:db8::8/64 valid_lft 1000 preferred_lft 1000 dev v0";

fn container(devices: &serde_json::Value, line: &str) -> Option<Bundle> {
    if !Command::new("ip").arg("-Version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs ip of iproute2");
        return None;
    }
    let mut bundle = Bundle::script(line);
    bundle.set("/linux/netDevices", devices.clone());
    is_tare().then_some(bundle)
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn moved_renamed_addressed_and_up() {
    let Some(bundle) = container(&json!({"v0": {"name": "net0"}}), "ip link show net0; ip addr show net0") else {
        return;
    };
    let text = in_namespace(&bundle, &format!("{PAIR}\neval \"$TARE run $ID\"; ip -o link")).good();
    for part in [
        "net0@",
        "UP",
        "mtu 1400",
        "02:00:00:00:00:07",
        "inet 192.0.2.7/24 brd 192.0.2.255",
        "192.0.2.8/24 scope global secondary",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("2001:db8::7/64"), "{text}");
    assert!(!text.contains("10.9.9.9") && !text.contains("2001:db8::8"), "neither permanent nor global: {text}");
    assert!(!text.contains("v0@"), "{text}");
}

/// What the container makes of its device stays, whatever commands are used; and it ends with the container.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_container_manages_its_device() {
    let script = "ip link set net0 mtu 1300; ip link set net0 down; echo up > /tmp/up; sleep 1000";
    let Some(mut bundle) = container(&json!({"v0": {"name": "net0"}}), script) else { return };
    let sets = ["bounding", "effective", "permitted"].map(|set| (set.to_string(), json!(["CAP_NET_ADMIN"])));
    bundle.set("/process/capabilities", json!(sets.into_iter().collect::<serde_json::Map<_, _>>()));
    let line = format!(
        "{PAIR}
        eval \"$TARE create $ID\" >create.log 2>&1 </dev/null; eval \"$TARE start $ID\"
        until [ -e rootfs/tmp/up ]; do sleep 0.02; done
        eval \"$TARE pause $ID\"; eval \"$TARE resume $ID\"; eval \"$TARE state $ID\" >state.log
        eval \"$TARE exec $ID ip -o link show net0\" </dev/null
        eval \"$TARE kill $ID KILL\"
        until eval \"$TARE state $ID\" | grep -q stopped; do sleep 0.02; done
        ip -o link | sed 's/^/stopped: /'; eval \"$TARE delete $ID\"; ip -o link | sed 's/^/deleted: /'"
    );
    let text = in_namespace(&bundle, &line).good();
    let inside = text.lines().find(|line| line.contains("net0@")).unwrap_or_default();
    assert!(inside.contains("mtu 1300") && !inside.contains("UP"), "{text}");
    for state in ["stopped: ", "deleted: "] {
        assert!(text.contains(state) && !text.contains(&format!("{state}v0")), "{text}");
        assert!(
            !text.lines().any(|line| line.starts_with(state) && (line.contains("net0") || line.contains(" v0@"))),
            "{text}"
        );
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn template_and_sysctls_of_the_device() {
    let devices = json!({"v0": {"name": "net%d"}, "peer": {"name": "net%d"}});
    let Some(mut bundle) = container(&devices, "ip link; cat /proc/sys/net/ipv4/conf/net1/rp_filter") else { return };
    bundle.set("/linux/sysctl", json!({"net.ipv4.conf.net1.rp_filter": "2"}));
    let text = in_namespace(&bundle, &format!("{PAIR}\neval \"$TARE run $ID\"")).good();
    assert!(text.contains(" net0@net1") && text.contains(" net1@net0") && text.ends_with("2\n"), "{text}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn joined_namespace_with_a_taken_index_and_a_taken_name() {
    let Some(mut bundle) = container(&json!({"v0": {}}), "ip -o link") else { return };
    bundle.without_namespace("network");
    bundle.set("/linux/namespaces/-", json!({"type": "network", "path": bundle.file("net")}));
    // Its devices have the indices 2 and 3 as well.
    let other = "touch net; unshare --net=net ip link add taken type veth peer name v0; trap 'umount net' EXIT";
    let line = format!("{PAIR}\n{other}\n! eval \"$TARE run $ID\" 2>error; ip -o link show v0; cat error");
    let text = in_namespace(&bundle, &line).good();
    let error = "linux.netDevices[\"v0\"].name: the container has a network device \"v0\" already; choose another name, or \
                 one with %d: \"v%d\"";
    assert!(text.trim_end().ends_with(error), "{text}");
    bundle.set("/linux/netDevices", json!({"v0": {"name": "v%d"}}));
    let text = in_namespace(&bundle, &format!("{PAIR}\n{other}\neval \"$TARE run $ID\"; ip -o link")).good();
    // The kernel counts on when it moves and when it renames.
    assert!(text.contains("taken@") && (text.contains(" v1@v0") || text.contains(" v2@v0")), "{text}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn nothing_is_moved_when_one_is_missing() {
    let Some(bundle) = container(&json!({"v0": {"name": "net0"}, "v9": {}}), "true") else { return };
    let line =
        format!("{PAIR}\n! eval \"$TARE run $ID\" 2>error; ip -o addr show v0; cat error; eval \"$TARE list -q\"");
    let text = in_namespace(&bundle, &line).good();
    assert!(text.contains("192.0.2.8/24") && text.contains("10.9.9.9"), "{text}");
    let error = "linux.netDevices[\"v9\"]: there is no such network device where tare runs; `ip link` lists them";
    assert!(text.trim_end().ends_with(error), "{text}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn everything_comes_back_when_a_hook_fails() {
    let Some(mut bundle) = container(&json!({"v0": {"name": "net0"}}), "true") else { return };
    bundle.set("/hooks", json!({"createRuntime": [{"path": "/bin/false"}]}));
    for up in ["up", "down"] {
        let line = format!(
            "{PAIR}\nip link set v0 {up}; ip link set peer up
            before=$(ip link show v0 | grep -o '[<,]UP[,>]' || true)
            ! eval \"$TARE run $ID\" 2>error; ip -o addr show v0
            [ \"$before\" = \"$(ip link show v0 | grep -o '[<,]UP[,>]' || true)\" ]; ip link show v0; cat error"
        );
        let text = in_namespace(&bundle, &line).good();
        for part in
            ["192.0.2.7/24 brd 192.0.2.255", "192.0.2.8/24", "2001:db8::7/64", "mtu 1400", "hooks.createRuntime[0]"]
        {
            assert!(text.contains(part), "{up}: {part}: {text}");
        }
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_device_that_cannot_be_moved_is_explained() {
    let Some(bundle) = container(&json!({"lo": {"name": "lo1"}, "v0": {}}), "true") else { return };
    let text =
        in_namespace(&bundle, &format!("{PAIR}\n! eval \"$TARE run $ID\" 2>error; ip -o link show v0; cat error"))
            .good();
    let error = "linux.netDevices[\"lo\"]: move the network device into the container: invalid argument; devices of this type cannot be moved between network namespaces";
    assert!(text.trim_end().ends_with(error), "{text}");
}
