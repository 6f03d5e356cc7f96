// SPDX-License-Identifier: BSD-2-Clause
//! The architecture of the library: which folder may use which, read from the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The architecture: a folder of crates/rusttcti/src, and the folders that it may
/// use. CONTRIBUTING.md shows these lines.
const FOLDERS: &str = "\
contract:
wire: contract
sys: contract
config: contract
transport: contract, wire, sys, config
layer: contract, wire, sys, config
chain: contract, sys, config, transport, layer
abi: contract, wire, sys, chain
";

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/rusttcti/src")
}

/// Returns the folders, each with those that it may use.
fn folders() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let line = |line: &'static str| {
        let (folder, below) = line.split_once(':').expect("a folder");
        let below = below.split(',').map(str::trim);
        (folder, below.filter(|name| !name.is_empty()).collect())
    };
    FOLDERS.lines().map(line).collect()
}

/// Returns the Rust files below a folder, each with its code, without comments and
/// unit tests.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]\nmod tests").next();
            let lines = code.unwrap_or_default().lines();
            let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
            found.push((path, lines.collect::<Vec<_>>().join("\n")));
        }
    }
    found
}

/// Returns the first names of the paths in a `{...}` group, of which `text` begins
/// after the brace.
fn group(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(&text[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    let first = |name: &'_ str| -> usize {
        let name = name.trim_start();
        name.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(name.len())
    };
    let names = names.into_iter().map(str::trim_start);
    names.map(|name| &name[..first(name)]).collect()
}

/// Returns each name that `code` takes from the crate's root.
fn taken(code: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(rest) => names.extend(group(rest)),
            None => {
                names.insert(
                    &rest[..rest
                        .find(|c: char| !c.is_alphanumeric() && c != '_')
                        .unwrap_or(rest.len())],
                );
            }
        }
    }
    names.remove("");
    names
}

/// Returns the folder of each name at the root, which only re-exports.
fn re_exported() -> BTreeMap<String, String> {
    let root = std::fs::read_to_string(library().join("lib.rs")).expect("lib.rs");
    let mut names = BTreeMap::new();
    for (at, _) in root.match_indices("pub use ") {
        let rest = &root[at + "pub use ".len()..];
        let (folder, rest) = rest.split_once("::").expect("a path");
        let item = rest.split(';').next().expect("an end");
        let items = match item.split_once('{') {
            Some((_, rest)) => group(rest),
            None => vec![item.rsplit("::").next().expect("a name")],
        };
        names.extend(
            items
                .into_iter()
                .map(|name| (name.to_owned(), folder.to_owned())),
        );
    }
    names
}

#[test]
fn every_use_between_folders_is_in_the_table() {
    let (folders, names) = (folders(), re_exported());
    let mut seen = BTreeSet::new();
    for (folder, below) in &folders {
        for (path, code) in sources(&library().join(folder)) {
            for name in taken(&code) {
                let used = match folders.contains_key(name) {
                    true => name,
                    // The one point where the chain asks the C boundary.
                    false if name == "C_MODULES" && *folder == "chain" => continue,
                    // A macro of the crate's root.
                    false if name == "export" => continue,
                    false => names
                        .get(name)
                        .unwrap_or_else(|| panic!("{}: what is crate::{name}?", path.display())),
                };
                let allowed = used == *folder || below.contains(used);
                assert!(allowed, "{}: {folder} uses {used} ({name})", path.display());
                seen.insert((*folder, used.to_owned()));
            }
        }
    }
    // An arrow that the table allows and no code needs must go.
    for (folder, below) in &folders {
        for used in below {
            assert!(
                seen.contains(&(*folder, (*used).to_owned())),
                "{folder} needs no {used}"
            );
        }
    }
}

#[test]
fn no_folder_uses_itself_through_others() {
    let folders = folders();
    let mut left: BTreeSet<&str> = folders.keys().copied().collect();
    while !left.is_empty() {
        let ground: Vec<&str> = left
            .iter()
            .copied()
            .filter(|folder| folders[folder].is_disjoint(&left))
            .collect();
        assert!(!ground.is_empty(), "a circle among {left:?}");
        left.retain(|folder| !ground.contains(folder));
    }
}

#[test]
fn every_folder_of_the_library_is_in_the_table() {
    for entry in std::fs::read_dir(library()).expect("the library") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("a name");
        let known = folders().contains_key(name) || !path.is_dir();
        assert!(known, "{}", path.display());
    }
}

#[test]
fn contributors_see_the_same_table() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRIBUTING.md"));
    assert!(
        text.expect("CONTRIBUTING.md").contains(FOLDERS),
        "CONTRIBUTING.md shows\n{FOLDERS}"
    );
}
