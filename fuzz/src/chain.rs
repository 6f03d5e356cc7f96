// SPDX-License-Identifier: BSD-2-Clause
//! Parsers of chains, of the options of layers, of the CONF of transports, and of
//! TSS2_LOG. Nothing is opened.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};

use rusttcti::fuzzing::log_level;
use rusttcti::transport::{mssim, swtpm};
use rusttcti::{Chain, Chains, ErrorKind, Options, Result, Tcti};

use crate::input::Input;

const LEVELS: [u8; 6] = [0, 2, 3, 4, 5, 6];

pub(crate) fn run(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    match kind {
        b'L' => log(&String::from_utf8_lossy(bytes)),
        b'S' => spelt(&mut Input::new(bytes)),
        _ => {
            let text = String::from_utf8_lossy(input);
            look(&text, &text.parse());
        }
    }
}

/// What must be true of any chain that was read.
fn look(text: &str, read: &Result<Chain>) {
    let chain = match read {
        Ok(chain) => chain,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::BadValue, "{text:?}: {error:?}");
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(chain.to_string(), text);
    let Some(name) = chain.transport() else {
        assert_eq!(chain.conf(), None, "{text:?}");
        return;
    };
    assert!(!name.is_empty() && !name.contains(':'), "{text:?}");
    let tail = match chain.conf() {
        // A C module's options, and what stands behind them.
        Some(conf) if text.ends_with(&format!("{name}{conf}")) && conf.starts_with(',') => {
            format!("{name}{conf}")
        }
        Some(conf) => format!("{name}:{conf}"),
        None => name.to_owned(),
    };
    assert!(text.ends_with(&tail), "{text:?}: CONF is not verbatim");
    if chain.layers().next().is_none() {
        assert_eq!(*text, tail);
    }
    if let Some((host, port, path)) = address(chain) {
        assert!((1..=65534).contains(&port), "{text:?}");
        assert!(!host.is_empty(), "{text:?}");
        assert_ne!(path.as_deref(), Some(""), "{text:?}");
    }
}

/// The host, port and path of a chain to a socket.
fn address(chain: &Chain) -> Option<(String, u16, Option<String>)> {
    let conf = chain.conf().unwrap_or_default();
    let address = match chain.transport() {
        Some("swtpm") => conf.parse::<swtpm::Config>().map(|read| read.address),
        Some("mssim") => conf.parse::<mssim::Config>().map(|read| read.address),
        _ => return None,
    };
    let address = address.expect("a CONF that the chain was read with");
    Some((address.host, address.port, address.path))
}

/// A chain is made of what it shall say, and must say that.
fn spelt(input: &mut Input<'_>) {
    let mut files = Vec::new();
    for _ in 0..input.byte() & 3 {
        files.push(String::from_utf8_lossy(input.string()).into_owned());
    }
    let name = ["null", "swtpm", "mssim", "cmd", "libtpms", "device"];
    let name = name[usize::from(input.byte()) % name.len()];
    let pairs = input.byte();
    let (mut host, mut port, mut path) = ("localhost".to_owned(), 2321, None);
    let mut conf = String::new();
    for _ in 0..pairs & 3 {
        let value = String::from_utf8_lossy(input.string()).replace([',', '='], ".");
        match input.byte() % 3 {
            0 => {
                host = format!("h{value}");
                path = None;
                conf.push_str(&format!("host={host},"));
            }
            1 => {
                port = 1 + (value.len() % 255) as u16 * 256;
                conf.push_str(&format!("port={port},"));
            }
            _ => {
                conf.push_str(&format!("path=p{value},"));
                path = Some(format!("p{value}"));
            }
        }
    }
    let text = format!("{}{name}:{conf}", layers("pcap", &files));
    let read = text.parse();
    look(&text, &read);
    if files.iter().any(String::is_empty) {
        assert!(read.is_err(), "{text:?}: file= names no file");
        return;
    }
    if name == "cmd" && conf.is_empty() {
        assert!(read.is_err(), "{text:?}: no command line");
        return;
    }
    let read = read.unwrap_or_else(|error| panic!("{text:?} is a chain: {error:?}"));
    assert_eq!(read.layers().count(), files.len(), "{text:?}");
    assert_eq!(read.transport(), Some(name));
    assert_eq!(read.conf(), Some(&*conf));
    if let Some(address) = address(&read) {
        assert_eq!(address, (host, port, path), "{text:?}");
    }
    assert_eq!(taken(&files), files);
}

/// The chain's text of so many layers `name`, with these files.
fn layers(name: &str, files: &[String]) -> String {
    let mut text = String::new();
    for file in files {
        text.push_str(name);
        text.push_str(",file=");
        for letter in file.chars() {
            if matches!(letter, ',' | ':' | '\\') {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push(':');
    }
    text
}

/// The files that layers of a program's own are given, from the outermost inwards.
fn taken(files: &[String]) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let chains = Chains::new().layer("see", move |options: &mut Options, below: Box<dyn Tcti>| {
        let file = options.take("file").expect("a file");
        sees.lock().expect("a list").insert(0, file);
        Ok(below)
    });
    let text = layers("see", files) + "null";
    chains.open(&text).expect("a chain to open");
    std::mem::take(&mut *seen.lock().expect("a list"))
}

fn log(text: &str) {
    let level = log_level(text);
    assert!(LEVELS.contains(&level), "{text:?}: {level}");
    assert_eq!(log_level(&text.to_ascii_uppercase()), level, "{text:?}");
    // What comes last counts, and other modules' levels are no matter.
    assert_eq!(log_level(&format!("{text},tcti+error")), 2, "{text:?}");
    assert_eq!(log_level(&format!("{text},esys+trace")), level, "{text:?}");
}
