// SPDX-License-Identifier: BSD-2-Clause
//! The files, tests, make targets and versions that the documents name exist.

use std::path::Path;

const DOCUMENTS: [&str; 10] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "VERSIONING.md",
    "docs/architecture.md",
    "docs/conformance.md",
    "docs/embedded.md",
    "docs/programs.md",
    "docs/testing.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the texts between backticks, outside of code blocks.
fn quoted(text: &str) -> Vec<String> {
    let outside: Vec<&str> = text.split("```").step_by(2).collect();
    let quoted = outside
        .iter()
        .flat_map(|text| text.split('`').skip(1).step_by(2));
    quoted.map(str::to_owned).collect()
}

/// Returns the names by which a document's headings can be linked.
fn anchors(text: &str) -> std::collections::BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| heading.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| {
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_to_a_file_or_a_heading_leads_to_one() {
    for document in DOCUMENTS {
        let text = read(document);
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        let folder = root().join(document);
        let folder = folder.parent().expect("a folder");
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => root().join(document),
                file => folder.join(file),
            };
            assert!(file.exists(), "{document}: {target}");
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&file).expect("a document");
                assert!(anchors(&text).contains(heading), "{document}: {target}");
            }
        }
    }
}

#[test]
fn every_file_of_the_architecture_is_there() {
    let text = read("docs/architecture.md");
    let words = text.split(|c: char| !c.is_alphanumeric() && !"/._-".contains(c));
    let files: Vec<&str> = words.filter(|word| word.ends_with(".rs")).collect();
    assert!(files.len() > 8, "only {files:?}");
    for file in files {
        let places = [
            root().join(file),
            root().join("crates/rusttcti/src").join(file),
        ];
        assert!(places.iter().any(|place| place.exists()), "{file}");
    }
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let (mut file, mut tests) = (String::new(), 0);
    for word in quoted(&read("SECURITY.md")) {
        if let Some(name) = word.strip_suffix(".rs") {
            assert!(name.contains('/'), "{word}: from the repository's root on");
            file = read(&word);
        } else if word.matches('_').count() >= 3 && !word.contains(['=', ' ', '.']) {
            assert!(
                file.contains(&format!("fn {word}(")),
                "SECURITY.md names {word}, which is not in the file named before it"
            );
            tests += 1;
        }
    }
    assert!(tests > 30, "only {tests}");
    // A promise without a test is none.
    let text = read("SECURITY.md");
    let (_, rest) = text.split_once("## What is promised").expect("promises");
    let (promises, _) = rest.split_once("\n## ").expect("the next heading");
    for promise in promises.lines().filter(|line| line.starts_with("- ")) {
        assert!(promise.contains(".rs`: `"), "no test holds: {promise}");
    }
}

#[test]
fn every_target_of_make_that_is_named_is_there() {
    let makefile = read("Makefile");
    for document in DOCUMENTS {
        for word in quoted(&read(document)) {
            let Some(rest) = word.strip_prefix("make ") else {
                continue;
            };
            let target = rest.split(' ').next().unwrap_or_default();
            if target == "&&" {
                continue; // the default one
            }
            assert!(
                makefile.contains(&format!("\n{target}:")),
                "{document}: make {target}"
            );
        }
    }
}

#[test]
fn contributors_are_sent_to_files_that_are_there() {
    let ignored = read(".gitignore");
    for word in quoted(&read("CONTRIBUTING.md")) {
        let is_path = word.contains('/') && !word.contains([' ', ':', '=']);
        // Files that are generated, and not in the sources.
        let made = ignored
            .lines()
            .filter_map(|line| line.strip_prefix('/'))
            .any(|folder| format!("{word}/").starts_with(folder));
        // The transport of its example is one that isn't.
        if is_path && !made && !word.to_lowercase().contains("serial") {
            // A part in capitals stands for names of its kind.
            let parts = word.split('/');
            let named = parts.take_while(|part| part.chars().any(|c| !c.is_ascii_uppercase()));
            let named: std::path::PathBuf = named.collect();
            let there = [root(), &root().join(LIBRARY)].map(|folder| folder.join(&named).exists());
            assert_ne!(there, [false; 2], "CONTRIBUTING.md: {word}");
        }
    }
}

#[test]
fn contributors_are_told_of_every_check_there_is() {
    let named = quoted(&read("CONTRIBUTING.md"));
    for line in read("Makefile").lines() {
        let Some((target, _)) = line.split_once(':') else {
            continue;
        };
        if target.starts_with("check") && line.contains("## ") {
            assert!(
                named.contains(&format!("make {target}")),
                "CONTRIBUTING.md names no make {target}"
            );
        }
    }
}

#[test]
fn the_package_s_symbols_are_the_exported_functions() {
    let symbols = read("debian/libtss2-tcti-rusttcti0.symbols");
    let symbols: Vec<&str> = symbols
        .lines()
        .filter_map(|line| line.strip_prefix(' ')?.split('@').next())
        .collect();
    let exported: Vec<&str> = include_str!("../install/exports.txt").lines().collect();
    assert_eq!(symbols, exported);
}

/// The Rust files below `folder`, each by its path from there.
fn sources(folder: &str) -> Vec<(String, String)> {
    let src = root().join(folder);
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|end| end != "rs") {
                continue;
            }
            let name = path.strip_prefix(&src).expect("below").display();
            let text = std::fs::read_to_string(&path).expect("a source");
            found.push((name.to_string(), text));
        }
    }
    found
}

const LIBRARY: &str = "crates/rusttcti/src";

#[test]
fn unsafe_is_where_it_is_said_to_be() {
    let allowed = ["abi/", "sys/", "transport/libtpms/ffi/"];
    // What has children that may use it cannot forbid it for them.
    let parents = ["lib.rs", "transport/mod.rs", "transport/libtpms/mod.rs"];
    for (name, text) in sources(LIBRARY) {
        // Unit tests are under their parent's prohibition.
        let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
        if is_test || allowed.iter().any(|place| name.starts_with(place)) {
            continue;
        }
        let code = text.lines().filter(|line| !line.trim().starts_with("//"));
        for line in code {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(!words.any(|word| word == "unsafe"), "{name}: {line}");
        }
        assert!(
            parents.contains(&name.as_str()) || text.contains("#![forbid(unsafe_code)]"),
            "{name} does not forbid unsafe code"
        );
    }
    // Each block says what makes it sound.
    for (name, text) in sources(LIBRARY).into_iter().chain(sources("src")) {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let opens = line.contains("unsafe {") || line.starts_with("unsafe impl");
            if !opens || line.starts_with("//") {
                continue;
            }
            let before = &lines[at.saturating_sub(12)..at];
            let reasoned = before.iter().any(|line| line.contains("// SAFETY:"));
            assert!(reasoned, "{name}:{}: {line}", at + 1);
        }
    }
}

/// The environment variables that the sources read, by their names in quotes.
fn variables() -> std::collections::BTreeSet<String> {
    let mut found = std::collections::BTreeSet::new();
    for (_, text) in sources(LIBRARY) {
        let literals = text.split('"').filter(|literal| {
            ["TSS2_", "TCTI_", "RUSTTCTI_"]
                .iter()
                .any(|start| literal.starts_with(start))
                && literal
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte == b'2')
                // The names of response codes, and their start.
                && !literal.contains("_RC_")
        });
        found.extend(literals.map(str::to_owned));
    }
    // For those who work on the sources.
    found.remove("RUSTTCTI_UPDATE_MAN");
    found
}

#[test]
fn every_environment_variable_that_is_read_is_documented() {
    let page = read("man/tss2-tcti-rusttcti.7");
    let readme = read("README.md");
    let variables = variables();
    assert!(variables.len() >= 4, "{variables:?}");
    for variable in variables {
        assert!(
            page.contains(&format!(".TP\n.B {variable}\n")),
            "{variable}"
        );
        assert!(readme.contains(&format!("`{variable}`")), "{variable}");
    }
}

#[test]
fn the_documents_and_the_manifest_agree_on_versions() {
    let readme = read("README.md");
    let versioning = read("VERSIONING.md");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(readme.contains(&format!("{rust} or newer, edition 2024")));
    assert!(versioning.contains(&format!("| Rust, to build | {rust} |")));
    let glibc = readme
        .split("needs glibc ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("which glibc");
    assert!(versioning.contains(&format!("built on Debian 12 | {glibc} |")));
    let changes = read("CHANGELOG.md");
    let version = env!("CARGO_PKG_VERSION");
    let first = changes.lines().find(|line| line.starts_with("## ["));
    let first = first.expect("a heading");
    assert!(
        first == "## [Unreleased]" || first.starts_with(&format!("## [{version}] - ")),
        "CHANGELOG.md begins with {first}, the version is {version}"
    );
}
