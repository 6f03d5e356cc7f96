// SPDX-License-Identifier: BSD-2-Clause
//! Parses `key=value` strings, as tpm2-tss's transports and our layers take them.

#![forbid(unsafe_code)]

use crate::{Error, ErrorKind, Result};

/// Returns the pairs of `key=value,key=value` (tpm2-tss's syntax: no escapes), in
/// order. An empty string has none.
///
/// # Errors
/// [`ErrorKind::BadValue`] if a pair has no `=` or no key.
pub(crate) fn pairs(conf: &str) -> Result<Vec<(&str, &str)>> {
    conf.split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() && !key.contains(':') => Ok((key, value)),
            _ => Err(no_pair(pair, conf)),
        })
        .collect()
}

/// Returns the error for what is no pair, with the pairs that were probably meant.
fn no_pair(pair: &str, conf: &str) -> Error {
    let remedy = match meant(pair) {
        Some(meant) => format!("write {meant}"),
        None => "as in port=2321".to_owned(),
    };
    Error::new(
        ErrorKind::BadValue,
        format!(
            "\"{pair}\" in the configuration \"{conf}\" is not of the form key=value ({remedy})"
        ),
    )
}

/// Returns the pairs that an address in another syntax was probably meant as:
/// `HOST:PORT`, `HOST:port=PORT`, a port or a path alone.
fn meant(pair: &str) -> Option<String> {
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    if is_port(pair) {
        return Some(format!("port={pair}"));
    }
    if pair.starts_with(['/', '.']) {
        return Some(format!("path={pair}"));
    }
    let (host, port) = pair.rsplit_once(':')?;
    let port = port.strip_prefix("port=").unwrap_or(port);
    (!host.is_empty() && is_port(port)).then(|| format!("host={host},port={port}"))
}

/// Returns the error for a key that `owner` does not have.
pub(crate) fn unknown_key(owner: &str, key: &str, allowed: &[&str]) -> Error {
    let allowed = if allowed.is_empty() {
        "none".to_owned()
    } else {
        allowed.join(", ")
    };
    Error::new(
        ErrorKind::BadValue,
        format!("{owner} has no option \"{key}\" (its options: {allowed})"),
    )
}

/// Returns the error for a value that `key` of `owner` cannot have.
pub(crate) fn bad_value(owner: &str, key: &str, value: &str, allowed: &str) -> Error {
    Error::new(
        ErrorKind::BadValue,
        format!("{owner}: {key}=\"{value}\" is not allowed ({key} is {allowed})"),
    )
}

/// Parses the TCP port of a peer's first channel: 1 to 65534. The second channel has the
/// next one.
pub(crate) fn port(owner: &str, value: &str) -> Result<u16> {
    match value.parse() {
        Ok(port) if (1..u16::MAX).contains(&port) => Ok(port),
        _ => Err(bad_value(owner, "port", value, "a number from 1 to 65534")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mistake_names_the_pair_the_whole_and_the_remedy() {
        let error = pairs("port=1,path").expect_err("no value");
        assert_eq!(error.kind(), ErrorKind::BadValue);
        let text = error.to_string();
        assert!(
            text.contains("\"path\"") && text.contains("\"port=1,path\""),
            "{text}"
        );
        assert!(text.contains("port=2321"), "{text}");
        for (conf, remedy) in [
            ("localhost:2321", "(write host=localhost,port=2321)"),
            ("localhost:port=2321", "(write host=localhost,port=2321)"),
            ("::1:2321", "(write host=::1,port=2321)"),
            ("2321", "(write port=2321)"),
            ("/run/tpm.sock", "(write path=/run/tpm.sock)"),
            ("localhost", "(as in port=2321)"),
        ] {
            let text = pairs(conf).expect_err(conf).to_string();
            assert!(text.ends_with(remedy), "{text}");
        }

        let text = unknown_key("swtpm", "prot", &["host", "port"]).to_string();
        assert_eq!(
            text,
            "swtpm has no option \"prot\" (its options: host, port)"
        );
        let text = port("swtpm", "0").expect_err("no port").to_string();
        assert_eq!(
            text,
            "swtpm: port=\"0\" is not allowed (port is a number from 1 to 65534)"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_as_pairs_is_read_as_pairs(
            written in prop::collection::vec(("[^=,:]+", "[^,]*"), 0..6),
        ) {
            let conf: Vec<_> =
                written.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let conf = conf.join(",");
            let read = pairs(&conf).expect("pairs");
            prop_assert_eq!(read.len(), written.len());
            for ((key, value), (read_key, read_value)) in written.iter().zip(read) {
                prop_assert_eq!((key.as_str(), value.as_str()), (read_key, read_value));
            }
        }

        #[test]
        fn any_text_is_pairs_or_a_bad_value(conf in any::<String>()) {
            match pairs(&conf) {
                Ok(pairs) => prop_assert!(pairs.iter().all(|(key, _)| !key.is_empty())),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::BadValue),
            }
        }

        #[test]
        fn a_port_is_a_number_from_1_to_65534(text in "[0-9]{1,6}|.*") {
            let number = text.parse::<u32>().ok().filter(|number| (1..=65534).contains(number));
            prop_assert_eq!(port("it", &text).ok().map(u32::from), number);
        }
    }
}
