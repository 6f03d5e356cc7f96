// SPDX-License-Identifier: BSD-2-Clause
//! The packages' description of the module. The bill of materials (`make sbom`) is
//! compared with cargo and the module itself, the rest with the sources.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use rusttcti_kit::{module, stage::output};

fn here(command: &mut Command) -> String {
    output(command.current_dir(env!("CARGO_MANIFEST_DIR")))
}

fn read(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn sbom() -> String {
    here(&mut Command::new("scripts/sbom.py"))
}

/// `NAME VERSION` of every crate in the bill, the module's own included.
fn crates(sbom: &str) -> BTreeSet<String> {
    let purls = sbom.lines().filter_map(|line| {
        let purl = line.trim().strip_prefix("\"purl\": \"pkg:cargo/")?;
        Some(purl.split('"').next()?.replace('@', " "))
    });
    purls.collect()
}

#[test]
fn the_sbom_lists_exactly_the_crates_that_cargo_tree_shows() {
    let tree = here(
        Command::new("cargo")
            .args("tree --locked --edges normal --prefix none --format {p}".split(' ')),
    );
    let shown: BTreeSet<String> = tree
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().expect("a name");
            let version = words.next().and_then(|word| word.strip_prefix('v'));
            format!("{name} {}", version.expect("a version"))
        })
        .collect();
    assert!(shown.len() > 5, "{tree}");
    assert_eq!(crates(&sbom()), shown);
}

/// The locations of panics have the paths of the sources, which name the crates.
#[test]
fn every_crate_that_the_module_names_in_a_path_is_in_the_sbom() {
    let file = std::fs::read(module::file()).expect("the module");
    let text = String::from_utf8_lossy(&file);
    let mut named = BTreeSet::new();
    for rest in text.split("cargo/registry/src/").skip(1) {
        let Some(folder) = rest.split('/').nth(1) else {
            continue;
        };
        if let Some((name, version)) = folder.rsplit_once('-') {
            named.insert(format!("{name} {version}"));
        }
    }
    assert!(!named.is_empty(), "no path of a crate in the module");
    let listed = crates(&sbom());
    let missing: Vec<_> = named.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?} of {named:?}");
}

#[test]
fn the_sbom_is_the_same_each_time_and_names_no_folder_of_this_machine() {
    let sbom = sbom();
    assert_eq!(sbom, self::sbom());
    assert!(!sbom.contains(env!("CARGO_MANIFEST_DIR")), "{sbom}");
    for random in ["timestamp", "serialNumber"] {
        assert!(!sbom.contains(random), "{sbom}");
    }
}

#[test]
fn the_sbom_has_the_standard_library_of_the_compiler() {
    let version = here(Command::new("rustc").arg("--version"));
    let version = version.split(' ').nth(1).expect("a version");
    let wanted = format!("\"purl\": \"pkg:generic/rust-std@{version}\"");
    assert_eq!(sbom().matches(&wanted).count(), 1, "{wanted}");
}

#[test]
fn the_packages_copyright_speaks_of_every_crate_in_the_sbom() {
    let copyright = read("debian/copyright");
    for entry in crates(&sbom()) {
        let (name, _) = entry.split_once(' ').expect("a name and a version");
        let pattern = format!("vendor/{name}/*");
        let ours = [env!("CARGO_PKG_NAME"), "rusttcti", "tpm-tis"].contains(&name);
        assert!(
            ours || copyright.contains(&pattern),
            "debian/copyright has no {pattern}"
        );
    }
}

#[test]
fn the_packages_are_of_the_version_of_the_manifest() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = read("debian/changelog");
    assert!(
        changelog.starts_with(&format!("rusttcti ({version}-")),
        "debian/changelog begins with another version than {version}"
    );
    let spec = read("packaging/rusttcti.spec");
    let found = spec.lines().find_map(|line| line.strip_prefix("Version:"));
    assert_eq!(
        found.map(str::trim),
        Some(version),
        "packaging/rusttcti.spec"
    );
}

#[test]
fn the_module_is_bound_at_once_and_read_only_after() {
    let readelf = output(Command::new("readelf").arg("-ldW").arg(module::file()));
    assert!(readelf.contains("GNU_RELRO"), "{readelf}");
    assert!(readelf.contains("BIND_NOW"), "{readelf}");
    let stack = readelf.lines().find(|line| line.contains("GNU_STACK"));
    assert!(stack.is_some_and(|line| !line.contains("RWE")), "{readelf}");
}
