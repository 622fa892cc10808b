//! The packages of others: their licences, versions and sources keep to deny.toml; docs/dependencies.md and the list of
//! contents of the binary (scripts/sbom) are true. From `cargo metadata` and Cargo.lock; needs no root.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test program")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const TARGET: &str = "x86_64-unknown-linux-musl";
const INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).current_dir(path("")).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every package that a build or a test for the target uses.
fn packages() -> Vec<Value> {
    let words = ["metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET];
    let mut metadata: Value = serde_json::from_str(&run(env!("CARGO"), &words)).unwrap();
    let used: BTreeSet<String> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| text(node, "id")).collect();
    let Value::Array(packages) = metadata["packages"].take() else { panic!("no packages") };
    let packages: Vec<_> = packages.into_iter().filter(|package| used.contains(&text(package, "id"))).collect();
    assert!(packages.len() > 40, "{} packages", packages.len());
    packages
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// The quoted words of a list in deny.toml, without the comments in it.
fn listed(section: &str, key: &str) -> Vec<String> {
    let text = read("deny.toml");
    let lines = text.lines().skip_while(|line| *line != format!("[{section}]")).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.trim_start().starts_with('#'));
    let body: String = lines.collect::<Vec<_>>().join("\n");
    let start = body.find(&format!("{key} = [")).unwrap_or_else(|| panic!("deny.toml has no {section}.{key}"));
    let end = start + body[start..].find("\n]").or_else(|| body[start..].find(']')).unwrap();
    body[start..end].split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met with `allowed` licences alone.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = either(&words, allowed);
    assert!(rest.is_empty(), "{expression}: {rest:?} is left over");
    met
}

fn either<'w>(words: &'w [&'w str], allowed: &[String]) -> (bool, &'w [&'w str]) {
    let (mut met, mut rest) = both(words, allowed);
    while let ["OR", after @ ..] = rest {
        let (next, after) = both(after, allowed);
        (met, rest) = (met || next, after);
    }
    (met, rest)
}

fn both<'w>(words: &'w [&'w str], allowed: &[String]) -> (bool, &'w [&'w str]) {
    let (mut met, mut rest) = one(words, allowed);
    while let ["AND", after @ ..] = rest {
        let (next, after) = one(after, allowed);
        (met, rest) = (met && next, after);
    }
    (met, rest)
}

fn one<'w>(words: &'w [&'w str], allowed: &[String]) -> (bool, &'w [&'w str]) {
    match words {
        ["(", inner @ ..] => {
            let (met, rest) = either(inner, allowed);
            (met, rest.strip_prefix(&[")"]).unwrap())
        }
        [licence, "WITH", exception, rest @ ..] => (allowed.contains(&format!("{licence} WITH {exception}")), rest),
        [licence, rest @ ..] => (allowed.iter().any(|allowed| allowed == licence), rest),
        [] => panic!("an expression that ends too early"),
    }
}

#[test]
fn licences_are_understood() {
    let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception", "Zlib"].map(str::to_owned);
    for met in ["MIT", "GPL-3.0 OR MIT", "Apache-2.0/MIT", "(MIT OR X) AND Zlib", "Apache-2.0 WITH LLVM-exception OR X"]
    {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in ["GPL-3.0", "MIT AND X", "(MIT OR X) AND Y", "Apache-2.0", "X OR MIT AND Y"] {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn licences_are_allowed_and_all_of_them_are_met_in_the_sources() {
    let allowed = listed("licenses", "allow");
    // Pairs: the licence, the package.
    let exceptions = listed("licenses", "exceptions");
    let mut unmet: Vec<String> = Vec::new();
    for package in packages() {
        let (name, licence) = (text(&package, "name"), text(&package, "license"));
        let own = exceptions.chunks(2).filter(|pair| pair[1] == name).map(|pair| pair[0].clone());
        let allowed: Vec<String> = allowed.iter().cloned().chain(own).collect();
        if licence.is_empty() || !is_met(&licence, &allowed) {
            unmet.push(format!("{name}: {licence:?}"));
        }
    }
    assert!(unmet.is_empty(), "licences that deny.toml does not allow: {unmet:?}");
}

#[test]
fn no_package_is_there_twice_or_banned_or_from_elsewhere() {
    let packages = packages();
    let banned = listed("bans", "deny");
    let skipped = listed("bans", "skip");
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in &packages {
        let (name, version, source) = (text(package, "name"), text(package, "version"), text(package, "source"));
        assert!(!banned.contains(&name), "{name} is banned by deny.toml");
        assert!(source == INDEX || source.is_empty(), "{name} is from {source}");
        let is_skipped = |entry: &&String| {
            let (skipped, prefix) = entry.split_once('@').unwrap();
            skipped == name && (version.starts_with(&format!("{prefix}.")) || version == prefix)
        };
        if !skipped.iter().any(|entry| is_skipped(&entry)) {
            versions.entry(name).or_default().insert(version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "more than one version of {versions:?}");
    let names: Vec<String> = packages.iter().map(|package| text(package, "name")).collect();
    for entry in &skipped {
        let name = entry.split('@').next().unwrap();
        let count = names.iter().filter(|known| *known == name).count();
        assert!(count > 1, "deny.toml need not skip {entry} any more");
    }
}

#[test]
fn used_packages_are_documented_with_their_versions() {
    let text = read("docs/dependencies.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let cells = rows.filter(|cell| *cell != "package").flat_map(|cell| cell.split(", "));
    let documented: BTreeSet<String> = cells
        .filter(|cell| cell.split(' ').nth(1).is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())))
        .map(|cell| cell.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let packages = packages();
    let tare = packages.iter().find(|package| package["name"] == "tare").unwrap();
    let mut used = BTreeSet::new();
    // tare itself is one, with the feature for its own tests.
    let others = tare["dependencies"].as_array().unwrap().iter().filter(|one| one["name"] != "tare");
    for dependency in others {
        let (name, version) = (self::text(dependency, "name"), self::text(dependency, "req"));
        assert_ne!(version, "*", "{name}: any version will do");
        // As many numbers as the documentation gives.
        let version = version.trim_start_matches('^');
        let known = (1..=3).map(|count| version.split('.').take(count).collect::<Vec<_>>().join("."));
        let known: Vec<String> = known.map(|version| format!("{name} {version}")).collect();
        let found = known.iter().find(|cell| documented.contains(*cell));
        used.insert(found.unwrap_or_else(|| panic!("docs/dependencies.md has no row for {known:?}")).clone());
    }
    assert_eq!(used, documented, "docs/dependencies.md has rows for what is not used");
}

#[test]
fn the_list_of_contents_is_complete_valid_and_the_same_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let file = directory.path().join(name);
        run("python3", &["scripts/sbom", TARGET, file.to_str().unwrap()]);
        fs::read_to_string(file).unwrap()
    };
    let (first, second) = (make("a"), make("b"));
    assert_eq!(first, second);
    let bill: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((text(&bill, "bomFormat"), text(&bill, "specVersion")), ("CycloneDX".into(), "1.5".into()));
    let lock = read("Cargo.lock");
    let mut references = BTreeSet::from([text(&bill["metadata"]["component"], "bom-ref")]);
    let mut names = BTreeSet::new();
    for component in bill["components"].as_array().unwrap() {
        let (name, version) = (text(component, "name"), text(component, "version"));
        assert_eq!(text(component, "purl"), format!("pkg:cargo/{name}@{version}"));
        assert_eq!(text(component, "type"), "library");
        assert!(references.insert(text(component, "bom-ref")), "{name} twice");
        assert!(!text(&component["licenses"][0], "expression").contains('/'), "{component}");
        let sum = text(&component["hashes"][0], "content");
        assert!(sum.len() == 64 && text(&component["hashes"][0], "alg") == "SHA-256", "{component}");
        let block = format!("name = \"{name}\"\nversion = \"{version}\"\nsource = \"{INDEX}\"\nchecksum = \"{sum}\"\n");
        assert!(lock.contains(&block), "Cargo.lock has no {block}");
        names.insert(name);
    }
    for dependency in bill["dependencies"].as_array().unwrap() {
        let on = dependency["dependsOn"].as_array().unwrap().iter().map(|reference| reference.as_str().unwrap());
        assert!(on.chain([dependency["ref"].as_str().unwrap()]).all(|one| references.contains(one)), "{dependency}");
    }
    assert_eq!(bill["dependencies"].as_array().unwrap().len(), references.len());
    // What tare's own manifest names is there; what tests and builds use is not.
    let packages = packages();
    let tare = packages.iter().find(|package| package["name"] == "tare").unwrap();
    for dependency in tare["dependencies"].as_array().unwrap().iter().filter(|one| one["name"] != "tare") {
        let name = text(dependency, "name");
        let of_name = |other: &&Value| text(other, "name") == name;
        let normal = tare["dependencies"].as_array().unwrap().iter().filter(of_name).any(|one| one["kind"].is_null());
        assert_eq!(names.contains(&name), normal, "{name}");
    }
    assert!(!names.contains("syn") && names.contains("itoa"), "{names:?}");
}
