//! `linux.resources.blockIO`. World: plan. A weight of 0 means "not set"; a rate of 0 lifts the limit, as on v1.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::Write;
use super::convert::io_weight;
use crate::error::{Code, Error, Result};

pub fn plan(block_io: &LinuxBlockIo, at: &str, writes: &mut Vec<Write>) -> Result<()> {
    refuse_leaf_weight(block_io.leaf_weight(), at)?;
    if let Some(weight) = check_weight(block_io.weight(), at)? {
        let write = Write::new(format!("{at}.weight"), "io.bfq.weight", weight);
        writes.push(write.or("io.weight", io_weight(weight)));
    }
    for (i, device) in block_io.weight_device().iter().flatten().enumerate() {
        let at = format!("{at}.weightDevice[{i}]");
        refuse_leaf_weight(device.leaf_weight(), &at)?;
        if let Some(weight) = check_weight(device.weight(), &at)? {
            let device = numbers(device.major(), device.minor(), &at)?;
            let write = Write::new(format!("{at}.weight"), "io.bfq.weight", format!("{device} {weight}"));
            writes.push(write.or("io.weight", format!("{device} {}", io_weight(weight))));
        }
    }
    let throttles = [
        ("throttleReadBpsDevice", "rbps", block_io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", "wbps", block_io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", "riops", block_io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", "wiops", block_io.throttle_write_iops_device()),
    ];
    for (name, key, devices) in throttles {
        for (i, device) in devices.iter().flatten().enumerate() {
            writes.push(throttle(device, key, format!("{at}.{name}[{i}]"))?);
        }
    }
    Ok(())
}

fn throttle(device: &LinuxThrottleDevice, key: &str, at: String) -> Result<Write> {
    let numbers = numbers(device.major(), device.minor(), &at)?;
    let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
    Ok(Write::new(at, "io.max", format!("{numbers} {key}={rate}")))
}

fn numbers(major: i64, minor: i64, at: &str) -> Result<String> {
    if major < 0 || minor < 0 {
        return Err(Error::refused(Code::CgroupLimitInvalid, at, format!("{major}:{minor} is not a device number")));
    }
    Ok(format!("{major}:{minor}"))
}

fn check_weight(weight: Option<u16>, at: &str) -> Result<Option<u16>> {
    match weight {
        None | Some(0) => Ok(None),
        Some(10..=1000) => Ok(weight),
        Some(other) => Err(Error::refused(
            Code::CgroupLimitInvalid,
            format!("{at}.weight"),
            format!("{other} is not between 10 and 1000"),
        )),
    }
}

fn refuse_leaf_weight(weight: Option<u16>, at: &str) -> Result<()> {
    match weight {
        None | Some(0) => Ok(()),
        Some(_) => Err(Error::refused(
            Code::CgroupLimitUnsupported,
            format!("{at}.leafWeight"),
            "cgroup v2 has no weight for leaves",
        )),
    }
}
