//! Values of cgroup v1, which the spec speaks, as values of cgroup v2. World: plan.

/// CPU shares (2 to 262144, usual 1024) as cpu.weight (1 to 10000, usual 100).
///
/// The curve that runc (since 1.3.2), crun and youki share: a parabola in log2 of the shares
/// through the two ends and the usual values. Source: opencontainers/cgroups pull request 20.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000 by construction")]
pub fn weight_from_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    let log = f64::from(u32::try_from(shares.min(262_144)).unwrap_or(262_144)).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // The usual value must not be rounded up by the last bit of a libm.
    let weight = (10_f64.powf(exponent) - 1e-9).ceil();
    weight.clamp(1.0, 10_000.0) as u64
}

/// blkio weight (10 to 1000) as io.weight (1 to 10000): linear, as runc and crun have it.
pub fn io_weight(weight: u16) -> u32 {
    1 + u32::from(weight.saturating_sub(10)) * 9999 / 990
}

/// `max` for the -1 that means no limit.
pub fn or_max(value: i64) -> String {
    if value == -1 { "max".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_usual_values_of_weights() {
        let weights = [0, 1, 2, 3, 512, 1024, 1025, 2048, 262_143, 262_144, u64::MAX].map(weight_from_shares);
        assert_eq!(weights, [1, 1, 1, 2, 59, 100, 101, 174, 10_000, 10_000, 10_000]);
        assert_eq!([10, 100, 500, 1000].map(io_weight), [1, 910, 4950, 10_000]);
    }
}
