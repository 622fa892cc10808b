//! The built suite: a directory with what the programs expect to find where they are started.
//!
//! `runtimetest` (runs inside the containers), `rootfs-<arch>.tar.gz` (their root file system) and
//! `programs/*.t`. All of it is static, so the directory can be handed to any machine of the same
//! architecture: this one's, or that of `GOARCH`. A build is cached under the version; a half-made
//! one is never taken for whole, because it gets its name only when it is complete.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::command::run;
use crate::error::{Error, Result};
use crate::packages::{VERSION, fetch_tarball, install_build_packages};

/// The printing package that the programs import and Debian does not have.
const TAP_GO: &str = include_str!("../tap-go/tap.go");

/// A built suite.
pub struct Suite {
    /// The directory that the programs are started in.
    pub dir: PathBuf,
}

impl Suite {
    /// The suite in a directory that was built before, here or elsewhere.
    ///
    /// # Errors
    /// The directory is not a built suite.
    pub fn open(dir: &Path) -> Result<Suite> {
        let dir = fs::canonicalize(dir).map_err(Error::at(dir))?;
        let suite = Suite { dir };
        suite.programs()?;
        Ok(suite)
    }

    /// The suite in the cache, built first when it is not there.
    ///
    /// # Errors
    /// `NoSuite` when packages or source cannot be had.
    pub fn cached() -> Result<Suite> {
        let architecture = env::var("GOARCH").map(|name| format!("-{name}")).unwrap_or_default();
        let whole = cache()?.join(format!("runtime-tools-{VERSION}{architecture}"));
        if !whole.is_dir() {
            build(&whole)?;
        }
        Suite::open(&whole)
    }

    /// Names of the programs, sorted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn programs(&self) -> Result<Vec<String>> {
        let dir = self.dir.join("programs");
        let entries = fs::read_dir(&dir).map_err(Error::at(&dir))?;
        let names =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".t").map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// Path of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join("programs").join(format!("{name}.t"))
    }
}

fn cache() -> Result<PathBuf> {
    let from = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("TARE_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("tare")))
        .or_else(|| from("HOME").map(|dir| dir.join(".cache/tare")))
        .ok_or_else(|| Error::Failed("none of TARE_CACHE, XDG_CACHE_HOME and HOME is set".to_owned()))
}

fn build(whole: &Path) -> Result<()> {
    let work = whole.with_file_name(format!("runtime-tools-{VERSION}.build-{}", std::process::id()));
    fs::create_dir_all(&work).map_err(Error::at(&work))?;
    let built = build_in(&work).and_then(|built| {
        // Another runner may have been faster; its build is as good.
        fs::rename(&built, whole)
            .or_else(|error| if whole.is_dir() { Ok(()) } else { Err(error) })
            .map_err(Error::at(whole))
    });
    let _ = fs::remove_dir_all(&work);
    built
}

fn build_in(work: &Path) -> Result<PathBuf> {
    install_build_packages()?;
    let tarball = fetch_tarball(work)?;
    let source = unpack(work, &tarball)?;
    let go = Go { gopath: work.join("go"), gocache: work.join("go-cache"), source };
    let built = work.join("built");
    let programs = built.join("programs");
    fs::create_dir_all(&programs).map_err(Error::at(&programs))?;
    go.build("cmd/runtimetest", &built.join("runtimetest"))?;
    for name in go.validation_programs()? {
        go.build(&format!("validation/{name}"), &programs.join(format!("{name}.t")))?;
    }
    for rootfs in ["rootfs-amd64.tar.gz", "rootfs-386.tar.gz"] {
        let from = go.source.join(rootfs);
        fs::copy(&from, built.join(rootfs)).map_err(Error::at(&from))?;
    }
    Ok(built)
}

/// Lays the source and our shim out as the Go of GO111MODULE=off wants them.
fn unpack(work: &Path, tarball: &Path) -> Result<PathBuf> {
    let packages = work.join("go/src/github.com");
    let source = packages.join("opencontainers/runtime-tools");
    let shim = packages.join("mndrix/tap-go");
    for dir in [&source, &shim] {
        fs::create_dir_all(dir).map_err(Error::at(dir))?;
    }
    let tap_go = shim.join("tap.go");
    fs::write(&tap_go, TAP_GO).map_err(Error::at(&tap_go))?;
    let (from, to) = (tarball.to_string_lossy(), source.to_string_lossy());
    run("tar", &["-xf", &from, "-C", &to, "--strip-components=1"], None, &[])?;
    Ok(source)
}

struct Go {
    gopath: PathBuf,
    gocache: PathBuf,
    source: PathBuf,
}

impl Go {
    /// Builds one program, static: it may run on a machine with another C library, or in a root
    /// file system with none.
    fn build(&self, package: &str, to: &Path) -> Result<()> {
        let gopath = format!("{}:/usr/share/gocode", self.gopath.display());
        let env = [
            ("GOPATH", gopath.as_str()),
            ("GOCACHE", &self.gocache.to_string_lossy()),
            ("GO111MODULE", "off"),
            ("GOFLAGS", ""),
            ("CGO_ENABLED", "0"),
        ];
        let (package, to) = (format!("./{package}"), to.to_string_lossy());
        let arguments = ["build", "-p", "2", "-ldflags", "-s -w", "-o", &to, &package];
        run("go", &arguments, Some(&self.source), &env)
    }

    fn validation_programs(&self) -> Result<Vec<String>> {
        let dir = self.source.join("validation");
        let entries = fs::read_dir(&dir).map_err(Error::at(&dir))?;
        let dirs = entries.flatten().filter(|entry| entry.path().is_dir());
        let names = dirs.filter_map(|entry| entry.file_name().into_string().ok());
        // util is what the programs share.
        Ok(names.filter(|name| name != "util").collect())
    }
}
