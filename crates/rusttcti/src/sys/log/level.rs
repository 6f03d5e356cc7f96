// SPDX-License-Identifier: BSD-2-Clause
//! The levels of messages, and what TSS2_LOG says of them.

#![forbid(unsafe_code)]

/// How much a message matters, as tpm2-tss numbers it.
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

/// The level where TSS2_LOG says nothing.
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

/// The level of our module. The last pair that names it wins; what cannot be
/// understood is passed over. As in tpm2-tss, a module's name is what stands
/// before a `+` (whatever stands before the name), a level what follows it.
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

/// Returns what TSS2_LOG says that means nothing: a level of ours that does not exist,
/// or a field that is no pair.
pub(super) fn mistake(pairs: &str) -> Option<String> {
    let fields = pairs.split(',').map(str::trim);
    fields.filter(|field| !field.is_empty()).find_map(|field| {
        let Some((module, level)) = field.split_once('+') else {
            return Some(format!("\"{field}\" is no pair of a module and a level"));
        };
        let is_ours = ends_with(module, "all") || ends_with(module, MODULE);
        let is_level = NAMES.iter().any(|(_, name)| starts_with(level, name));
        (is_ours && !is_level).then(|| format!("\"{level}\" in \"{field}\" is no level"))
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
            // Left to right: what comes later wins.
            ("all+none,tcti+trace", Level::Trace),
            ("tcti+trace,all+none", Level::None),
            ("esys+trace,marshal+debug", Level::Warning),
            ("tcti+ERROR,esys+trace", Level::Error),
            // What cannot be understood changes nothing.
            ("tcti+loud", Level::Warning),
            ("tcti+debug,tcti+loud", Level::Debug),
            ("tcti", Level::Warning),
            ("+", Level::Warning),
            ("++++", Level::Warning),
            ("cti+trace", Level::Warning),
            ("é+trace,tcti+é", Level::Warning),
            // tpm2-tss does not look further than the names reach.
            ("my tcti+tracer", Level::Trace),
        ] {
            assert_eq!(level_of(pairs), level, "{pairs:?}");
        }
    }

    #[test]
    fn what_means_nothing_is_named_and_what_is_meant_for_others_is_not() {
        for (pairs, told) in [
            ("tcti+loud", "\"loud\" in \"tcti+loud\" is no level"),
            ("tcti+debug,all+", "\"\" in \"all+\" is no level"),
            ("debug", "\"debug\" is no pair of a module and a level"),
            (
                "tcti=debug",
                "\"tcti=debug\" is no pair of a module and a level",
            ),
        ] {
            assert_eq!(mistake(pairs).as_deref(), Some(told), "{pairs:?}");
        }
        for pairs in ["", "tcti+debug", "ALL+None, tcti+Trace,", "esys+loud"] {
            assert_eq!(mistake(pairs), None, "{pairs:?}");
        }
    }
}
