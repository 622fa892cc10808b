//! Debian packages: what the build needs, and the source package of the suite.
//!
//! The machine's apt configuration stays as it is: source packages are looked up with lists and
//! a sources file of our own, whose mirror is the one that the machine itself is configured with.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{output_of, run};
use crate::error::{Error, Result};

/// The source package that has the validation programs (the binary package has not).
const SOURCE: &str = "golang-github-opencontainers-runtime-tools";
/// The upstream version that the expectations were measured with.
pub const VERSION: &str = "0.9.0.109.ge931285";
/// Suites that have this version, the one that keeps it longest first.
const SUITES: [&str; 2] = ["trixie", "sid"];

/// What builds the programs; tap-go, the one import that is in no package, is our own shim.
const BUILD_PACKAGES: [&str; 15] = [
    "ca-certificates",
    "golang-github-blang-semver-dev",
    "golang-github-google-uuid-dev",
    "golang-github-hashicorp-go-multierror-dev",
    "golang-github-mrunalp-fileutils-dev",
    "golang-github-opencontainers-selinux-dev",
    "golang-github-opencontainers-specs-dev",
    "golang-github-sirupsen-logrus-dev",
    "golang-github-urfave-cli-dev",
    "golang-github-xeipuuv-gojsonschema-dev",
    "golang-go",
    "golang-gocapability-dev",
    "golang-golang-x-sys-dev",
    "tar",
    "xz-utils",
];

/// Installs what is missing of the build packages.
///
/// # Errors
/// `NoSuite` when apt cannot bring them.
pub fn install_build_packages() -> Result<()> {
    let missing: Vec<&str> = BUILD_PACKAGES.into_iter().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&missing);
    let install = || run("apt-get", &arguments, None, &[("DEBIAN_FRONTEND", "noninteractive")]);
    // A new machine has no package lists, an old one outdated lists: both are cured by an update.
    install()
        .or_else(|_| run("apt-get", &["update"], None, &[]).and_then(|()| install()))
        .map_err(|error| Error::NoSuite(format!("install {}: {error}", missing.join(" "))))
}

fn is_installed(package: &str) -> bool {
    let query = ["--show", "--showformat=${db:Status-Status}", package];
    output_of("dpkg-query", &query).is_ok_and(|status| status == "installed")
}

/// Brings the suite's orig tarball into `dir` and returns its path, its checksum verified.
///
/// # Errors
/// `NoSuite` with the reason when no suite of Debian gives it.
pub fn fetch_tarball(dir: &Path) -> Result<PathBuf> {
    let mut reasons = Vec::new();
    for suite in SUITES {
        match fetch_from(suite, dir) {
            Ok(tarball) => return Ok(tarball),
            Err(error) => reasons.push(format!("{suite}: {error}")),
        }
    }
    Err(Error::NoSuite(format!("source package {SOURCE} {VERSION}: {}", reasons.join("; "))))
}

fn fetch_from(suite: &str, dir: &Path) -> Result<PathBuf> {
    let apt = Apt::with_own_lists(dir, suite)?;
    apt.call("apt-get", &["update"])?;
    let (name, checksum) = find_tarball(&apt.ask("apt-cache", &["showsrc", SOURCE])?)
        .ok_or_else(|| Error::Failed(format!("apt-cache showsrc names no orig tarball of {VERSION}")))?;
    let tarball = dir.join(&name);
    // The mirror may lack the .dsc and apt-get then exits non-zero, with the tarball there all
    // the same: the checksum decides, not the exit code.
    let downloaded = apt.call("apt-get", &["source", "--download-only", SOURCE]);
    let actual = output_of("sha256sum", &[&tarball.to_string_lossy()]).unwrap_or_default();
    match (actual.split_whitespace().next(), downloaded) {
        (Some(sum), _) if sum == checksum => Ok(tarball),
        (Some(sum), _) => Err(Error::Failed(format!("{name} has SHA-256 {sum}, not {checksum}"))),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Err(Error::Failed(format!("apt-get source did not bring {name}"))),
    }
}

/// Name and SHA-256 of the orig tarball of our version in the output of `apt-cache showsrc`.
fn find_tarball(stanzas: &str) -> Option<(String, String)> {
    let stanza = stanzas
        .split("\n\n")
        .find(|stanza| stanza.lines().any(|line| line.starts_with(&format!("Version: {VERSION}-"))))?;
    let (_, sums) = stanza.split_once("\nChecksums-Sha256:")?;
    sums.lines().skip(1).take_while(|line| line.starts_with(' ')).find_map(|line| {
        let mut words = line.split_whitespace();
        let (sum, name) = (words.next()?, words.nth(1)?);
        name.contains(".orig.tar.").then(|| (name.to_owned(), sum.to_owned()))
    })
}

/// apt with a sources file and lists of our own.
struct Apt {
    dir: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn with_own_lists(dir: &Path, suite: &str) -> Result<Apt> {
        let own = dir.join("apt").join(suite);
        for part in ["sources", "lists/partial", "cache/archives/partial"] {
            let path = own.join(part);
            fs::create_dir_all(&path).map_err(Error::at(&path))?;
        }
        let sources = own.join("sources/suite.sources");
        let text =
            format!("Types: deb-src\nURIs: {}\nSuites: {suite}\nComponents: main\n{}", debian_mirror()?, signed_by());
        fs::write(&sources, text).map_err(Error::at(&sources))?;
        let options = [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={}/sources", own.display()),
            format!("Dir::State::lists={}/lists", own.display()),
            format!("Dir::Cache={}/cache", own.display()),
            // Without this an update that got nothing is a warning.
            "APT::Update::Error-Mode=any".to_owned(),
            // The download directory belongs to the caller, not to apt's own user.
            "APT::Sandbox::User=".to_owned(),
        ];
        Ok(Apt { dir: dir.to_owned(), options: options.into() })
    }

    fn arguments<'a>(&'a self, last: &[&'a str]) -> Vec<&'a str> {
        let options = self.options.iter().flat_map(|option| ["-o", option.as_str()]);
        options.chain(last.iter().copied()).collect()
    }

    fn call(&self, program: &str, last: &[&str]) -> Result<()> {
        run(program, &self.arguments(last), Some(&self.dir), &[])
    }

    fn ask(&self, program: &str, last: &[&str]) -> Result<String> {
        output_of(program, &self.arguments(last))
    }
}

/// The mirror of Debian's main archive that this machine is configured with.
fn debian_mirror() -> Result<String> {
    let format = ["indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"];
    let targets = output_of("apt-get", &format)?;
    let mirror = targets.lines().find_map(|line| {
        let [release, component, uri] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        // Not the security or updates archives, and not another vendor's repository.
        let is_main = component == "main" && !release.contains(['-', '/']) && uri.contains("debian");
        is_main.then(|| uri.to_owned())
    });
    mirror.ok_or_else(|| Error::Failed("apt is configured with no mirror of Debian main".to_owned()))
}

fn signed_by() -> &'static str {
    const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
    if Path::new(KEYRING).exists() { "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::{VERSION, find_tarball};

    #[test]
    fn the_checksum_is_that_of_the_orig_tarball_of_our_version() {
        let stanzas = format!(
            "Package: a\nVersion: 0.1-1\nChecksums-Sha256:\n 11 5 a_0.1.orig.tar.xz\n\n\
             Package: a\nVersion: {VERSION}-1\nFiles:\n 00 5 a.orig.tar.xz\nChecksums-Sha256:\n \
             22 3 a.dsc\n 33 5 a_2.orig.tar.xz\nHomepage: x\n"
        );
        let found = find_tarball(&stanzas);
        assert_eq!(found, Some(("a_2.orig.tar.xz".to_owned(), "33".to_owned())));
        assert_eq!(find_tarball("Package: a\nVersion: 0.1-1\n"), None);
    }
}
