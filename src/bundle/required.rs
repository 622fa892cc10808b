//! What the spec requires and the model of config.json has a default for. World: plan.

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use serde_json::Value;

use crate::error::{Code, Error, Result};

/// The numbers of device nodes: without them a node would be 0:0, which is no device. The text is read again only where
/// the model has a 0.
///
/// # Errors
/// `linux.devices[i].major` or `.minor` is missing, of a type other than FIFO (config-linux.md, "Devices").
pub(super) fn device_numbers(spec: &Spec, bytes: &[u8]) -> Result<()> {
    let devices = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let doubtful =
        |device: &LinuxDevice| device.typ() != LinuxDeviceType::P && (device.major() == 0 || device.minor() == 0);
    if !devices.iter().any(doubtful) {
        return Ok(());
    }
    let config: Value = serde_json::from_slice(bytes).unwrap_or_default();
    for (number, _) in devices.iter().enumerate().filter(|(_, device)| doubtful(device)) {
        for key in ["major", "minor"] {
            if config.pointer(&format!("/linux/devices/{number}/{key}")).is_none_or(Value::is_null) {
                let what = format!("a device of this type needs its {key} number");
                return Err(Error::new(Code::ConfigKeyMissing, what).at(format!("linux.devices[{number}].{key}")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse_spec;

    fn parsed(device: &str) -> Result<(), String> {
        let json = format!(
            r#"{{"ociVersion":"1.2.0","linux":{{"devices":[{{"path":"/dev/null","type":"c","major":1,"minor":3}},{device}]}}}}"#
        );
        parse_spec(json.as_bytes()).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_of_devices_are_required() {
        for (device, at) in [
            (r#"{"path":"/dev/x","type":"c"}"#, "major"),
            (r#"{"path":"/dev/x","type":"b","minor":1}"#, "major"),
            (r#"{"path":"/dev/x","type":"u","major":5}"#, "minor"),
            (r#"{"path":"/dev/x","type":"c","major":null,"minor":1}"#, "major"),
        ] {
            let text = format!("linux.devices[1].{at}: a device of this type needs its {at} number");
            assert_eq!(parsed(device).unwrap_err(), text);
        }
        for device in [r#"{"path":"/dev/x","type":"p"}"#, r#"{"path":"/dev/tty","type":"c","major":5,"minor":0}"#] {
            parsed(device).unwrap();
        }
    }
}
