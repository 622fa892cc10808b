//! Values of D-Bus and their bytes. World: plan; nothing here asks the kernel.
//!
//! Promise: whatever bytes come in, decoding ends with values or with words about what is wrong: lengths are checked
//! before they are believed, depth is bounded, padding is zero, strings are UTF-8 and end where they say.
//! Source: D-Bus specification, "Type System" and "Marshaling (Wire Format)".

/// Containers in containers at the most; the specification allows 64.
const DEPTH: usize = 32;
/// Bytes of a signature at the most.
const SIGNATURE_MAX: usize = 255;

/// What is wrong with bytes or with a signature.
pub type Malformed = &'static str;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`, and `h`, an index of a descriptor.
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`, as its bits.
    Double(u64),
    /// `s`
    Text(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `v`
    Variant(Box<Value>),
    /// `a`, with the signature of its elements, which may be none.
    Array(String, Vec<Value>),
    /// `(...)`, and `{..}`, an entry of a dictionary.
    Struct(Vec<Value>),
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// An array of elements of one type.
    pub fn array(element: &str, items: Vec<Self>) -> Self {
        Self::Array(element.to_owned(), items)
    }

    /// Appends its signature.
    pub fn signature(&self, signature: &mut String) {
        let letter = match self {
            Self::Byte(_) => 'y',
            Self::Bool(_) => 'b',
            Self::I16(_) => 'n',
            Self::U16(_) => 'q',
            Self::I32(_) => 'i',
            Self::U32(_) => 'u',
            Self::I64(_) => 'x',
            Self::U64(_) => 't',
            Self::Double(_) => 'd',
            Self::Text(_) => 's',
            Self::Path(_) => 'o',
            Self::Signature(_) => 'g',
            Self::Variant(_) => 'v',
            Self::Array(element, _) => {
                signature.push('a');
                signature.push_str(element);
                return;
            }
            Self::Struct(fields) => {
                signature.push('(');
                fields.iter().for_each(|field| field.signature(signature));
                ')'
            }
        };
        signature.push(letter);
    }
}

/// The signature of values in a row.
#[must_use]
pub fn signature_of(values: &[Value]) -> String {
    let mut signature = String::new();
    values.iter().for_each(|value| value.signature(&mut signature));
    signature
}

/// Bytes that a value of this type begins at a multiple of.
fn alignment(letter: u8) -> usize {
    match letter {
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 1,
    }
}

/// Values as bytes, little endian; offsets count from the beginning of the message.
#[derive(Debug, Default)]
pub struct Writer {
    /// What has been written.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// Zeros up to a multiple of `to`.
    pub fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.bytes.extend(bytes);
    }

    /// A length or another `u`. What is longer than its number holds does not leave this process: the kernel and
    /// the bus both refuse messages of a fraction of that.
    pub fn length(&mut self, length: usize) {
        self.number(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.length(text.len());
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn short_string(&mut self, text: &str) {
        self.bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    /// One value.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(number) => self.bytes.push(*number),
            Value::Bool(yes) => self.number(u32::from(*yes).to_le_bytes()),
            Value::I16(number) => self.number(number.to_le_bytes()),
            Value::U16(number) => self.number(number.to_le_bytes()),
            Value::I32(number) => self.number(number.to_le_bytes()),
            Value::U32(number) => self.number(number.to_le_bytes()),
            Value::I64(number) => self.number(number.to_le_bytes()),
            Value::U64(number) | Value::Double(number) => self.number(number.to_le_bytes()),
            Value::Text(text) | Value::Path(text) => self.string(text),
            Value::Signature(text) => self.short_string(text),
            Value::Variant(inner) => {
                self.short_string(&signature_of(std::slice::from_ref(inner)));
                self.value(inner);
            }
            Value::Array(element, items) => self.array(element, items),
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
        }
    }

    /// The length does not count the padding before the first element.
    fn array(&mut self, element: &str, items: &[Value]) {
        self.length(0);
        let at = self.bytes.len();
        self.align(element.bytes().next().map_or(1, alignment));
        let first = self.bytes.len();
        items.iter().for_each(|item| self.value(item));
        let length = u32::try_from(self.bytes.len() - first).unwrap_or(u32::MAX);
        if let Some(slot) = self.bytes.get_mut(at - 4..at) {
            slot.copy_from_slice(&length.to_le_bytes());
        }
    }
}

/// Bytes as values; offsets count from the beginning of the message or of its body, which is as good.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little_endian: bool,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning.
    #[must_use]
    pub fn new(bytes: &'a [u8], little_endian: bool) -> Self {
        Self { bytes, at: 0, little_endian }
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or("a length that no message has")?;
        let taken = self.bytes.get(self.at..end).ok_or("it is truncated")?;
        self.at = end;
        Ok(taken)
    }

    /// Skips zeros up to a multiple of `to`.
    ///
    /// # Errors
    /// Other bytes than zeros, or too few.
    pub fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let padding = self.take(self.at.next_multiple_of(to) - self.at)?;
        if padding.iter().all(|byte| *byte == 0) { Ok(()) } else { Err("padding that is not zero") }
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.align(N)?;
        let mut number: [u8; N] = self.take(N)?.try_into().map_err(|_| "it is truncated")?;
        if !self.little_endian {
            number.reverse();
        }
        Ok(number)
    }

    /// A length or another `u`.
    ///
    /// # Errors
    /// The bytes end before.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.number().map(u32::from_le_bytes)
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.u32()?).map_err(|_| "a length that no message has")
    }

    fn string(&mut self, length: usize) -> Result<String, Malformed> {
        let text = self.take(length)?;
        if self.take(1)? != [0] || text.contains(&0) {
            return Err("a string that does not end where it says");
        }
        std::str::from_utf8(text).map(str::to_owned).map_err(|_| "a string that is not UTF-8")
    }

    /// Values of a signature in a row.
    ///
    /// # Errors
    /// What is wrong with the bytes or the signature.
    pub fn values(&mut self, signature: &str) -> Result<Vec<Value>, Malformed> {
        if signature.len() > SIGNATURE_MAX {
            return Err("a signature that is too long");
        }
        self.row(signature.as_bytes(), DEPTH)
    }

    fn row(&mut self, mut signature: &[u8], depth: usize) -> Result<Vec<Value>, Malformed> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (first, rest) = split_first_type(signature)?;
            values.push(self.value(first, depth)?);
            signature = rest;
        }
        Ok(values)
    }

    /// A value of one complete type.
    fn value(&mut self, signature: &[u8], depth: usize) -> Result<Value, Malformed> {
        let (letter, inner) = signature.split_first().ok_or("an empty signature")?;
        match letter {
            b'y' => Ok(Value::Byte(u8::from_le_bytes(self.number()?))),
            b'b' => match self.u32()? {
                0 => Ok(Value::Bool(false)),
                1 => Ok(Value::Bool(true)),
                _ => Err("a boolean that is neither 0 nor 1"),
            },
            b'n' => Ok(Value::I16(i16::from_le_bytes(self.number()?))),
            b'q' => Ok(Value::U16(u16::from_le_bytes(self.number()?))),
            b'i' => Ok(Value::I32(i32::from_le_bytes(self.number()?))),
            b'u' | b'h' => Ok(Value::U32(self.u32()?)),
            b'x' => Ok(Value::I64(i64::from_le_bytes(self.number()?))),
            b't' => Ok(Value::U64(u64::from_le_bytes(self.number()?))),
            b'd' => Ok(Value::Double(u64::from_le_bytes(self.number()?))),
            b's' | b'o' => {
                let length = self.length()?;
                let text = self.string(length)?;
                Ok(if *letter == b's' { Value::Text(text) } else { Value::Path(text) })
            }
            b'g' => Ok(Value::Signature(self.signature()?)),
            b'v' | b'a' | b'(' | b'{' => {
                let depth = depth.checked_sub(1).ok_or("containers that are nested too deep")?;
                match letter {
                    b'v' => self.variant(depth),
                    b'a' => self.array(inner, depth),
                    _ => {
                        self.align(8)?;
                        let fields = inner.split_last().map_or(inner, |(_, fields)| fields);
                        Ok(Value::Struct(self.row(fields, depth)?))
                    }
                }
            }
            _ => Err("a type that does not exist"),
        }
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = usize::from(u8::from_le_bytes(self.number()?));
        self.string(length)
    }

    fn variant(&mut self, depth: usize) -> Result<Value, Malformed> {
        let signature = self.signature()?;
        let (first, rest) = split_first_type(signature.as_bytes())?;
        if !rest.is_empty() {
            return Err("a variant of more than one value");
        }
        Ok(Value::Variant(Box::new(self.value(first, depth)?)))
    }

    fn array(&mut self, element: &[u8], depth: usize) -> Result<Value, Malformed> {
        let length = self.length()?;
        self.align(element.first().copied().map_or(1, alignment))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or("it is truncated")?;
        let mut items = Vec::new();
        while self.at < end {
            items.push(self.value(element, depth)?);
        }
        if self.at != end {
            return Err("an array that does not end where it says");
        }
        Ok(Value::Array(String::from_utf8_lossy(element).into_owned(), items))
    }
}

/// The first complete type of a signature, and what follows it.
///
/// # Errors
/// The signature is empty, too deep, or no signature.
pub fn split_first_type(signature: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    signature.split_at_checked(type_length(signature, DEPTH)?).ok_or("an empty signature")
}

fn type_length(signature: &[u8], depth: usize) -> Result<usize, Malformed> {
    let (letter, rest) = signature.split_first().ok_or("an empty signature")?;
    let depth = depth.checked_sub(1).ok_or("containers that are nested too deep")?;
    match letter {
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h' => Ok(1),
        b'a' if rest.first() == Some(&b'{') => Ok(1 + closed(rest, b'}', depth)?),
        b'a' => Ok(1 + type_length(rest, depth)?),
        b'(' => closed(signature, b')', depth),
        _ => Err("a type that does not exist"),
    }
}

/// The length of types between brackets, the brackets included; an entry of a dictionary has two.
fn closed(signature: &[u8], bracket: u8, depth: usize) -> Result<usize, Malformed> {
    let (mut at, mut count) = (1, 0);
    while let Some(rest) = signature.get(at..) {
        if rest.first() == Some(&bracket) {
            let right = if bracket == b'}' { count == 2 } else { count > 0 };
            return if right { Ok(at + 1) } else { Err("brackets with the wrong number of types") };
        }
        at += type_length(rest, depth)?;
        count += 1;
    }
    Err("brackets that are not closed")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u8>().prop_map(Value::Byte),
            any::<bool>().prop_map(Value::Bool),
            any::<i16>().prop_map(Value::I16),
            any::<u16>().prop_map(Value::U16),
            any::<i32>().prop_map(Value::I32),
            any::<u32>().prop_map(Value::U32),
            any::<i64>().prop_map(Value::I64),
            any::<u64>().prop_map(Value::U64),
            any::<u64>().prop_map(Value::Double),
            "[^\\x00]{0,20}".prop_map(Value::Text),
            "/[a-z]{0,8}".prop_map(Value::Path),
            Just(Value::Signature("a{sv}".into())),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|value| Value::Variant(Box::new(value))),
                prop::collection::vec(inner.clone(), 1..4).prop_map(Value::Struct),
                (inner, 0_usize..4).prop_map(|(value, count)| {
                    Value::Array(signature_of(std::slice::from_ref(&value)), vec![value; count])
                }),
            ]
        })
    }

    fn big_endian(signature: &str, bytes: &[u8]) -> Result<Vec<Value>, Malformed> {
        Reader::new(bytes, false).values(signature)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in prop::collection::vec(values(), 0..4)) {
            let mut writer = Writer::default();
            values.iter().for_each(|value| writer.value(value));
            let mut reader = Reader::new(&writer.bytes, true);
            prop_assert_eq!(reader.values(&signature_of(&values)), Ok(values));
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200), signature in "[ybnqiuxtdsogvha(){}]{0,12}", little: bool,
        ) {
            if let Ok(values) = Reader::new(&bytes, little).values(&signature) {
                prop_assert_eq!(signature_of(&values).replace('h', "u").len(), signature.len());
            }
        }

        #[test]
        fn a_bit_more_or_less_is_no_panic(value in values(), at: prop::sample::Index, flip in 1_u8..) {
            let mut writer = Writer::default();
            writer.value(&value);
            let at = at.index(writer.bytes.len().max(1));
            if let Some(byte) = writer.bytes.get_mut(at) {
                *byte ^= flip;
            }
            let signature = signature_of(std::slice::from_ref(&value));
            let _any = Reader::new(&writer.bytes, true).values(&signature);
            let _cut = Reader::new(&writer.bytes[..at], true).values(&signature);
        }
    }

    #[test]
    fn bytes_are_those_of_the_specification() {
        let mut writer = Writer::default();
        writer.value(&Value::text("foo"));
        writer.value(&Value::array("t", vec![Value::U64(5)]));
        writer.value(&Value::Variant(Box::new(Value::Bool(true))));
        let expected = b"\x03\0\0\0foo\0\x08\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x01b\0\0\x01\0\0\0";
        assert_eq!(writer.bytes, expected);
        assert_eq!(big_endian("su", b"\0\0\0\x01a\0\0\0\0\0\0\x07").unwrap(), [Value::text("a"), Value::U32(7)]);
    }

    #[test]
    #[cfg_attr(not(target_pointer_width = "64"), ignore = "a length above isize::MAX has its own text")]
    fn malformed_bytes_are_named() {
        let read = |signature: &str, bytes: &[u8]| Reader::new(bytes, true).values(signature).unwrap_err();
        assert_eq!(read("u", b"\x01\0\0"), "it is truncated");
        assert_eq!(read("b", b"\x02\0\0\0"), "a boolean that is neither 0 nor 1");
        assert_eq!(read("s", b"\xff\xff\xff\xffx"), "it is truncated");
        assert_eq!(read("s", b"\x01\0\0\0xy"), "a string that does not end where it says");
        assert_eq!(read("s", b"\x01\0\0\0\xff\0"), "a string that is not UTF-8");
        assert_eq!(read("s", b"\x03\0\0\0a\0b\0"), "a string that does not end where it says");
        assert_eq!(read("yu", b"\x01\x01\0\0\x01\0\0\0"), "padding that is not zero");
        assert_eq!(read("au", b"\x05\0\0\0\x01\0\0\0\x01\0\0\0"), "an array that does not end where it says");
        assert_eq!(read("au", b"\xff\xff\xff\xff"), "it is truncated");
        assert_eq!(read("v", b"\x02uu\0\0\0\0\0"), "a variant of more than one value");
        assert_eq!(read("v", b"\0\0"), "an empty signature");
        assert_eq!(read("()", b""), "brackets with the wrong number of types");
        assert_eq!(read("a{s}", b"\0\0\0\0\0\0\0\0"), "brackets with the wrong number of types");
        assert_eq!(read("(u", b"\0\0\0\0"), "an empty signature");
        assert_eq!(read("{su}", b""), "a type that does not exist");
        assert_eq!(read("z", b""), "a type that does not exist");
        assert_eq!(read(&"a".repeat(100), b""), "containers that are nested too deep");
        let nested: Vec<u8> = b"\x01v\0".repeat(100);
        assert_eq!(read("v", &nested), "containers that are nested too deep");
    }
}
