//! GVariant's text for a value, as annotations hold it: `true`, `'text'`, `uint64 5`, `@as []`. World: plan.
//!
//! Source: GLib, "GVariant Text Format". Left out, with words: floating point numbers, dictionaries and maybes, since
//! no property of a unit that can be set has them.

use super::value::{Value, signature_of, split_first_type};

/// Values in values at the most.
const DEPTH: usize = 16;

/// Reads one value.
///
/// # Errors
/// What is wrong, in words for the author of the annotation.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text };
    let value = parser.value(None, DEPTH)?;
    match parser.skip_blanks() {
        "" => of_legal_length(value),
        rest => Err(format!("{:?} is left over", cut(rest))),
    }
}

/// A signature of more than 255 bytes cannot be sent. Source: D-Bus specification, "Valid Signatures".
fn of_legal_length(value: Value) -> Result<Value, String> {
    let length = signature_of(std::slice::from_ref(&value)).len();
    if length > 255 { Err(format!("its type is {length} letters long, 255 are the most")) } else { Ok(value) }
}

/// What is no path or no signature would have the bus close the connection. Source: D-Bus specification, "Valid Object
/// Paths".
fn is_path(text: &str) -> bool {
    let valid = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(valid))
}

fn is_signature(mut text: &[u8]) -> bool {
    let length = text.len();
    while let Ok((_, rest)) = split_first_type(text) {
        text = rest;
    }
    text.is_empty() && length <= 255
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The type that a keyword stands for.
fn keyword(word: &str) -> Option<&'static str> {
    Some(match word {
        "boolean" => "b",
        "byte" => "y",
        "int16" => "n",
        "uint16" => "q",
        "int32" => "i",
        "uint32" => "u",
        "handle" => "h",
        "int64" => "x",
        "uint64" => "t",
        "double" => "d",
        "string" => "s",
        "objectpath" => "o",
        "signature" => "g",
        _ => return None,
    })
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn skip_blanks(&mut self) -> &'t str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn take_if(&mut self, letter: char) -> bool {
        let rest = self.skip_blanks().strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Letters of a number or a word.
    fn word(&mut self) -> &'t str {
        let text = self.skip_blanks();
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c))).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        word
    }

    /// One value; of the type `wanted`, where the text before it has said which.
    fn value(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        let depth = depth.checked_sub(1).ok_or("it is nested too deep")?;
        let text = self.skip_blanks();
        match text.chars().next() {
            None => Err("it ends where a value is expected".to_owned()),
            Some('@') => {
                let (signature, rest) =
                    text[1..].split_at(text[1..].find(char::is_whitespace).unwrap_or(text.len() - 1));
                self.rest = rest;
                match split_first_type(signature.as_bytes()) {
                    Ok((_, [])) => self.typed(signature, wanted, depth),
                    _ => Err(format!("{:?} is not a type", cut(signature))),
                }
            }
            Some('\'' | '"') => {
                let text = self.string()?;
                match wanted.unwrap_or("s") {
                    "s" => Ok(Value::Text(text)),
                    "o" if is_path(&text) => Ok(Value::Path(text)),
                    "g" if is_signature(text.as_bytes()) => Ok(Value::Signature(text)),
                    "o" => Err(format!("{:?} is not an object path", cut(&text))),
                    "g" => Err(format!("{:?} is not a signature", cut(&text))),
                    other => Err(format!("a string is not of type {other:?}")),
                }
            }
            Some('[') => self.array(wanted, depth),
            Some('(') => self.tuple(wanted, depth),
            Some('<') => {
                self.take_if('<');
                let inner = of_legal_length(self.value(None, depth)?)?;
                if !self.take_if('>') {
                    return Err("'>' is missing".to_owned());
                }
                check(Value::Variant(Box::new(inner)), wanted)
            }
            Some('{') => Err("dictionaries are not supported".to_owned()),
            Some(_) => self.plain(wanted, depth),
        }
    }

    /// A value with its type in front, which must be the one that its place has.
    fn typed(&mut self, signature: &str, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        match wanted {
            _ if signature.contains('h') => Err("a file descriptor is not a value of a property".to_owned()),
            Some(wanted) if wanted != signature => Err(of_other_type(signature, wanted)),
            _ => self.value(Some(signature), depth),
        }
    }

    fn plain(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        let before = self.rest;
        let word = self.word();
        if let Some(signature) = keyword(word) {
            return self.typed(signature, wanted, depth);
        }
        match word {
            "true" => check(Value::Bool(true), wanted),
            "false" => check(Value::Bool(false), wanted),
            _ if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => number(word, wanted),
            _ => Err(format!("{:?} is not a value", cut(before))),
        }
    }

    fn array(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        let mut element = match wanted {
            None => None,
            Some(signature) => match signature.strip_prefix('a') {
                Some(element) => Some(element.to_owned()),
                None => return Err(format!("an array is not of type {signature:?}")),
            },
        };
        let items = self.list('[', ']', |parser, _| {
            let item = parser.value(element.as_deref(), depth)?;
            // The first element says what the others are.
            element.get_or_insert_with(|| signature_of(std::slice::from_ref(&item)));
            Ok(item)
        })?;
        let element = element.ok_or("the type of an empty array is unknown; write for example \"@as []\"")?;
        Ok(Value::Array(element, items))
    }

    fn tuple(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        let mut types = Vec::new();
        let mut rest = wanted.and_then(|wanted| wanted.strip_prefix('(')?.strip_suffix(')')).unwrap_or_default();
        while let Ok((first, _)) = split_first_type(rest.as_bytes()) {
            let (first, after) = rest.split_at(first.len());
            types.push(first);
            rest = after;
        }
        let fields = self.list('(', ')', |parser, at| parser.value(types.get(at).copied(), depth))?;
        if fields.is_empty() {
            return Err("an empty tuple is not a value of D-Bus".to_owned());
        }
        check(Value::Struct(fields), wanted)
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self, usize) -> Result<Value, String>,
    ) -> Result<Vec<Value>, String> {
        self.take_if(open);
        let mut items = Vec::new();
        while !self.take_if(close) {
            if !items.is_empty() && !self.take_if(',') {
                return Err(format!("{:?} or ',' is missing", close));
            }
            // A comma may stand before the end, as in a tuple of one.
            if !items.is_empty() && self.take_if(close) {
                break;
            }
            items.push(item(self, items.len())?);
        }
        Ok(items)
    }

    fn string(&mut self) -> Result<String, String> {
        let mut letters = self.rest.chars();
        let quote = letters.next();
        let mut text = String::new();
        loop {
            match letters.next() {
                None => return Err("a string does not end".to_owned()),
                letter if letter == quote => break,
                Some('\0') => return Err("a string with a NUL".to_owned()),
                Some('\\') => text.push(escaped(&mut letters)?),
                Some(letter) => text.push(letter),
            }
        }
        self.rest = letters.as_str();
        Ok(text)
    }
}

fn escaped(letters: &mut std::str::Chars<'_>) -> Result<char, String> {
    let letter = letters.next().ok_or("a string does not end")?;
    let digits = match letter {
        'a' => return Ok('\u{7}'),
        'b' => return Ok('\u{8}'),
        'f' => return Ok('\u{c}'),
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        'v' => return Ok('\u{b}'),
        'u' => 4,
        'U' => 8,
        '\0' => return Err("a string with a NUL".to_owned()),
        other => return Ok(other),
    };
    let code: String = letters.by_ref().take(digits).collect();
    let character = u32::from_str_radix(&code, 16).ok().filter(|_| code.len() == digits).and_then(char::from_u32);
    character.filter(|character| *character != '\0').ok_or_else(|| format!("\\{letter}{code} is no character"))
}

fn number(word: &str, wanted: Option<&str>) -> Result<Value, String> {
    let wanted = wanted.unwrap_or("i");
    if word.contains('.') || wanted == "d" {
        return Err(format!("{word} is a floating point number, which no property has"));
    }
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let parsed = match digits.strip_prefix("0x") {
        Some(hexadecimal) => i128::from_str_radix(hexadecimal, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i128::from_str_radix(digits, 8),
        None => digits.parse(),
    };
    let plain_digits = digits.starts_with(|c: char| c.is_ascii_digit());
    let number = parsed.ok().filter(|_| plain_digits).ok_or_else(|| format!("{word:?} is not a number"))?;
    let number = sign * number;
    let value = match wanted {
        "y" => u8::try_from(number).ok().map(Value::Byte),
        "n" => i16::try_from(number).ok().map(Value::I16),
        "q" => u16::try_from(number).ok().map(Value::U16),
        "i" => i32::try_from(number).ok().map(Value::I32),
        "u" => u32::try_from(number).ok().map(Value::U32),
        "x" => i64::try_from(number).ok().map(Value::I64),
        "t" => u64::try_from(number).ok().map(Value::U64),
        other => return Err(format!("{word} is not of type {other:?}")),
    };
    value.ok_or_else(|| out_of_range(word, number, wanted))
}

/// What can be written instead: another type where there is one that holds the number, else the numbers that there are.
fn out_of_range(word: &str, number: i128, wanted: &str) -> String {
    let (name, least, most) = match wanted {
        "y" => ("byte", 0, i128::from(u8::MAX)),
        "n" => ("int16", i128::from(i16::MIN), i128::from(i16::MAX)),
        "q" => ("uint16", 0, i128::from(u16::MAX)),
        "i" => ("int32", i128::from(i32::MIN), i128::from(i32::MAX)),
        "u" => ("uint32", 0, i128::from(u32::MAX)),
        "x" => ("int64", i128::from(i64::MIN), i128::from(i64::MAX)),
        _ => ("uint64", 0, i128::from(u64::MAX)),
    };
    let what = format!("{word} is not in the range of {name}, {least} to {most}");
    match wanted {
        // The type of a number without one.
        "i" if u64::try_from(number).is_ok() => format!("{what}; write for example \"uint64 {word}\""),
        "i" if i64::try_from(number).is_ok() => format!("{what}; write for example \"int64 {word}\""),
        "t" if number == -1 => format!("{what}; for infinity write \"uint64 {most}\""),
        _ => what,
    }
}

fn check(value: Value, wanted: Option<&str>) -> Result<Value, String> {
    let signature = signature_of(std::slice::from_ref(&value));
    match wanted {
        Some(wanted) if wanted != signature => Err(of_other_type(&signature, wanted)),
        _ => Ok(value),
    }
}

fn of_other_type(signature: &str, wanted: &str) -> String {
    format!("a value of type {:?} is not of type {:?}", cut(signature), cut(wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values() {
        let texts = |words: &[&str]| Value::array("s", words.iter().map(|word| Value::text(*word)).collect());
        for (text, value) in [
            ("true", Value::Bool(true)),
            (" false ", Value::Bool(false)),
            ("15", Value::I32(15)),
            ("-0x10", Value::I32(-16)),
            ("010", Value::I32(8)),
            ("uint64 10000000", Value::U64(10_000_000)),
            ("@t 5", Value::U64(5)),
            ("byte 0xff", Value::Byte(255)),
            ("int16 -5", Value::I16(-5)),
            ("'inactive-or-failed'", Value::text("inactive-or-failed")),
            (r#""a'\"\n\u00e4""#, Value::text("a'\"\nä")),
            ("objectpath '/a'", Value::Path("/a".into())),
            ("['a.service', 'b']", texts(&["a.service", "b"])),
            ("@as []", texts(&[])),
            ("[uint32 1, 2]", Value::array("u", vec![Value::U32(1), Value::U32(2)])),
            ("@a(st) [('/dev/x', 5)]", {
                Value::array("(st)", vec![Value::Struct(vec![Value::text("/dev/x"), Value::U64(5)])])
            }),
            ("(1,)", Value::Struct(vec![Value::I32(1)])),
            ("<true>", Value::Variant(Box::new(Value::Bool(true)))),
        ] {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_explained() {
        for (text, why) in [
            ("", "it ends where a value is expected"),
            ("yes", "\"yes\" is not a value"),
            (
                "5000000000",
                "5000000000 is not in the range of int32, -2147483648 to 2147483647; write for example \"uint64 5000000000\"",
            ),
            (
                "-5000000000",
                "-5000000000 is not in the range of int32, -2147483648 to 2147483647; write for example \"int64 -5000000000\"",
            ),
            (
                "uint64 -1",
                "-1 is not in the range of uint64, 0 to 18446744073709551615; for infinity write \"uint64 18446744073709551615\"",
            ),
            (
                "uint64 18446744073709551616",
                "18446744073709551616 is not in the range of uint64, 0 to 18446744073709551615",
            ),
            ("byte 256", "256 is not in the range of byte, 0 to 255"),
            (
                "int64 9223372036854775808",
                "9223372036854775808 is not in the range of int64, -9223372036854775808 to 9223372036854775807",
            ),
            ("1.5", "1.5 is a floating point number, which no property has"),
            ("12x", "\"12x\" is not a number"),
            ("--1", "\"--1\" is not a number"),
            ("'abc", "a string does not end"),
            ("[]", "the type of an empty array is unknown; write for example \"@as []\""),
            ("[1, 'a']", "a string is not of type \"i\""),
            ("[[1], @ay []]", "a value of type \"ay\" is not of type \"ai\""),
            ("[1, uint32 2]", "a value of type \"u\" is not of type \"i\""),
            ("@(ss) ('a', 5)", "5 is not of type \"s\""),
            ("@as [objectpath '/a']", "a value of type \"o\" is not of type \"s\""),
            ("handle 1", "a file descriptor is not a value of a property"),
            ("@ah [1]", "a file descriptor is not a value of a property"),
            ("[1 2]", "']' or ',' is missing"),
            ("true false", "\"false\" is left over"),
            ("@z 1", "\"z\" is not a type"),
            ("@b 1", "1 is not of type \"b\""),
            ("{'a': 1}", "dictionaries are not supported"),
            ("<1", "'>' is missing"),
            ("()", "an empty tuple is not a value of D-Bus"),
            (r"'\u12'", "\\u12' is no character"),
            ("'a\\\0'", "a string with a NUL"),
            ("@o 'x'", "\"x\" is not an object path"),
            ("objectpath '/a//b'", "\"/a//b\" is not an object path"),
            ("@g '(i'", "\"(i\" is not a signature"),
        ] {
            assert_eq!(parse(text).unwrap_err(), why, "{text}");
        }
        assert_eq!(parse(&"[".repeat(1000)).unwrap_err(), "it is nested too deep");
        let long = format!("({})", "1,".repeat(300));
        assert_eq!(parse(&long).unwrap_err(), "its type is 302 letters long, 255 are the most");
        assert_eq!(parse(&format!("[<{long}>]")).unwrap_err(), "its type is 302 letters long, 255 are the most");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[@a-z0-9 '\"\\\\\\[\\]()<>,.+-]{0,30}") {
            if let Ok(value) = parse(&text) {
                prop_assert!(!signature_of(&[value]).is_empty());
            }
        }
    }
}
