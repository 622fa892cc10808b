//! An opened bundle directory, and config.json read from it once.
//!
//! World: parent. Promises: no path is resolved twice (everything goes through the directory's descriptor), a config
//! that is no regular file or too large is refused before a byte is read, a wrong value is named by its JSON path.

mod keys;
mod known;
mod repair;
mod required;
mod words;

pub use repair::keys_in_any_case;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Mount, Process, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Code, Coded, Context, Error, Result};

/// Bytes of a config.json or process.json at the most.
pub const MAX_JSON: u64 = 16 * 1024 * 1024;

/// A directory with a rootfs, and its config: a file in the directory, or a value in memory.
///
/// ```
/// use oci_spec::runtime::Spec;
/// let from_disk = tare::Bundle::new("/srv/web").config("debug.json");
/// let from_memory = tare::Bundle::with_spec("/srv/web", &Spec::default())?;
/// # let _ = (from_disk, from_memory);
/// # Ok::<(), tare::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Bundle {
    path: PathBuf,
    config: Config,
}

#[derive(Debug, Clone)]
enum Config {
    /// A file, by its path relative to the bundle.
    File(PathBuf),
    /// The text of one.
    Text(Vec<u8>),
}

impl Bundle {
    /// The bundle at `path`, with its config.json. Nothing is opened or read before a container is created.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), config: Config::File(PathBuf::from("config.json")) }
    }

    /// A bundle at `path`, which `root.path` is relative to, with a config from memory.
    ///
    /// # Errors
    /// The config cannot be encoded.
    pub fn with_spec(path: impl Into<PathBuf>, spec: &Spec) -> Result<Self> {
        let text = serde_json::to_vec(spec)
            .map_err(|e| Error::new(Code::ConfigJsonInvalid, "encode the config").detail(e.to_string()))?;
        Ok(Self { path: path.into(), config: Config::Text(text) })
    }

    /// Another file than config.json, by its path relative to the bundle.
    pub fn config(self, name: impl Into<PathBuf>) -> Self {
        Self { config: Config::File(name.into()), ..self }
    }

    /// Opens the directory.
    ///
    /// # Errors
    /// It does not exist or is not a directory.
    pub(crate) fn open(&self) -> Result<OpenBundle<'_>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, &self.path, flags, Mode::empty())
            .context(|| format!("open bundle {}", self.path.display()))
            .coded(Code::BundleFailed)
            .map_err(|e| e.hint("a bundle is a directory with config.json; name it with --bundle"))?;
        let path = descriptor_path(&directory)?;
        Ok(OpenBundle { directory, path, config: &self.config })
    }
}

/// A bundle that is being used.
#[derive(Debug)]
pub struct OpenBundle<'a> {
    /// `O_PATH` descriptor of the directory.
    directory: OwnedFd,
    /// Its absolute path, links resolved.
    pub path: PathBuf,
    config: &'a Config,
}

impl OpenBundle<'_> {
    /// The text of the config.
    ///
    /// # Errors
    /// As [`read_json_file`].
    pub fn read_config(&self) -> Result<Vec<u8>> {
        let name = match self.config {
            Config::File(name) => name,
            Config::Text(text) => return Ok(text.clone()),
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(&self.directory, name, flags, Mode::empty()).map_err(|e| {
            let what = format!("open {}", self.path.join(name).display());
            if e == Errno::NOENT {
                return Error::new(Code::ConfigNotFound, what).errno(e).hint("make one with `tare spec`");
            }
            Error::system(what, e).coded(Code::ConfigFileFailed)
        })?;
        read_bounded(file, &self.path.join(name))
    }
}

/// The path behind a descriptor as the kernel knows it.
fn descriptor_path(fd: &OwnedFd) -> Result<PathBuf> {
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStringExt;
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let path = readlinkat(CWD, &*link, Vec::with_capacity(256))
        .context(|| "resolve the path of the bundle")
        .coded(Code::ConfigFileFailed)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes())))
}

/// Reads JSON from stdin.
///
/// # Errors
/// It cannot be read, or is larger than [`MAX_JSON`].
pub fn read_json_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(MAX_JSON + 1).read_to_end(&mut bytes);
    read.map_err(|e| Error::system("read stdin", e).coded(Code::ConfigFileFailed))?;
    if bytes.len() as u64 > MAX_JSON {
        let what = format!("stdin has more than {MAX_JSON} bytes");
        return Err(Error::new(Code::ConfigFileInvalid, what));
    }
    Ok(bytes)
}

/// Parses JSON of any shape.
///
/// # Errors
/// `what` is not JSON.
pub fn parse_value(bytes: &[u8], what: &str) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| Error::new(Code::ConfigJsonInvalid, format!("{what}: {e}")))
}

/// Reads a JSON file that the user names: process.json, resources. It may be a pipe, as `<(...)` and /dev/stdin are, or a
/// terminal.
///
/// # Errors
/// It is missing, a directory or a disk, larger than [`MAX_JSON`], or a FIFO without a writer for 5 s.
pub fn read_json_file(path: &Path) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(CWD, path, flags, Mode::empty())
        .context(|| format!("open {}", path.display()))
        .coded(Code::ConfigFileFailed)?;
    let facts = fstat(&file).context(|| format!("stat {}", path.display())).coded(Code::ConfigFileFailed)?;
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::Fifo | FileType::CharacterDevice => read_stream(&file, path),
        _ => read_bounded(file, path),
    }
}

/// Reads to the end what comes bit by bit, from a writer that may not have begun: the descriptor does not block.
fn read_stream(file: &OwnedFd, path: &Path) -> Result<Vec<u8>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
    let what = || format!("read {}", path.display());
    let mut bytes = Vec::with_capacity(4096);
    while bytes.len() as u64 <= MAX_JSON {
        let mut fds = [PollFd::new(file, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&PATIENCE)))
            .context(what)
            .coded(Code::ConfigFileFailed)?
            > 0;
        bytes.reserve(4096);
        match rustix::io::read(file, rustix::buffer::spare_capacity(&mut bytes)) {
            // A FIFO has no end before its first writer.
            Ok(0) if !ready => {
                let what = format!("read {}: no process writes to this FIFO", path.display());
                return Err(Error::new(Code::ConfigFileInvalid, what));
            }
            Ok(0) => return Ok(bytes),
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(e) => return Err(Error::system(what(), e).coded(Code::ConfigFileFailed)),
        }
    }
    Err(too_large(path))
}

fn too_large(path: &Path) -> Error {
    let what = format!("{} has more than {MAX_JSON} bytes", path.display());
    Error::new(Code::ConfigFileInvalid, what)
}

fn read_bounded(file: OwnedFd, path: &Path) -> Result<Vec<u8>> {
    let facts = fstat(&file).context(|| format!("stat {}", path.display())).coded(Code::ConfigFileFailed)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
        let what = format!("{} is not a regular file", path.display());
        return Err(Error::new(Code::ConfigFileInvalid, what));
    }
    let size = u64::try_from(facts.st_size).unwrap_or(0);
    if size > MAX_JSON {
        let what = format!("{} has {size} bytes; the limit is {MAX_JSON}", path.display());
        return Err(Error::new(Code::ConfigFileInvalid, what));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    // One byte more than allowed tells a file that grew meanwhile.
    std::fs::File::from(file)
        .take(MAX_JSON + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::system(format!("read {}", path.display()), e).coded(Code::ConfigFileFailed))?;
    if bytes.len() as u64 > MAX_JSON {
        return Err(too_large(path));
    }
    Ok(bytes)
}

/// Parses config.json.
///
/// # Errors
/// Not JSON, or a value that the model does not take; the JSON path is named.
pub fn parse_spec(bytes: &[u8]) -> Result<(Spec, Vec<String>)> {
    let (mut spec, warnings) = parse(bytes, "config.json")?;
    repair::forget_empty_pids(&mut spec, bytes);
    required::device_numbers(&spec, bytes)?;
    Ok((spec, warnings))
}

/// The same for what a user has just written: keys that are nearly known are warned about too.
///
/// # Errors
/// As [`parse_spec`].
pub fn parse_new_spec(bytes: &[u8]) -> Result<(Spec, Vec<String>)> {
    let (spec, mut warnings) = parse_spec(bytes)?;
    warnings.extend(keys::misspelt(bytes, &known::CONFIG));
    Ok((spec, warnings))
}

/// Parses a process object (`exec --process`).
///
/// # Errors
/// As [`parse_spec`].
pub fn parse_process(bytes: &[u8]) -> Result<(Process, Vec<String>)> {
    let (process, mut warnings) = parse(bytes, "process file")?;
    warnings.extend(keys::misspelt(bytes, &known::PROCESS));
    Ok((process, warnings))
}

/// Parses a resources object (`update`), as it would be read in config.json; keys in any case, as Go's decoder reads them.
///
/// # Errors
/// As [`parse_spec`]; paths begin with `linux.resources`.
pub fn parse_resources(mut resources: Value) -> Result<(LinuxResources, Vec<String>)> {
    repair::keys_in_any_case(&mut resources);
    // The model takes a list of values for an object.
    if resources.is_array() {
        return Err(Error::refused(Code::ConfigTypeWrong, "linux.resources", "a list where an object is expected"));
    }
    let config = serde_json::json!({ "ociVersion": "1.0.0", "linux": { "resources": resources } });
    let bytes = serde_json::to_vec(&config).unwrap_or_default();
    let (spec, warnings) = parse_new_spec(&bytes)?;
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    Ok((resources.unwrap_or_default(), warnings))
}

/// Parses a list of mounts, as it would be read in config.json.
///
/// # Errors
/// As [`parse_spec`]; paths begin with `mounts`.
pub fn parse_mounts(mounts: &Value) -> Result<(Vec<Mount>, Vec<String>)> {
    if !mounts.is_array() {
        return Err(Error::refused(
            Code::ConfigTypeWrong,
            "mounts",
            "a list is expected, in the form of `mounts` in config.json",
        ));
    }
    let config = serde_json::json!({ "ociVersion": "1.0.0", "mounts": mounts });
    let (mut spec, warnings) = parse_new_spec(&serde_json::to_vec(&config).unwrap_or_default())?;
    let mounts = spec.mounts_mut().take();
    Ok((mounts.unwrap_or_default(), warnings))
}

/// Parses `bytes`; when the model refuses them, repairs what the spec wants tolerated and tries again.
/// Returns warnings about what was left out.
///
/// # Errors
/// As [`parse_spec`].
pub fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<(T, Vec<String>)> {
    // All at once: string by string costs a sixth of the time that the parser takes.
    let text = std::str::from_utf8(bytes).map_err(|e| not_utf8(bytes, what, e))?;
    let error = match serde_json::from_str(text) {
        Ok(value) => return Ok((value, Vec::new())),
        Err(error) => error,
    };
    // Only for refused input. The repaired text is parsed again by the same code: a second instance of the model's
    // deserializer (for `Value`, or with a path tracker) would be 380 KB of a binary that has to be small.
    if !error.is_data() {
        return Err(Error::new(Code::ConfigJsonInvalid, format!("{what}: {error}")));
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else {
        return Err(words::explain(&error, bytes, &Value::Null, what));
    };
    let mut warnings = Vec::new();
    if !repair::repair(&mut value, &mut warnings) {
        return Err(words::explain(&error, bytes, &value, what));
    }
    let repaired = serde_json::to_string(&value).unwrap_or_default();
    match serde_json::from_str(&repaired) {
        Ok(model) => Ok((model, warnings)),
        Err(error) => Err(words::explain(&error, repaired.as_bytes(), &value, what)),
    }
}

/// JSON is UTF-8 (RFC 8259, section 8.1).
fn not_utf8(bytes: &[u8], what: &str, error: std::str::Utf8Error) -> Error {
    let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
    Error::new(Code::ConfigJsonInvalid, format!("{what}: not UTF-8 at line {line} column {column}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        parse_spec(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn refuses_garbage_trailing_text_and_depth() {
        assert!(error("{").contains("EOF"), "{}", error("{"));
        assert!(error(r#"{"ociVersion":"1.2.0"} x"#).contains("trailing"));
        let deep = format!("{{\"annotations\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse_spec(deep.as_bytes()).is_err());
        assert!(error(r#"{"ociVersion":"1.2.0","hostname":"a","hostname":"b"}"#).contains("duplicate field"));
        let odd = parse_spec(b"{\n\"ociVersion\":\"1.2.0\",\n\"x\":\"\xff\"}").unwrap_err().to_string();
        assert!(odd.ends_with("not UTF-8 at line 3 column 6"), "{odd}");
    }
}
