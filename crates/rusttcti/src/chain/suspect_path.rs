// SPDX-License-Identifier: BSD-2-Clause
//! Warns of a new state file whose name is probably a mistake in the chain.

#![forbid(unsafe_code)]

use std::path::Path;

use super::lists::{LAYERS, TRANSPORTS, find};
use crate::Result;
use crate::sys::log;

/// Opens the transport of this name by `open`, and warns if that made a state file
/// whose name is probably a mistake.
pub(crate) fn opened_with_warning<T>(
    transport: &str,
    conf: Option<&str>,
    open: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let suspect = Suspect::of(transport, conf);
    let opened = open()?;
    if let Some(suspect) = suspect {
        suspect.warn();
    }
    Ok(opened)
}

/// A state file of `libtpms` with an odd name, which does not exist yet.
struct Suspect<'a> {
    name: &'a str,
    advice: String,
}

impl<'a> Suspect<'a> {
    /// Returns the state file that opening this transport may make by mistake.
    fn of(transport: &str, conf: Option<&'a str>) -> Option<Self> {
        let name = conf.filter(|name| transport == "libtpms" && !name.is_empty())?;
        let advice = advice(name)?;
        let exists = Path::new(name).symlink_metadata().is_ok();
        (!exists).then_some(Self { name, advice })
    }

    /// Logs a warning, if the file was made.
    fn warn(self) {
        if Path::new(self.name).exists() {
            log::warning!(
                "libtpms made a new state file with the name \"{}\": {}",
                self.name.escape_debug(),
                self.advice
            );
        }
    }
}

/// Returns the advice for a name that is probably a mistake; `None` for any other name.
fn advice(name: &str) -> Option<String> {
    if name.chars().any(char::is_control) {
        return Some("it contains a control character".to_owned());
    }
    let trimmed = name.trim();
    if trimmed != name {
        return Some(format!(
            "the space at its beginning or end is part of it (the name without is {trimmed}, in \
             a chain libtpms:{trimmed})"
        ));
    }
    if name.starts_with('~') {
        return Some(
            "only a shell replaces ~ by the home folder, and only at the beginning of a word \
             (write $HOME or the whole path)"
                .to_owned(),
        );
    }
    if let Some((key, value)) = name.split_once('=') {
        match key {
            "path" | "file" | "state" | "conf" => {
                return Some(format!(
                    "the path stands alone (write {value}, in a chain libtpms:{value})"
                ));
            }
            "host" | "port" => {
                return Some(format!(
                    "libtpms runs inside the program (an swtpm process at this address is \
                     swtpm:{name})"
                ));
            }
            _ => {}
        }
    }
    let first = &name[..name.find([',', ':']).unwrap_or(name.len())];
    if find(LAYERS, first).is_some() {
        return Some(format!(
            "layers stand before the transport (write rusttcti:{})",
            with_transport(name)
        ));
    }
    let is_chain = first.len() < name.len() && find(TRANSPORTS, first).is_some();
    is_chain.then(|| format!("a chain has one transport (write rusttcti:{name})"))
}

/// Returns the right chain for layers that stand after the transport.
fn with_transport(layers: &str) -> String {
    let parsed = layers.parse::<super::Chain>();
    match parsed {
        Ok(chain) if chain.transport().is_some() => layers.to_owned(),
        _ => format!("{}:libtpms", layers.trim_end_matches(':')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_name_is_answered_with_what_was_meant() {
        for (name, told) in [
            (
                "pcap,file=x:libtpms",
                "(write rusttcti:pcap,file=x:libtpms)",
            ),
            ("pcap,file=x", "(write rusttcti:pcap,file=x:libtpms)"),
            ("flush:", "(write rusttcti:flush:libtpms)"),
            ("swtpm:port=1", "(write rusttcti:swtpm:port=1)"),
            ("path=my.tpm", "(write my.tpm, in a chain libtpms:my.tpm)"),
            ("port=2321", "swtpm:port=2321"),
            ("my.tpm ", "(the name without is my.tpm, in"),
            (" my.tpm", "(the name without is my.tpm, in"),
            ("my.tpm\n", "control character"),
            ("~", "$HOME"),
        ] {
            let advice = advice(name).unwrap_or_default();
            assert!(advice.contains(told), "{name:?}: {advice}");
        }
        for usual in [
            "my.tpm",
            "/a b/c:d,e",
            "a=b",
            "./pcap,file=x",
            "swtpm",
            "x~",
        ] {
            assert_eq!(advice(usual), None, "{usual}");
        }
    }
}
