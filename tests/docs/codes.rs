// SPDX-License-Identifier: BSD-2-Clause
//! A command's code stands once, in crates/rusttcti/src/wire: other Rust sources
//! write its name.

use std::path::{Path, PathBuf};

use rusttcti::wire::{Command, CommandCode};

/// Folders without command codes of their own: the table's, and the crate that
/// stands without the library.
const EXEMPT: [&str; 2] = ["crates/rusttcti/src/wire", "crates/tpm-tis"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_built = path.file_name().is_some_and(|name| name == "target");
        if path.is_dir() && !is_built && !EXEMPT.iter().any(|exempt| path.ends_with(exempt)) {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The hexadecimal numbers of a line, each with where it begins.
fn numbers(line: &str) -> impl Iterator<Item = (usize, u32)> {
    line.match_indices("0x").filter_map(|(at, _)| {
        let digits = line[at + 2..].split(|c: char| !c.is_ascii_hexdigit() && c != '_');
        let digits = digits.into_iter().next()?.replace('_', "");
        Some((at, u32::from_str_radix(&digits, 16).ok()?))
    })
}

/// The last bytes of headers that are written as byte strings.
fn byte_strings(line: &str) -> impl Iterator<Item = u32> {
    let ends = line.split(r"\0\0\x01\x").skip(1);
    ends.filter_map(|rest| u32::from_str_radix(rest.get(..2)?, 16).ok())
}

/// Finds a command's code in a line: as a number, or as the last two bytes of a
/// header.
fn code_in(line: &str) -> Option<CommandCode> {
    let is_known = |code: &CommandCode| !code.is_vendor() && Command::of(*code).is_some();
    let mut strings = byte_strings(line).map(|byte| CommandCode(0x100 | byte));
    if let Some(code) = strings.find(is_known) {
        return Some(code);
    }
    numbers(line).find_map(|(at, number)| {
        let (before, behind) = line.split_at(at);
        // What a user types, in a text.
        let is_text = behind.matches('"').count() % 2 == 1;
        // A row that names values of another kind.
        let is_row = behind.contains(" => \"");
        let before = before.trim_end_matches("0x01, ").trim_end_matches("1, ");
        let is_in_header = before.len() < at && before.ends_with("0, 0, ");
        match is_in_header {
            true => Some(CommandCode(0x100 | number)),
            false => (!is_text && !is_row).then_some(CommandCode(number)),
        }
        .filter(is_known)
    })
}

#[test]
fn no_source_writes_a_command_s_code_as_a_number() {
    let mut files = Vec::new();
    for folder in ["src", "crates", "tests", "examples", "benches", "fuzz"] {
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut files,
        );
    }
    let mut found = Vec::new();
    for file in files
        .iter()
        .filter(|file| !file.ends_with("tests/docs/codes.rs"))
    {
        let text = std::fs::read_to_string(file).expect("a source");
        for (number, line) in text.lines().enumerate() {
            if let Some(code) = code_in(line) {
                found.push(format!("{}:{}: {code}", file.display(), number + 1));
            }
        }
    }
    assert!(
        found.is_empty(),
        "write CommandCode::NAME:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_code_is_found_as_a_number_and_in_a_header_and_not_in_a_text() {
    for line in [
        "command(0x17b, &[])",
        "CommandCode(0x0000_017B)",
        "[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16]",
        "[0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 16]",
        r#"b"\x80\x01\0\0\0\x0c\0\0\x01\x7b\0\x10""#,
    ] {
        assert_eq!(code_in(line), Some(CommandCode::GET_RANDOM), "{line}");
    }
    for line in [
        "its code, as in 0x17b, or all.\",",
        "0x122 => \"MAX_SESSION_CONTEXT\",",
        "[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 0x01, 0x05]",
        "0x4000_0007",
    ] {
        assert_eq!(code_in(line), None, "{line}");
    }
}
