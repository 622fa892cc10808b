//! Finds keys that are not known, but nearly: `maskedPath`, `optoins`. World: plan.
//!
//! The specification requires unknown properties to be ignored (config.md, "Extensibility"), so one missing letter would
//! silently drop a mask. Other unknown keys are somebody's extension. The text has been parsed already, so that nothing is
//! checked again; one walk over it, without a tree of values, costs 1.5 us per KiB.

use super::known::Shape;
use crate::error::nearest;
use crate::json_path::{self, Segment};

/// Unknown keys that are compared with the known ones: a config may have a million.
const MOST: usize = 100;

/// An object or a list that the walk is in.
struct Level<'t> {
    shape: &'static Shape,
    /// In an object: the key of the present member.
    key: &'t [u8],
    /// In a list: the present position; `None` in an object.
    index: Option<usize>,
    /// A string would be a key.
    before_key: bool,
}

/// One line for each key of `text`, JSON of this shape, that is near a known one.
pub(super) fn misspelt(text: &[u8], shape: &'static Shape) -> Vec<String> {
    let (mut lines, mut left) = (Vec::new(), MOST);
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut next = shape;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                let length = json_path::string_length(&text[at..]);
                let word = text.get(at + 1..at + length - 1).unwrap_or_default();
                at += length;
                let Some(level) = levels.last_mut().filter(|level| level.before_key) else { continue };
                (level.key, level.before_key) = (word, false);
                let member = level.shape.member(word);
                next = member.unwrap_or(&Shape::Any);
                if member.is_none() && left > 0 {
                    left -= 1;
                    let known = known_for(word, level.shape);
                    lines.extend(known.map(|known| line(&levels, known)));
                }
                continue;
            }
            b'{' | b'[' => {
                let list = *byte == b'[';
                levels.push(Level { shape: next, key: &[], index: list.then_some(0), before_key: !list });
                next = if list { next.element() } else { &Shape::Any };
            }
            b'}' | b']' => drop(levels.pop()),
            b',' => match levels.last_mut() {
                Some(Level { index: Some(index), shape, .. }) => {
                    *index += 1;
                    next = shape.element();
                }
                Some(level) => level.before_key = true,
                None => {}
            },
            _ => {}
        }
        at += 1;
    }
    lines
}

/// The key that was probably meant. Go's decoder, and so runc, takes keys in any case.
fn known_for(word: &[u8], shape: &'static Shape) -> Option<&'static str> {
    let word = std::str::from_utf8(word).ok()?;
    let known = || shape.keys();
    known().find(|known| known.eq_ignore_ascii_case(word)).or_else(|| nearest(word, known()))
}

fn line(levels: &[Level<'_>], known: &str) -> String {
    let segment = |level: &Level<'_>| match level.index {
        Some(index) => Segment::Index(index),
        None => Segment::Key(String::from_utf8_lossy(level.key).into_owned()),
    };
    let path: Vec<_> = levels.iter().map(segment).collect();
    format!("{}: this key is not known and has no effect; did you mean {known:?}?", json_path::text(&path))
}

#[cfg(test)]
mod tests {
    use super::super::known;
    use super::misspelt;

    fn told(text: &str) -> Vec<String> {
        let lines = misspelt(text.as_bytes(), &known::CONFIG);
        let short = |line: &String| line.replace(": this key is not known and has no effect; did you mean ", " ");
        lines.iter().map(short).collect()
    }

    #[test]
    fn keys_that_are_nearly_known_are_named() {
        for (text, line) in [
            (r#"{"linux":{"maskedPath":[]}}"#, r#"linux.maskedPath "maskedPaths"?"#),
            (r#"{"mounts":[{"options":[]},{"optoins":["ro"]}]}"#, r#"mounts[1].optoins "options"?"#),
            (r#"{"linux":{"resources":{"memory":{"limitt":5}}}}"#, r#"linux.resources.memory.limitt "limit"?"#),
            (r#"{"linux":{"MaskedPaths":[]}}"#, r#"linux.MaskedPaths "maskedPaths"?"#),
            (r#"{"process":{"noNewPrivilege":true}}"#, r#"process.noNewPrivilege "noNewPrivileges"?"#),
            (r#"{"proces":{"anything":1}}"#, r#"proces "process"?"#),
            (r#"{ "root" : { "readOnly" : true } }"#, r#"root.readOnly "readonly"?"#),
            (
                r#"{"linux":{"seccomp":{"syscalls":[{"names":["a"],"args":[{"indx":0}]}]}}}"#,
                r#"linux.seccomp.syscalls[0].args[0].indx "index"?"#,
            ),
            (r#"{"linux":{"timeOffsets":{"monotonic":{"sec":1}}}}"#, r#"linux.timeOffsets.monotonic.sec "secs"?"#),
            (r#"{"linux":{"netDevices":{"eth0":{"nam":"x"}}}}"#, r#"linux.netDevices.eth0.nam "name"?"#),
            (r#"{"hooks":{"prestart":[{"path":"/x","timout":1}]}}"#, r#"hooks.prestart[0].timout "timeout"?"#),
            (r#"{"hooks":{"postStop":[]}}"#, r#"hooks.postStop "poststop"?"#),
            (r#"{"annotations":{"a\"{[":"}"},"hostnme":"x"}"#, r#"hostnme "hostname"?"#),
        ] {
            assert_eq!(told(text), [line], "{text}");
        }
    }

    #[test]
    fn other_keys_are_silent() {
        for text in [
            "{}",
            "[]",
            "5",
            r#"{"x-vendor":{"maskedPath":1},"extension":[{"optoins":1}]}"#,
            r#"{"annotations":{"maskedPath":"x","annotation":"y"}}"#,
            r#"{"linux":{"sysctl":{"net.ipv4.x":"1"},"resources":{"unified":{"memory.maxx":"1"},"rdma":{"mlx":{"hcaHandles":1}}}}}"#,
            r#"{"mounts":[{"destination":"optoins","options":["optoins"]}]}"#,
            r#"{"process":{"env":["argss=1"],"args":["cwdd"]},"windows":{"layers":1},"solaris":{}}"#,
        ] {
            assert_eq!(told(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_million_keys_are_not_compared() {
        let keys: Vec<_> = (0..100_000).map(|number| format!(r#""roo{number}":1"#)).collect();
        assert!(told(&format!("{{{}}}", keys.join(","))).len() <= super::MOST);
    }

    #[test]
    fn nothing_that_engines_write_is_misspelt() {
        for text in
            [include_str!("../../tests/data/docker-config.json"), include_str!("../../tests/data/runc-spec.json")]
        {
            assert_eq!(told(text), [""; 0]);
        }
    }
}
