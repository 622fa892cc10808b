//! A filter that comes ready-made: the annotation run.oci.seccomp_bpf_data, which crun introduced. World: plan.
//!
//! It takes the place of the whole profile; the kernel checks the instructions.

use oci_spec::runtime::LinuxSeccomp;
use seccompiler::sock_filter;

use super::plan::{SeccompPlan, flags};
use crate::error::{Code, Error, Result};

/// Its JSON path.
const AT: &str = "annotations[\"run.oci.seccomp_bpf_data\"]";

/// The most instructions that a filter can have. Source: BPF_MAXINSNS of linux/bpf_common.h.
const MOST: usize = 4096;

/// The filter in `data`, base64 of the kernel's `struct sock_filter`s, with the flags of the profile.
///
/// # Errors
/// It is not base64, not a number of whole instructions, or too long.
pub fn plan_raw(data: &str, profile: Option<&LinuxSeccomp>) -> Result<SeccompPlan> {
    let bytes =
        decode(data.trim_end()).ok_or_else(|| Error::refused(Code::SeccompFilterInvalid, AT, "is not base64"))?;
    let (instructions, rest) = bytes.as_chunks::<8>();
    if instructions.is_empty() || !rest.is_empty() || instructions.len() > MOST {
        let what = format!("{} bytes are not a filter: it has 1 to {MOST} instructions of 8 bytes", bytes.len());
        return Err(Error::refused(Code::SeccompFilterInvalid, AT, what));
    }
    let instruction = |[a, b, jt, jf, k @ ..]: &[u8; 8]| sock_filter {
        code: u16::from_ne_bytes([*a, *b]),
        jt: *jt,
        jf: *jf,
        k: u32::from_ne_bytes(*k),
    };
    let program = instructions.iter().map(instruction).collect();
    let flags = flags(profile, false);
    let (notify, refuses_execve, mark) = (None, None, None);
    Ok(SeccompPlan { at: AT, program, flags, notify, empty: false, refuses_execve, mutes: true, mark })
}

/// Source: RFC 4648, section 4.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob")] {
            assert_eq!(decode(text).unwrap(), bytes.as_bytes(), "{text}");
        }
        assert_eq!(decode("+/+/").unwrap(), [0xfb, 0xff, 0xbf]);
        for text in ["Z", "Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Z g=", "Zm9-", "Zm9\u{fc}"] {
            assert!(decode(text).is_none(), "{text}");
        }
    }

    #[test]
    fn instructions() {
        let plan = plan_raw("BgAAAAAA/38=", None).unwrap();
        let [only] = plan.program.as_slice() else { panic!() };
        assert_eq!((only.code, only.jt, only.jf, only.k), (6, 0, 0, 0x7fff_0000));
        assert!(!plan.empty);
        for (data, why) in [
            ("not base64", "is not base64"),
            ("", "0 bytes are not a filter: it has 1 to 4096 instructions of 8 bytes"),
            ("Zm9v", "3 bytes are not a filter: it has 1 to 4096 instructions of 8 bytes"),
        ] {
            assert_eq!(plan_raw(data, None).unwrap_err().to_string(), format!("{AT}: {why}"));
        }
        assert!(plan_raw(&"AAAAAAAAAAAA".repeat(4098), None).is_err());
    }
}
