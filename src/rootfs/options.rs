//! The table of mount options and its parser: words of one mount become attributes, superblock flags, data.
//!
//! World: plan (pure). Words mean what they mean to runc, which collects the bits of mount(2): of two words about one
//! bit the later wins, of two access time modes the one that mount(2) prefers, and among words of a whole tree one that
//! sets a flag wins over one that clears it. Promises: no word is dropped silently; a word that is not in the table is
//! data for the filesystem, and the kernel is the judge of it.
//! Source: runtime-spec config.md "Linux mount options", mount(8), mount_setattr(2).

mod mappings;

pub use mappings::{Mapping, Mappings};

use crate::error::{Code, Error, Result, nearest};
use crate::sys::mount::{Attributes, MountFlags};

/// The flags of a mount other than access times: as they are set, and the words that set and clear them.
pub const FLAG_WORDS: [(Attributes, &str, &str); 6] = [
    (Attributes::RDONLY, "ro", "rw"),
    (Attributes::NOSUID, "nosuid", "suid"),
    (Attributes::NODEV, "nodev", "dev"),
    (Attributes::NOEXEC, "noexec", "exec"),
    (Attributes::NODIRATIME, "nodiratime", "diratime"),
    (Attributes::NOSYMFOLLOW, "nosymfollow", "symfollow"),
];

/// What a word asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Nothing beyond the kernel's default.
    Default,
    /// A mount attribute, set (true) or cleared; of the whole tree if `recursive`.
    Attribute {
        bit: Attributes,
        set: bool,
        recursive: bool,
    },
    /// The access time mode, of the whole tree if `recursive`.
    Atime {
        word: Atime,
        recursive: bool,
    },
    /// A bind mount.
    Bind {
        recursive: bool,
    },
    /// Change what is mounted at the destination.
    Remount,
    /// Propagation, in `MS_*`.
    Propagation {
        kind: MountFlags,
        recursive: bool,
    },
    /// A flag of the superblock, set or cleared. A bind mount cannot have it, and ignores it.
    Superblock {
        flag: Superblock,
        set: bool,
    },
    CopyUp,
    Idmap {
        recursive: bool,
    },
    SourceNofollow,
    DestinationNofollow,
    CopySymlink,
}

/// Flags of mount(2) that belong to a superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Superblock {
    Dirsync,
    /// `MS_I_VERSION`, which only mount(2) can set.
    InodeVersion,
    Lazytime,
    Mand,
    /// Every filesystem decides that itself.
    PosixAcl,
    /// The mount API reports through the context's log alone: it is always silent towards the kernel log.
    Silent,
    Sync,
}

/// Words on access times. mount(8): relatime is the kernel's default mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Atime {
    Relatime,
    Noatime,
    Strictatime,
    NotNoatime,
    NotRelatime,
    NotStrictatime,
}

const fn attribute(bit: Attributes, set: bool) -> Meaning {
    Meaning::Attribute { bit, set, recursive: false }
}

const fn tree(bit: Attributes, set: bool) -> Meaning {
    Meaning::Attribute { bit, set, recursive: true }
}

const fn atime(word: Atime) -> Meaning {
    Meaning::Atime { word, recursive: false }
}

const fn tree_atime(word: Atime) -> Meaning {
    Meaning::Atime { word, recursive: true }
}

const fn superblock(flag: Superblock, set: bool) -> Meaning {
    Meaning::Superblock { flag, set }
}

const fn propagation(kind: MountFlags, recursive: bool) -> Meaning {
    Meaning::Propagation { kind, recursive }
}

/// Sorted by word, for binary search.
const TABLE: &[(&str, Meaning)] = &[
    ("acl", superblock(Superblock::PosixAcl, true)),
    ("async", superblock(Superblock::Sync, false)),
    ("atime", atime(Atime::NotNoatime)),
    ("bind", Meaning::Bind { recursive: false }),
    ("copy-symlink", Meaning::CopySymlink),
    ("defaults", Meaning::Default),
    ("dest-nofollow", Meaning::DestinationNofollow),
    ("dev", attribute(Attributes::NODEV, false)),
    ("diratime", attribute(Attributes::NODIRATIME, false)),
    ("dirsync", superblock(Superblock::Dirsync, true)),
    ("exec", attribute(Attributes::NOEXEC, false)),
    ("idmap", Meaning::Idmap { recursive: false }),
    ("iversion", superblock(Superblock::InodeVersion, true)),
    ("lazytime", superblock(Superblock::Lazytime, true)),
    ("loud", superblock(Superblock::Silent, false)),
    ("mand", superblock(Superblock::Mand, true)),
    ("noacl", superblock(Superblock::PosixAcl, false)),
    ("noatime", atime(Atime::Noatime)),
    ("nodev", attribute(Attributes::NODEV, true)),
    ("nodiratime", attribute(Attributes::NODIRATIME, true)),
    ("noexec", attribute(Attributes::NOEXEC, true)),
    ("noiversion", superblock(Superblock::InodeVersion, false)),
    ("nolazytime", superblock(Superblock::Lazytime, false)),
    ("nomand", superblock(Superblock::Mand, false)),
    ("norelatime", atime(Atime::NotRelatime)),
    ("nostrictatime", atime(Atime::NotStrictatime)),
    ("nosuid", attribute(Attributes::NOSUID, true)),
    ("nosymfollow", attribute(Attributes::NOSYMFOLLOW, true)),
    ("private", propagation(libc::MS_PRIVATE, false)),
    ("rasync", superblock(Superblock::Sync, false)),
    ("ratime", tree_atime(Atime::NotNoatime)),
    ("rbind", Meaning::Bind { recursive: true }),
    ("rdev", tree(Attributes::NODEV, false)),
    ("rdiratime", tree(Attributes::NODIRATIME, false)),
    ("rdirsync", superblock(Superblock::Dirsync, true)),
    ("relatime", atime(Atime::Relatime)),
    ("remount", Meaning::Remount),
    ("rexec", tree(Attributes::NOEXEC, false)),
    ("ridmap", Meaning::Idmap { recursive: true }),
    ("rmand", superblock(Superblock::Mand, true)),
    ("rnoatime", tree_atime(Atime::Noatime)),
    ("rnodev", tree(Attributes::NODEV, true)),
    ("rnodiratime", tree(Attributes::NODIRATIME, true)),
    ("rnoexec", tree(Attributes::NOEXEC, true)),
    ("rnomand", superblock(Superblock::Mand, false)),
    ("rnorelatime", tree_atime(Atime::NotRelatime)),
    ("rnostrictatime", tree_atime(Atime::NotStrictatime)),
    ("rnosuid", tree(Attributes::NOSUID, true)),
    ("rnosymfollow", tree(Attributes::NOSYMFOLLOW, true)),
    ("ro", attribute(Attributes::RDONLY, true)),
    ("rprivate", propagation(libc::MS_PRIVATE, true)),
    ("rrelatime", tree_atime(Atime::Relatime)),
    ("rro", tree(Attributes::RDONLY, true)),
    ("rrw", tree(Attributes::RDONLY, false)),
    ("rshared", propagation(libc::MS_SHARED, true)),
    ("rslave", propagation(libc::MS_SLAVE, true)),
    ("rstrictatime", tree_atime(Atime::Strictatime)),
    ("rsuid", tree(Attributes::NOSUID, false)),
    ("rsymfollow", tree(Attributes::NOSYMFOLLOW, false)),
    ("rsync", superblock(Superblock::Sync, true)),
    ("runbindable", propagation(libc::MS_UNBINDABLE, true)),
    ("rw", attribute(Attributes::RDONLY, false)),
    ("shared", propagation(libc::MS_SHARED, false)),
    ("silent", superblock(Superblock::Silent, true)),
    ("slave", propagation(libc::MS_SLAVE, false)),
    ("src-nofollow", Meaning::SourceNofollow),
    ("strictatime", atime(Atime::Strictatime)),
    ("suid", attribute(Attributes::NOSUID, false)),
    ("symfollow", attribute(Attributes::NOSYMFOLLOW, false)),
    ("sync", superblock(Superblock::Sync, true)),
    ("tmpcopyup", Meaning::CopyUp),
    ("unbindable", propagation(libc::MS_UNBINDABLE, false)),
];

/// Every option that tare itself understands, for `features` and for "did you mean".
pub fn known() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(word, _)| *word)
}

/// Attributes to set and to clear on a mount or on its whole tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// To set.
    pub set: Attributes,
    /// To clear (for the access time mode: the mask).
    pub clear: Attributes,
}

impl Wanted {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.set.is_empty() && self.clear.is_empty()
    }

    fn apply(&mut self, bit: Attributes, set: bool) {
        self.set.set(bit, set);
        self.clear.set(bit, !set);
    }

    /// Of a whole tree: what is set wins over what is cleared, as in mount_setattr(2).
    fn apply_to_tree(&mut self, bit: Attributes, set: bool) {
        if set || !self.set.contains(bit) {
            self.apply(bit, set);
        }
    }

    fn atime(&mut self, word: Atime) {
        let asked = self.clear.contains(Attributes::ATIME);
        let mode = match word {
            Atime::Relatime => Attributes::empty(),
            Atime::Noatime => Attributes::NOATIME,
            Atime::Strictatime => Attributes::STRICTATIME,
            // A negation changes what it negates and nothing else.
            Atime::NotNoatime if asked && self.set.contains(Attributes::STRICTATIME) => return,
            Atime::NotStrictatime if asked && self.set.contains(Attributes::NOATIME) => return,
            Atime::NotNoatime | Atime::NotStrictatime => Attributes::empty(),
            // Without a mode of its own a mount has relatime again, the kernel's default.
            Atime::NotRelatime => return,
        };
        self.set.remove(Attributes::ATIME);
        self.set.insert(mode);
        self.clear.insert(Attributes::ATIME);
    }
}

/// The bits of mount(2) about access times, each with its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct AtimeFlags {
    relatime: bool,
    noatime: bool,
    strictatime: bool,
}

impl AtimeFlags {
    fn take(&mut self, word: Atime) {
        match word {
            Atime::Relatime => self.relatime = true,
            Atime::NotRelatime => self.relatime = false,
            Atime::Noatime => self.noatime = true,
            Atime::NotNoatime => self.noatime = false,
            Atime::Strictatime => self.strictatime = true,
            Atime::NotStrictatime => self.strictatime = false,
        }
    }

    /// The mode that mount(2) makes of them; none where a bind mount keeps its source's.
    fn mode(self) -> Option<Attributes> {
        match self {
            Self { strictatime: true, .. } => Some(Attributes::STRICTATIME),
            Self { noatime: true, .. } => Some(Attributes::NOATIME),
            Self { relatime: true, .. } => Some(Attributes::empty()),
            _ => None,
        }
    }
}

/// The flags of one mount that a bind mount can have, access times aside.
const PER_MOUNT: Attributes = Attributes::RDONLY
    .union(Attributes::NOSUID)
    .union(Attributes::NODEV)
    .union(Attributes::NOEXEC)
    .union(Attributes::NOSYMFOLLOW);

/// A propagation type that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`.
    pub kind: MountFlags,
    /// For the whole tree.
    pub recursive: bool,
}

/// A parameter of the filesystem, as fsconfig takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Position in `options`, for error messages.
    pub option: usize,
    /// The key.
    pub key: String,
    /// The value; none for a flag.
    pub value: Option<String>,
}

/// All options of one mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `bind` (false) or `rbind` (true).
    pub bind: Option<bool>,
    /// `remount`.
    pub remount: bool,
    /// Attributes of the mount itself.
    pub top: Wanted,
    /// Attributes of the mount and all below.
    pub tree: Wanted,
    /// In the order given.
    pub propagation: Vec<Propagation>,
    /// Superblock flags and data.
    pub parameters: Vec<Parameter>,
    /// Superblock flags that are set.
    superblock: Vec<Superblock>,
    /// Access times of the mount itself.
    atime: AtimeFlags,
    /// A flag of the mount itself was named, whether set or cleared.
    per_mount: bool,
    /// `iversion`.
    pub inode_version: bool,
    /// `tmpcopyup`.
    pub copy_up: bool,
    /// `idmap` (false) or `ridmap` (true).
    pub idmap: Option<bool>,
    /// Those of `idmap=`.
    pub mappings: Option<Mappings>,
    /// `src-nofollow`.
    pub source_nofollow: bool,
    /// `dest-nofollow`.
    pub destination_nofollow: bool,
    /// `copy-symlink`.
    pub copy_symlink: bool,
}

/// Parses the options of one mount; `at` is the JSON path of the list.
///
/// # Errors
/// A word that cannot be done, or that holds a NUL byte; with its JSON path.
pub fn parse(words: &[String], at: &str) -> Result<Options> {
    let mut options = Options::default();
    for (number, word) in words.iter().enumerate() {
        let path = || format!("{at}[{number}]");
        if word.contains('\0') {
            return Err(Error::refused(Code::NulCharacter, path(), "mount option with a NUL byte"));
        }
        match TABLE.binary_search_by(|(name, _)| (*name).cmp(word)) {
            Ok(found) => options.take(TABLE[found], number).map_err(|error| error.at(path()))?,
            Err(_) if word.starts_with("idmap=") || word.starts_with("ridmap=") => {
                options.idmap = Some(word.starts_with('r'));
                options.mappings = Some(mappings::parse(word).map_err(|error| error.at(path()))?);
            }
            Err(_) => options.data(word, number),
        }
    }
    options.settle();
    Ok(options)
}

impl Options {
    /// Those of a whole tree alone.
    #[must_use]
    pub fn of_tree(tree: Wanted, propagation: Vec<Propagation>) -> Self {
        Self { tree, propagation, ..Self::default() }
    }

    fn take(&mut self, (word, meaning): (&'static str, Meaning), number: usize) -> Result<()> {
        match meaning {
            Meaning::Default => {}
            Meaning::Attribute { bit, set, recursive: true } => self.tree.apply_to_tree(bit, set),
            Meaning::Attribute { bit, set, recursive: false } => {
                self.per_mount = true;
                self.top.apply(bit, set);
            }
            Meaning::Atime { word, recursive: true } => self.tree.atime(word),
            Meaning::Atime { word, recursive: false } => {
                self.per_mount = true;
                self.atime.take(word);
            }
            // The recursion stays whatever follows.
            Meaning::Bind { recursive } => self.bind = Some(recursive || self.bind == Some(true)),
            Meaning::Remount => self.remount = true,
            Meaning::Propagation { kind, recursive } => self.propagation.push(Propagation { kind, recursive }),
            Meaning::Superblock { flag, set } => self.superblock(word, flag, set, number),
            Meaning::CopyUp => self.copy_up = true,
            Meaning::Idmap { recursive } => self.idmap = Some(recursive),
            Meaning::SourceNofollow => self.source_nofollow = true,
            Meaning::DestinationNofollow => self.destination_nofollow = true,
            Meaning::CopySymlink => self.copy_symlink = true,
        }
        Ok(())
    }

    fn superblock(&mut self, word: &str, flag: Superblock, set: bool, number: usize) {
        self.superblock.retain(|other| *other != flag);
        if set {
            self.superblock.push(flag);
        }
        match flag {
            Superblock::InodeVersion => self.inode_version = set,
            Superblock::PosixAcl | Superblock::Silent => {}
            Superblock::Dirsync | Superblock::Lazytime | Superblock::Mand | Superblock::Sync => {
                // For a whole tree, as rro: a new filesystem is one.
                let key = word.strip_prefix('r').unwrap_or(word).to_string();
                self.parameters.push(Parameter { option: number, key, value: None });
            }
        }
    }

    /// After the last word: the access time mode.
    fn settle(&mut self) {
        if let Some(mode) = self.atime.mode() {
            self.top.set.insert(mode);
            self.top.clear.insert(Attributes::ATIME);
        }
    }

    /// The flags of a bind mount, and those among the cleared ones that no word asked to clear. If any flag is named,
    /// it has exactly these; runc remounts it with the bits of mount(2), where flags of a superblock count too, but have
    /// no effect. Access times stay as they are unless a word sets one.
    #[must_use]
    pub fn exact(&self) -> (Wanted, Attributes) {
        if !self.per_mount && self.superblock.is_empty() {
            return (self.top, Attributes::empty());
        }
        let mut clear = PER_MOUNT;
        if self.atime.mode().is_some() || self.top.set.contains(Attributes::NODIRATIME) {
            clear.insert(Attributes::ATIME | Attributes::NODIRATIME);
        } else {
            // As mount(2): without a word that sets one, one that clears changes nothing.
            clear.remove(Attributes::NODIRATIME);
        }
        // The mode is a number, whose mask is cleared whatever is set.
        clear = (clear - self.top.set) | (clear & Attributes::ATIME);
        (Wanted { set: self.top.set, clear }, clear - self.top.clear - Attributes::ATIME)
    }

    /// One element may hold several parameters: mount(2) would have taken the list joined by commas.
    fn data(&mut self, word: &str, number: usize) {
        for part in split(word) {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (key, Some(value.trim_matches('"').to_string())),
                None => (part, None),
            };
            self.parameters.push(Parameter { option: number, key: key.to_string(), value });
        }
    }
}

/// Splits at commas that are neither quoted (SELinux contexts) nor escaped (overlay's paths).
fn split(word: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in word.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&word[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&word[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// "did you mean" for a word that the filesystem did not take.
#[must_use]
pub fn suggestion(word: &str) -> Option<String> {
    nearest(word, known()).map(|known| format!("did you mean \"{known}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Options {
        parse(&list.iter().map(ToString::to_string).collect::<Vec<_>>(), "mounts[0].options").unwrap()
    }

    #[test]
    fn the_table_is_sorted_and_has_every_word_of_the_spec() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
        let spec = "async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime \
            nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private \
            ratime rbind rdev rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec \
            rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave \
            rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync \
            tmpcopyup unbindable";
        for word in spec.split_whitespace() {
            assert!(known().any(|known| known == word), "{word}");
        }
    }

    #[test]
    fn the_later_word_wins_but_for_trees() {
        assert_eq!(words(&["rw", "ro"]).top.set, Attributes::RDONLY);
        let options = words(&["ro", "nosuid", "rw"]);
        assert_eq!((options.top.set, options.top.clear), (Attributes::NOSUID, Attributes::RDONLY));
        for list in [["rro", "rrw"], ["rrw", "rro"]] {
            assert_eq!(words(&list).tree, Wanted { set: Attributes::RDONLY, clear: Attributes::empty() });
        }
        assert_eq!(words(&["rbind", "rprivate", "rw", "bind"]).bind, Some(true));
        assert_eq!(words(&["bind", "rbind"]).bind, Some(true));
        assert_eq!(words(&["bind"]).bind, Some(false));
    }

    #[test]
    fn access_times() {
        let atime = |list: &[&str]| {
            let top = words(list).top;
            (top.set & Attributes::ATIME, top.clear.contains(Attributes::ATIME))
        };
        assert_eq!(atime(&["relatime"]), (Attributes::empty(), true));
        assert_eq!(atime(&["strictatime"]), (Attributes::STRICTATIME, true));
        assert_eq!(atime(&["strictatime", "noatime"]), (Attributes::STRICTATIME, true));
        assert_eq!(atime(&["noatime", "relatime"]), (Attributes::NOATIME, true));
        assert_eq!(atime(&["noatime", "atime"]), (Attributes::empty(), false));
        assert_eq!(atime(&["strictatime", "atime"]), (Attributes::STRICTATIME, true));
        assert_eq!(atime(&["noatime", "nostrictatime"]), (Attributes::NOATIME, true));
        assert_eq!(atime(&["norelatime"]), (Attributes::empty(), false));
        assert_eq!(words(&["nodiratime"]).top.set, Attributes::NODIRATIME);
        assert_eq!(words(&["rnoatime"]).tree.set, Attributes::NOATIME);
    }

    #[test]
    fn a_bind_mount_that_names_a_flag_has_exactly_its_flags() {
        let exact = |list: &[&str]| words(list).exact();
        assert!(exact(&["rbind", "rprivate", "async", "rro"]).0.is_empty());
        let (wanted, implied) = exact(&["rw"]);
        assert_eq!((wanted.set, wanted.clear), (Attributes::empty(), PER_MOUNT));
        assert_eq!(implied, PER_MOUNT - Attributes::RDONLY);
        assert_eq!(exact(&["sync"]).0.clear, PER_MOUNT);
        assert_eq!(exact(&["sync", "async"]).0.clear, Attributes::empty());
        let (wanted, implied) = exact(&["noatime", "nosuid", "dev"]);
        assert_eq!(wanted.set, Attributes::NOATIME | Attributes::NOSUID);
        assert_eq!(wanted.clear, (PER_MOUNT - Attributes::NOSUID) | Attributes::ATIME | Attributes::NODIRATIME);
        assert_eq!(implied, (PER_MOUNT - Attributes::NOSUID - Attributes::NODEV) | Attributes::NODIRATIME);
        assert_eq!(exact(&["diratime"]).0.clear, PER_MOUNT);
    }

    #[test]
    fn data_is_split_where_the_kernel_would() {
        let part =
            |list: &[&str]| words(list).parameters.into_iter().map(|p| (p.option, p.key, p.value)).collect::<Vec<_>>();
        let value = |text: &str| Some(text.to_string());
        assert_eq!(
            part(&["nosuid", "mode=755,size=1m", ""]),
            [(1, "mode".into(), value("755")), (1, "size".into(), value("1m"))]
        );
        assert_eq!(part(&["context=\"s0:c1,c2\""]), [(0, "context".into(), value("s0:c1,c2"))]);
        assert_eq!(part(&["lowerdir=/a\\,b:/c"]), [(0, "lowerdir".into(), value("/a\\,b:/c"))]);
        assert_eq!(part(&["newinstance", "sync"]), [(0, "newinstance".into(), None), (1, "sync".into(), None)]);
    }

    #[test]
    fn flags_of_a_whole_tree_are_those_of_the_filesystem() {
        let parsed = parse(&["rsync".to_owned(), "rnomand".to_owned()], "mounts[2].options").unwrap();
        assert_eq!(parsed.parameters.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["sync", "nomand"]);
    }

    #[test]
    fn refused_words_say_why() {
        let refused = |word: &str| parse(&[word.to_string()], "mounts[2].options").unwrap_err().to_string();
        for word in ["idmap=uids=0-1-2", "idmap=", "idmap=uids=0-1;gids=0-0-1", "ridmap=uids=0-0-1;gids=-1-0-1"] {
            let line = refused(word);
            assert!(line.starts_with(&format!("mounts[2].options[0]: {word:?} is not an id mapping; write")), "{line}");
        }
        assert_eq!(refused("a\0b"), "mounts[2].options[0]: mount option with a NUL byte");
        assert_eq!(suggestion("nosiud").unwrap(), "did you mean \"nosuid\"?");
    }

    #[test]
    fn propagation_keeps_its_order() {
        let kinds: Vec<_> =
            words(&["rslave", "shared"]).propagation.iter().map(|asked| (asked.kind, asked.recursive)).collect();
        assert_eq!(kinds, [(libc::MS_SLAVE, true), (libc::MS_SHARED, false)]);
    }
}
