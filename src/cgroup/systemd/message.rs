//! Messages of D-Bus: method calls out; replies, errors and signals in. World: plan; nothing here asks the kernel.
//!
//! Promise: a length is believed only up to [`MESSAGE_MAX`], before anything is allocated for it.
//! Source: D-Bus specification, "Message Format".

use super::value::{Malformed, Reader, Value, Writer, signature_of};

/// Bytes of a message at the most: a hundred times what systemd sends; the specification allows 128 MiB.
pub const MESSAGE_MAX: usize = 4 << 20;
/// The part whose length does not depend on anything, with the length of the fields behind it.
const FIXED: usize = 16;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Of the other side to us; answered by nobody.
    Call,
    /// The answer to a call.
    Return,
    /// The failure of a call.
    Error,
    /// A signal.
    Signal,
    /// Of a future version, to be ignored.
    Other,
}

/// A method call.
#[derive(Debug)]
pub struct Call<'a> {
    /// Who is called; between two peers without a bus the name is not needed, but does no harm.
    pub destination: &'a str,
    /// The object.
    pub path: &'a str,
    /// The method's interface.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// Its arguments.
    pub body: &'a [Value],
}

impl Call<'_> {
    /// The message as bytes.
    #[must_use]
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.body.iter().for_each(|value| body.value(value));
        let field = |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
        let mut fields = vec![
            field(1, Value::Path(self.path.to_owned())),
            field(2, Value::text(self.interface)),
            field(3, Value::text(self.member)),
            field(6, Value::text(self.destination)),
        ];
        if !self.body.is_empty() {
            fields.push(field(8, Value::Signature(signature_of(self.body))));
        }
        let mut message = Writer::default();
        // Little endian, method call, no flags, version 1.
        message.bytes.extend([b'l', 1, 0, 1]);
        message.length(body.bytes.len());
        message.value(&Value::U32(serial));
        message.value(&Value::array("(yv)", fields));
        message.align(8);
        message.bytes.extend(body.bytes);
        message.bytes
    }
}

/// A message that came in.
#[derive(Debug)]
pub struct Message {
    /// What it is.
    pub kind: MessageKind,
    /// The serial of the call that it answers.
    pub reply_to: Option<u32>,
    /// The interface of a signal.
    pub interface: Option<String>,
    /// The name of a signal.
    pub member: Option<String>,
    /// The name of an error.
    pub error: Option<String>,
    signature: String,
    body: Vec<u8>,
    little_endian: bool,
}

/// The bytes of the message that begins with `bytes`; `None` when too few are here to tell.
///
/// # Errors
/// It is no message, or a longer one than [`MESSAGE_MAX`].
pub fn total_length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(fixed) = bytes.get(..FIXED) else { return Ok(None) };
    let mut reader = Reader::new(fixed, is_little_endian(fixed)?);
    let (_, body, _, fields) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
    let length = |number: u32| usize::try_from(number).ok().filter(|length| *length <= MESSAGE_MAX);
    let (Some(body), Some(fields)) = (length(body), length(fields)) else {
        return Err("a message that is too long");
    };
    Ok(Some((FIXED + fields).next_multiple_of(8) + body))
}

fn is_little_endian(bytes: &[u8]) -> Result<bool, Malformed> {
    match bytes.first() {
        Some(b'l') => Ok(true),
        Some(b'B') => Ok(false),
        _ => Err("neither endianness"),
    }
}

impl Message {
    /// Reads one message, of exactly the length that [`total_length`] gives.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let little_endian = is_little_endian(bytes)?;
        if total_length(bytes)? != Some(bytes.len()) {
            return Err("a message of another length than it says");
        }
        let mut reader = Reader::new(bytes, little_endian);
        let head = reader.values("yyyyuu")?;
        let [_, Value::Byte(kind), _, Value::Byte(version), Value::U32(body), Value::U32(_)] = head.as_slice() else {
            return Err("a head that is none");
        };
        if *version != 1 {
            return Err("a version of the protocol that does not exist");
        }
        let kind = match kind {
            0 => return Err("a message of no kind"),
            1 => MessageKind::Call,
            2 => MessageKind::Return,
            3 => MessageKind::Error,
            4 => MessageKind::Signal,
            _ => MessageKind::Other,
        };
        let fields = reader.values("a(yv)")?;
        reader.align(8)?;
        let start = bytes.len().saturating_sub(usize::try_from(*body).map_err(|_| "a message that is too long")?);
        let body = bytes.get(start..).unwrap_or_default().to_vec();
        let mut message = Self {
            kind,
            reply_to: None,
            interface: None,
            member: None,
            error: None,
            signature: String::new(),
            body,
            little_endian,
        };
        fields.into_iter().try_for_each(|fields| message.take_fields(fields))?;
        Ok(message)
    }

    /// Known fields must have their type; unknown ones are ignored, as the specification wants.
    fn take_fields(&mut self, fields: Value) -> Result<(), Malformed> {
        let Value::Array(_, fields) = fields else { return Err("a head that is none") };
        for field in fields {
            let Value::Struct(pair) = field else { return Err("a head that is none") };
            let Ok([Value::Byte(code), Value::Variant(value)]) = <[Value; 2]>::try_from(pair) else {
                return Err("a head that is none");
            };
            match (code, *value) {
                (2, Value::Text(text)) => self.interface = Some(text),
                (3, Value::Text(text)) => self.member = Some(text),
                (4, Value::Text(text)) => self.error = Some(text),
                (5, Value::U32(serial)) => self.reply_to = Some(serial),
                (8, Value::Signature(text)) => self.signature = text,
                (2..=5 | 8, _) => return Err("a field of the wrong type"),
                _ => {}
            }
        }
        Ok(())
    }

    /// The arguments.
    ///
    /// # Errors
    /// The body is not what its signature says.
    pub fn arguments(&self) -> Result<Vec<Value>, Malformed> {
        let mut reader = Reader::new(&self.body, self.little_endian);
        let values = reader.values(&self.signature)?;
        if reader.is_at_end() { Ok(values) } else { Err("a body that is longer than its signature") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(body: &[Value]) -> Vec<u8> {
        Call { destination: "a.b", path: "/c", interface: "d.e", member: "F", body }.encode(7)
    }

    #[test]
    fn a_call_is_what_the_specification_says() {
        let bytes = call(&[Value::text("x")]);
        assert_eq!(total_length(&bytes), Ok(Some(bytes.len())));
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_deref()), (MessageKind::Call, Some("F")));
        assert_eq!(message.arguments().unwrap(), [Value::text("x")]);
        assert_eq!(&bytes[..8], b"l\x01\0\x01\x06\0\0\0");
        assert!(call(&[]).len() < bytes.len());
    }

    #[test]
    fn a_reply_of_the_other_endianness() {
        let head = b"B\x02\x01\x01\0\0\0\x04\0\0\0\x09\0\0\0\x0f\x05\x01u\0\0\0\0\x07\x08\x01g\0\x01u\0\0\0\0\0\x2a";
        let message = Message::decode(head).unwrap();
        assert_eq!((message.kind, message.reply_to), (MessageKind::Return, Some(7)));
        assert_eq!(message.arguments().unwrap(), [Value::U32(42)]);
    }

    #[test]
    fn lengths_are_not_believed() {
        let mut bytes = call(&[]);
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(total_length(&bytes), Err("a message that is too long"));
        bytes[0] = b'x';
        assert_eq!(total_length(&bytes), Err("neither endianness"));
        assert_eq!(total_length(&bytes[..15]), Ok(None));
    }

    proptest! {
        #[test]
        fn a_damaged_message_is_read_or_refused(at: prop::sample::Index, flip in 1_u8.., cut: prop::sample::Index) {
            let mut bytes = call(&[Value::text("x"), Value::array("s", vec![Value::text("y")])]);
            let length = bytes.len();
            bytes[at.index(length)] ^= flip;
            let _decoded = Message::decode(&bytes).map(|message| message.arguments());
            let cut = cut.index(length);
            prop_assert!(Message::decode(&bytes[..cut]).is_err());
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _decoded = total_length(&bytes);
            let _decoded = Message::decode(&bytes).map(|message| message.arguments());
        }
    }
}
