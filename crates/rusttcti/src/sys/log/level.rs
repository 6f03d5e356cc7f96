// SPDX-License-Identifier: BSD-2-Clause
//! The levels of messages, and their selection by TSS2_LOG.

#![forbid(unsafe_code)]

/// The level of a message, as tpm2-tss numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(dead_code)] // not each is used at every moment
pub(crate) enum Level {
    None = 0,
    Error = 2,
    Warning = 3,
    Info = 4,
    Debug = 5,
    Trace = 6,
}

/// The level if TSS2_LOG sets none.
const DEFAULT: Level = Level::Warning;

/// The module's name in TSS2_LOG.
pub(super) const MODULE: &str = "tcti";

pub(super) const NAMES: [(Level, &str); 6] = [
    (Level::None, "NONE"),
    (Level::Error, "ERROR"),
    (Level::Warning, "WARNING"),
    (Level::Info, "INFO"),
    (Level::Debug, "DEBUG"),
    (Level::Trace, "TRACE"),
];

/// Returns the level of the module `tcti`. The last pair that names it counts; unknown
/// text is skipped. As in tpm2-tss, a module's name is the text that ends before a `+`
/// (whatever stands before it), and the level follows the `+`.
pub(crate) fn level_of(pairs: &str) -> Level {
    let mut level = DEFAULT;
    for (at, _) in pairs.match_indices('+') {
        let names_us = ends_with(&pairs[..at], "all") || ends_with(&pairs[..at], MODULE);
        let named = NAMES
            .iter()
            .find(|(_, name)| starts_with(&pairs[at + 1..], name));
        if let (true, Some((named, _))) = (names_us, named) {
            level = *named;
        }
    }
    level
}

fn starts_with(text: &str, start: &str) -> bool {
    let head = text.as_bytes().get(..start.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
}

fn ends_with(text: &str, end: &str) -> bool {
    let at = text.len().checked_sub(end.len());
    let tail = at.and_then(|at| text.as_bytes().get(at..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end.as_bytes()))
}

/// Returns the mistake in TSS2_LOG, if there is one: an unknown level of this module,
/// or a field that is not a pair.
pub(super) fn mistake(pairs: &str) -> Option<String> {
    let fields = pairs.split(',').map(str::trim);
    fields.filter(|field| !field.is_empty()).find_map(|field| {
        let Some((module, level)) = field.split_once('+') else {
            return Some(format!("\"{field}\" is not a pair of a module and a level"));
        };
        let is_ours = ends_with(module, "all") || ends_with(module, MODULE);
        let is_level = NAMES.iter().any(|(_, name)| starts_with(level, name));
        (is_ours && !is_level).then(|| format!("\"{level}\" in \"{field}\" is not a level"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_tpm2_tss_reads_them() {
        for (pairs, level) in [
            ("", Level::Warning),
            ("all+debug", Level::Debug),
            ("ALL+ERROR", Level::Error),
            ("tcti+trace", Level::Trace),
            ("Tcti+Info", Level::Info),
            ("all+NONE", Level::None),
            // Left to right: a later pair counts.
            ("all+none,tcti+trace", Level::Trace),
            ("tcti+trace,all+none", Level::None),
            ("esys+trace,marshal+debug", Level::Warning),
            ("tcti+ERROR,esys+trace", Level::Error),
            // Unknown text changes nothing.
            ("tcti+loud", Level::Warning),
            ("tcti+debug,tcti+loud", Level::Debug),
            ("tcti", Level::Warning),
            ("+", Level::Warning),
            ("++++", Level::Warning),
            ("cti+trace", Level::Warning),
            ("é+trace,tcti+é", Level::Warning),
            // tpm2-tss compares only as many characters as the name has.
            ("my tcti+tracer", Level::Trace),
        ] {
            assert_eq!(level_of(pairs), level, "{pairs:?}");
        }
    }

    #[test]
    fn what_means_nothing_is_named_and_what_is_meant_for_others_is_not() {
        for (pairs, told) in [
            ("tcti+loud", "\"loud\" in \"tcti+loud\" is not a level"),
            ("tcti+debug,all+", "\"\" in \"all+\" is not a level"),
            ("debug", "\"debug\" is not a pair of a module and a level"),
            (
                "tcti=debug",
                "\"tcti=debug\" is not a pair of a module and a level",
            ),
        ] {
            assert_eq!(mistake(pairs).as_deref(), Some(told), "{pairs:?}");
        }
        for pairs in ["", "tcti+debug", "ALL+None, tcti+Trace,", "esys+loud"] {
            assert_eq!(mistake(pairs), None, "{pairs:?}");
        }
    }
}
