// SPDX-License-Identifier: BSD-2-Clause
//! Names and numbers, compared with those in tpm2-tss's header.

use std::collections::BTreeMap;
use std::process::Command;

use rusttcti::wire::{self, CommandCode, Handle, ResponseCode, capability, property, tag};

/// The constants of tpm2-tss's header whose names begin with a prefix, without it.
fn constants(prefix: &str) -> BTreeMap<String, u32> {
    let header = std::fs::read_to_string(header()).expect("tss2_tpm2_types.h");
    let mut known = BTreeMap::new();
    for line in header.lines() {
        let Some(rest) = line.strip_prefix("#define TPM2_") else {
            continue;
        };
        let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let value = value.split("/*").next().unwrap_or_default();
        if let Some(number) = sum(value, &known) {
            known.insert(name.to_owned(), number);
        }
    }
    let named = known.into_iter();
    named
        .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value)))
        .collect()
}

/// The header of the tpm2-tss that is installed.
fn header() -> std::path::PathBuf {
    let folders = Command::new("pkg-config")
        .args(["--variable=includedir", "tss2-sys"])
        .output()
        .expect("pkg-config");
    let folder = String::from_utf8(folders.stdout).expect("a path");
    std::path::Path::new(folder.trim()).join("tss2/tss2_tpm2_types.h")
}

/// The value of `((TPM2_X) (TPM2_A * 2 + 0x1))`: numbers and known names.
fn sum(expression: &str, known: &BTreeMap<String, u32>) -> Option<u32> {
    let terms = expression
        .split(['(', ')', ' ', '\t'])
        .filter(|term| !term.is_empty());
    // The type comes first.
    let mut terms = terms.skip(1);
    let mut value = number(terms.next()?, known)?;
    while let Some(operator) = terms.next() {
        let term = number(terms.next()?, known)?;
        value = match operator {
            "+" => value.checked_add(term)?,
            "*" => value.checked_mul(term)?,
            _ => return None,
        };
    }
    Some(value)
}

fn number(term: &str, known: &BTreeMap<String, u32>) -> Option<u32> {
    let lowercase = term.to_lowercase();
    match (term.strip_prefix("TPM2_"), lowercase.strip_prefix("0x")) {
        (Some(name), _) => known.get(name).copied(),
        (None, Some(digits)) => u32::from_str_radix(digits, 16).ok(),
        (None, None) => term.parse().ok(),
    }
}

#[test]
fn command_codes_have_the_names_of_the_header() {
    let names = constants("CC_");
    assert!(names.len() > 110, "{names:?}");
    for (name, code) in names {
        if ["FIRST", "LAST"].contains(&name.as_str()) {
            continue;
        }
        assert_eq!(CommandCode(code).name(), Some(name.as_str()));
        assert_eq!(name.parse().ok(), Some(CommandCode(code)));
    }
}

#[test]
fn response_codes_have_the_names_of_the_header() {
    let names = constants("RC_");
    assert!(names.len() > 110, "{names:?}");
    // Parts of codes rather than codes.
    let parts = ["VER1", "FMT1", "WARN", "MAX_FM0", "H", "P", "S", "N_MASK"];
    for (name, code) in names {
        if parts.contains(&name.as_str()) || name.len() == 1 {
            continue;
        }
        assert_eq!(ResponseCode(code).name(), Some(&*format!("TPM_RC_{name}")));
    }
}

#[test]
fn constants_have_the_values_of_the_header() {
    let known = constants("");
    let value = |name: &str| *known.get(name).unwrap_or_else(|| panic!("{name}"));
    for (ours, theirs) in [
        (u32::from(tag::NO_SESSIONS), "ST_NO_SESSIONS"),
        (u32::from(tag::SESSIONS), "ST_SESSIONS"),
        (u32::from(tag::RSP_COMMAND), "ST_RSP_COMMAND"),
        (u32::from(wire::session_type::POLICY), "SE_POLICY"),
        (u32::from(wire::session_type::TRIAL), "SE_TRIAL"),
        (u32::from(wire::startup_type::STATE), "SU_STATE"),
        (capability::HANDLES, "CAP_HANDLES"),
        (capability::COMMANDS, "CAP_COMMANDS"),
        (capability::TPM_PROPERTIES, "CAP_TPM_PROPERTIES"),
        (capability::ACT, "CAP_ACT"),
        (property::HR_TRANSIENT_MIN, "PT_HR_TRANSIENT_MIN"),
        (property::HR_LOADED_MIN, "PT_HR_LOADED_MIN"),
        (property::ACTIVE_SESSIONS_MAX, "PT_ACTIVE_SESSIONS_MAX"),
        (property::CONTEXT_GAP_MAX, "PT_CONTEXT_GAP_MAX"),
        (property::MAX_COMMAND_SIZE, "PT_MAX_COMMAND_SIZE"),
        (property::MAX_OBJECT_CONTEXT, "PT_MAX_OBJECT_CONTEXT"),
        (property::MAX_CAP_BUFFER, "PT_MAX_CAP_BUFFER"),
        (property::HR_LOADED_AVAIL, "PT_HR_LOADED_AVAIL"),
        (property::HR_TRANSIENT_AVAIL, "PT_HR_TRANSIENT_AVAIL"),
        (property::HR_PERSISTENT_AVAIL, "PT_HR_PERSISTENT_AVAIL"),
        (Handle::OWNER.0, "RH_OWNER"),
        (Handle::NULL.0, "RH_NULL"),
        (Handle::RS_PW.0, "RS_PW"),
        (Handle::LOCKOUT.0, "RH_LOCKOUT"),
        (Handle::ENDORSEMENT.0, "RH_ENDORSEMENT"),
        (Handle::PLATFORM.0, "RH_PLATFORM"),
        (Handle::PLATFORM_NV.0, "RH_PLATFORM_NV"),
        (Handle::ACT_0.0, "RH_ACT_0"),
    ] {
        assert_eq!(ours, value(theirs), "{theirs}");
    }
}
