//! Names and errors, and jobs of a systemd that is a thread here: it answers calls as systemd's own socket does.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::super::address::Socket;
use super::super::message::{Message, total_length};
use super::super::value::{Writer, signature_of};
use super::*;

#[test]
fn names_numbers_and_blame() {
    assert_eq!(label("tare-a.scope"), "tare_2da_2escope");
    assert_eq!(label("0x"), "_30x");
    assert_eq!(["257.9-1~deb13u1", "v252", "systemd 249", ""].map(leading_number), [257, 252, 249, 0]);
    let own = Property::new("TasksMax", Value::U64(1));
    let asked = Property { at: Some("annotations[\"x\"]".into()), ..Property::new("KillMode", Value::U64(1)) };
    let error = |text: &str| {
        blame(Error::new(Code::SystemdFailed, "x").detail(text), &[own.clone(), asked.clone()])
            .path()
            .map(str::to_owned)
    };
    assert_eq!(error("Cannot set property KillMode").as_deref(), Some("annotations[\"x\"]"));
    assert_eq!(error("Cannot set property TasksMax"), None);
}

const NAME: &str = "tare-a.scope";
const PATH: &str = "/org/freedesktop/systemd1/job/7";

/// What the systemd of a test does with one call.
enum Answer {
    Return(Value),
    Refuse(&'static str),
    /// A return, then the signal that [`PATH`] has ended.
    ReturnAndEnd(Value),
}

/// A call as it came in: the number of the conversation, from 0, and the method.
type Heard = (usize, String);

/// A message of systemd; 2 is a return, 3 an error, 4 a signal.
fn message(kind: u8, fields: Vec<(u8, Value)>, body: &[Value]) -> Vec<u8> {
    let mut arguments = Writer::default();
    body.iter().for_each(|value| arguments.value(value));
    let field = |(code, value)| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
    let mut fields: Vec<Value> = fields.into_iter().map(field).collect();
    fields.push(field((8, Value::Signature(signature_of(body)))));
    let mut message = Writer::default();
    message.bytes.extend([b'l', kind, 0, 1]);
    message.length(arguments.bytes.len());
    message.value(&Value::U32(1));
    message.value(&Value::array("(yv)", fields));
    message.align(8);
    message.bytes.extend(arguments.bytes);
    message.bytes
}

fn bytes_of(answer: Answer, serial: u32) -> Vec<u8> {
    let to = (5, Value::U32(serial));
    match answer {
        Answer::Return(value) => message(2, vec![to], &[value]),
        Answer::Refuse(name) => message(3, vec![to, (4, Value::text(name))], &[Value::text("no")]),
        Answer::ReturnAndEnd(value) => {
            let fields = vec![(2, Value::text(INTERFACE)), (3, Value::text("JobRemoved"))];
            let end = [Value::U32(7), Value::Path(PATH.to_owned()), Value::text(NAME), Value::text("done")];
            [message(2, vec![to], &[value]), message(4, fields, &end)].concat()
        }
    }
}

/// Answers the calls of one conversation, until the other side ends it or no answer is left.
fn converse(
    mut stream: UnixStream,
    number: usize,
    heard: &Sender<Heard>,
    answers: &mut dyn Iterator<Item = Answer>,
) -> std::io::Result<()> {
    let mut received = Vec::new();
    let mut authenticated = false;
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        received.extend_from_slice(&bytes[..count]);
        if !authenticated && received.ends_with(b"BEGIN\r\n") {
            authenticated = true;
            received.clear();
            stream.write_all(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n")?;
        }
        while authenticated && let Some(length) = total_length(&received).unwrap().filter(|all| *all <= received.len())
        {
            let call: Vec<u8> = received.drain(..length).collect();
            let member = Message::decode(&call).unwrap().member.unwrap();
            heard.send((number, member)).unwrap();
            let serial = u32::from_le_bytes(call[8..12].try_into().unwrap());
            let Some(answer) = answers.next() else { return Ok(()) };
            stream.write_all(&bytes_of(answer, serial))?;
        }
    }
}

/// A systemd that gives these answers, in this order, in as many conversations as are begun; and what it hears.
fn systemd(answers: Vec<Answer>) -> (Systemd, Receiver<Heard>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("private");
    let listener = UnixListener::bind(&path).unwrap();
    let (sender, heard) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        for (number, stream) in listener.incoming().enumerate() {
            // A conversation that the test ends early is its own business.
            drop(converse(stream.unwrap(), number, &sender, &mut answers));
        }
    });
    let systemd = Systemd {
        addresses: vec![Address { socket: Socket::Path(path.to_str().unwrap().to_owned()), bus: false }],
        deadline: Instant::now() + Duration::from_secs(10),
        silence: Duration::from_millis(20),
        ..Systemd::new(Instance::User)
    };
    (systemd, heard, directory)
}

fn calls(heard: &Receiver<Heard>) -> Vec<String> {
    heard.try_iter().map(|(number, member)| format!("{number} {member}")).collect()
}

fn text(text: &str) -> Value {
    Value::Variant(Box::new(Value::text(text)))
}

fn job() -> Value {
    Value::Path(PATH.to_owned())
}

fn unit() -> Unit {
    Unit { name: NAME.to_owned(), slice: "system.slice".to_owned(), components: Vec::new() }
}

const GONE: &str = "org.freedesktop.DBus.Error.UnknownObject";

/// systemd executes itself again as the job ends: the signal of its end is never sent.
#[test]
fn a_start_whose_end_is_not_told_is_found_done() {
    let answers =
        vec![Answer::Return(job()), Answer::Refuse(GONE), Answer::Refuse(EXISTS), Answer::Return(text("active"))];
    let (mut systemd, heard, _directory) = systemd(answers);
    systemd.start(&unit(), &[], Some(1), &|| Ok(Look::Ours)).unwrap();
    assert_eq!(calls(&heard), ["0 StartTransientUnit", "0 Get", "1 StartTransientUnit", "1 Get"]);
}

#[test]
fn a_stop_whose_end_is_not_told_is_found_done() {
    let answers = vec![Answer::Return(job()), Answer::Refuse(GONE), Answer::Refuse(NO_SUCH)];
    let (mut systemd, heard, _directory) = systemd(answers);
    systemd.stop(NAME).unwrap();
    assert_eq!(calls(&heard), ["0 StopUnit", "0 Get", "1 StopUnit"]);
}

/// A slow job is not a lost one: it is still there when systemd is asked for it.
#[test]
fn a_job_that_lasts_is_waited_for() {
    let answers = vec![
        Answer::Return(job()),
        Answer::Return(text("running")),
        Answer::Return(text("running")),
        Answer::ReturnAndEnd(text("running")),
    ];
    let (mut systemd, heard, _directory) = systemd(answers);
    systemd.start(&unit(), &[], Some(1), &|| Ok(Look::Taken)).unwrap();
    assert_eq!(calls(&heard), ["0 StartTransientUnit", "0 Get", "0 Get", "0 Get"]);
}

#[test]
fn a_systemd_tells_its_version_and_where_it_answers() {
    let (mut systemd, heard, directory) = systemd(vec![Answer::Return(text("257.9-1"))]);
    assert_eq!(systemd.address(), None);
    assert_eq!(systemd.version().unwrap(), "257.9-1");
    let socket = systemd.address().unwrap().socket.shown();
    assert_eq!((socket, calls(&heard)), (directory.path().join("private").display().to_string(), vec!["0 Get".into()]));
}
