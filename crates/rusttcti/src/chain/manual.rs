// SPDX-License-Identifier: BSD-2-Clause
//! Tests that the manual page agrees with the sources; `make man` updates it.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::lists::{LAYERS, TRANSPORTS};
use crate::chain;
use crate::config::setting::{self, Setting};
use crate::{ErrorKind, Result};

const PAGES: [&str; 2] = ["tss2-tcti-rusttcti.7", "Tss2_Tcti_Rusttcti_Init.3"];

fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../man")
        .join(page)
}

fn read(page: &str) -> String {
    std::fs::read_to_string(path(page)).expect("a page")
}

/// Returns each transport and layer, in the order of the page, with its settings.
fn entries() -> Vec<(&'static str, &'static [Setting])> {
    let transports = TRANSPORTS.iter().map(|entry| (entry.name, entry.settings));
    let layers = LAYERS.iter().map(|entry| (entry.name, entry.settings));
    transports.chain(layers).collect()
}

/// Escapes text for a line of man(7).
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// Formats sentences for man(7): each starts a line, and long lines are wrapped.
fn sentences(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in escaped(text).split_whitespace() {
        let ended = line.ends_with('.') || line.ends_with(':');
        if !line.is_empty() && (ended || line.len() + word.len() > 78) {
            lines += &line;
            lines.push('\n');
            line.clear();
        }
        if line.is_empty() {
            // A dot or an apostrophe at the start of a line would be taken for a macro.
            line += if word.starts_with(['.', '\'']) {
                "\\&"
            } else {
                ""
            };
        } else {
            line.push(' ');
        }
        line += word;
    }
    lines + &line + "\n"
}

fn rendered(settings: &[Setting]) -> String {
    let mut page = String::new();
    for setting in settings {
        page += ".TP\n";
        let value = escaped(setting.value);
        page += &match (setting.key, value.split_once('|')) {
            ("", _) => format!(".I {value}\n"),
            (key, _) if value.is_empty() => format!(".B {key}\n"),
            (key, None) => format!(".BI {key}= {value}\n"),
            (key, Some((one, other))) => format!(".BR {key}={one} | {other}\n"),
        };
        page += &sentences(setting.text);
        if !setting.default.is_empty() {
            page += &sentences(&format!("Default: {}.", setting.default)).replace(":\n", ": ");
        }
    }
    page
}

/// Returns the page with the version and the options of the sources.
fn updated(page: &str, text: &str) -> String {
    let mut made = String::new();
    let mut lines = text.lines();
    let mut left = match page.ends_with(".7") {
        true => entries(),
        false => Vec::new(),
    };
    while let Some(line) = lines.next() {
        if line.starts_with(".TH ") {
            let parts: Vec<&str> = line.split('"').collect();
            let version = concat!("rusttcti ", env!("CARGO_PKG_VERSION"));
            assert_eq!(parts.len(), 5, "{line}");
            made += &format!("{}\"{version}\"{}\"{}\"\n", parts[0], parts[2], parts[3]);
            continue;
        }
        made += line;
        made.push('\n');
        if let Some(name) = line.strip_prefix(".\\\" made by `make man`: ") {
            let at = left.iter().position(|(entry, _)| *entry == name);
            let at = at.unwrap_or_else(|| panic!("{page}: \"{name}\" is not there, or twice"));
            made += &rendered(left.remove(at).1);
            let end = format!(".\\\" end of {name}");
            lines
                .find(|line| *line == end)
                .unwrap_or_else(|| panic!("{page}: no end of {name}"));
            made += &end;
            made.push('\n');
        }
    }
    let left: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
    assert!(left.is_empty(), "{page} says nothing of {left:?}");
    made
}

#[test]
fn the_manual_pages_are_what_the_sources_say() {
    for page in PAGES {
        let wanted = updated(page, &read(page));
        if std::env::var_os("RUSTTCTI_UPDATE_MAN").is_some() {
            std::fs::write(path(page), &wanted).expect("the page can be written");
        }
        let checked_in = read(page);
        assert!(
            checked_in == wanted,
            "man/{page} differs from the sources: run `make man` and commit it; it should be\n{wanted}"
        );
    }
}

fn refusal(chain: &str) -> String {
    match chain::open(chain) {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::BadValue, "{chain}: {error:?}");
            error.to_string()
        }
        Ok(_) => panic!("\"{chain}\" opened"),
    }
}

/// Returns, for each transport and layer that has keys, the keys and a chain with
/// `text` in place of its configuration.
fn keyed(text: &str) -> Vec<(Vec<&'static str>, String)> {
    let keyed = |(_, settings): &(_, &[Setting])| settings.iter().any(|s| !s.key.is_empty());
    let chain = |(name, settings): (&str, &[Setting])| {
        let keys = setting::keys(settings);
        let is_transport = TRANSPORTS.iter().any(|entry| entry.name == name);
        // A configuration that begins with a path has its keys after the path.
        let has_path = settings.iter().any(|setting| setting.key.is_empty());
        match (is_transport, has_path) {
            (true, true) => (keys, format!("{name}:PATH,{text}")),
            (true, false) => (keys, format!("{name}:{text}")),
            (false, _) => (keys, format!("{name},{text}:null")),
        }
    };
    entries().into_iter().filter(keyed).map(chain).collect()
}

#[test]
fn every_key_that_is_documented_is_taken_and_no_other() {
    for (keys, chain) in keyed("nosuchkey=1") {
        let told = format!(
            "has no option \"nosuchkey\" (its options: {})",
            keys.join(", ")
        );
        assert!(refusal(&chain).ends_with(&told), "{chain}");
    }
    let every: Vec<&str> = entries()
        .iter()
        .flat_map(|(_, settings)| setting::keys(settings))
        .filter(|key| !key.is_empty())
        .collect();
    for key in every {
        for (keys, chain) in keyed(&format!("{key}=")) {
            // No list of keys may be empty.
            let told = refusal(&chain);
            assert_eq!(
                !told.contains("has no option"),
                keys.contains(&key),
                "{chain}: {told}"
            );
        }
    }
}

#[test]
fn config_help_and_the_tables_name_every_transport_layer_and_option() -> Result<()> {
    let help = chain::HELP.to_str().expect("ASCII");
    let table = |file: &str| std::fs::read_to_string(path(file)).expect("a file with a table");
    let readme = table("../README.md");
    let rustdoc = table("../crates/rusttcti/src/transport/mod.rs")
        + &table("../crates/rusttcti/src/layer/mod.rs");
    for (name, settings) in entries() {
        assert!(help.contains(&format!(" {name}: ")), "{help}");
        let rows = [
            (format!("| `{name}` |"), &readme, "README.md"),
            (
                format!("//! | [`{name}`] |"),
                &rustdoc,
                "mod.rs beside its source",
            ),
        ];
        for (start, text, file) in rows {
            let row = text.lines().find(|line| line.starts_with(&start));
            let row = row.unwrap_or_else(|| panic!("{file} has no row for {name}"));
            for setting in settings.iter().filter(|setting| !setting.key.is_empty()) {
                let equals = if setting.value.is_empty() { "" } else { "=" };
                let key = format!("{}{equals}", setting.key);
                assert!(help.contains(&format!("{key}{}", setting.value)), "{help}");
                assert!(row.contains(&key), "{key} in {row}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_response_code_of_a_kind_is_explained() {
    let page = read(PAGES[0]);
    for &kind in ErrorKind::ALL {
        let (name, code) = (kind.c_name(), crate::Error::from(kind).rc());
        let heading = format!(".BR {name} \" (0x{code:x})\"\n");
        assert!(page.contains(&heading), "{heading}");
    }
}
