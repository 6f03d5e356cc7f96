// SPDX-License-Identifier: BSD-2-Clause
//! The help on chains: one line, for programs that ask the module, and the full text,
//! for a user that opens the chain `help`.

#![forbid(unsafe_code)]

use std::io::Write;

use super::lists::{Entry, LAYERS, TRANSPORTS};
use crate::config::setting::{Setting, Text};
use crate::sys::sigpipe;
use crate::{Error, ErrorKind};

/// The syntax of a chain (`TSS2_TCTI_INFO.config_help`).
#[doc(hidden)]
pub const HELP: &std::ffi::CStr = HELP_TEXT.as_c_str();

const HELP_TEXT: &Text = &Text::new("[LAYER[,KEY=VALUE...]:]... [TRANSPORT[:CONF]]; ")
    .and("without a transport, the system's TPM device. Transports and their CONF: ")
    .and_entries(TRANSPORTS)
    .and("; any C module's name: its own. Layers and their options: ")
    .and_entries(LAYERS)
    .and(".");

impl Text {
    const fn and_entries<Parse>(mut self, entries: &[Entry<Parse>]) -> Self {
        let mut at = 0;
        while at < entries.len() {
            let entry = &entries[at];
            self = self.and(if at > 0 { "; " } else { "" });
            self = self.and(entry.name).and(": ");
            self = match entry.settings {
                [] => self.and("no options"),
                settings => self.and_settings(settings),
            };
            at += 1;
        }
        self
    }
}

/// Prints every transport and layer with its options and defaults to standard
/// error, and returns the error that the chain `help` fails with.
pub(super) fn print() -> Error {
    let text = full();
    // A program's standard error may be closed, or a pipe without a reader.
    let _ = sigpipe::shielded(|| std::io::stderr().write_all(text.as_bytes()));
    Error::new(
        ErrorKind::BadValue,
        "\"help\" lists the transports and layers, and opens no TPM",
    )
}

/// Returns the help on all transports and layers.
fn full() -> String {
    let mut text = "A chain is [LAYER[,KEY=VALUE...]:]... [TRANSPORT[:CONF]]; without a \
                    transport it is the system's TPM device.\n\nTransports:\n"
        .to_owned();
    for entry in TRANSPORTS {
        let (separator, keys) = (":", entry.settings.iter().any(|s| !s.key.is_empty()));
        text += &heading(entry.name, separator, entry.settings, keys);
    }
    text += "  any C module's name, as in tabrmd:bus_type=session\n\nLayers:\n";
    for entry in LAYERS {
        text += &heading(entry.name, ",", entry.settings, true);
    }
    text + "\nThe manual page tss2-tcti-rusttcti(7) explains each.\n"
}

/// Formats a transport or layer with its settings, one line each.
fn heading(name: &str, separator: &str, settings: &[Setting], keys: bool) -> String {
    let mut text = match settings {
        [only] if !keys => format!("  {name}{separator}{}\n", only.value),
        _ => format!("  {name}\n"),
    };
    for setting in settings {
        let (key, value) = (setting.key, setting.value);
        let option = match (key, value) {
            ("", value) => value.to_owned(),
            (key, "") => key.to_owned(),
            (key, value) => format!("{key}={value}"),
        };
        text += &format!("    {option:<28}");
        text += match setting.text.split_once(". ") {
            Some((first, _)) => first,
            None => setting.text.trim_end_matches('.'),
        };
        if !setting.default.is_empty() {
            text += &format!(" (default: {})", setting.default);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_transport_layer_option_and_default() {
        let text = full();
        let entries = TRANSPORTS
            .iter()
            .map(|entry| (entry.name, entry.settings))
            .chain(LAYERS.iter().map(|entry| (entry.name, entry.settings)));
        for (name, settings) in entries {
            assert!(text.contains(&format!("\n  {name}")), "{name}");
            for setting in settings {
                assert!(
                    text.contains(setting.key) && text.contains(setting.value),
                    "{text}"
                );
                assert!(text.contains(setting.default), "{text}");
            }
        }
    }

    #[test]
    fn help_opens_nothing() {
        let error = crate::open("help").err().expect("no TPM");
        assert_eq!(error.kind(), ErrorKind::BadValue);
        assert!(crate::open("pcap:help").is_err());
    }
}
