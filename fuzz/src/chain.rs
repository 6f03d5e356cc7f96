// SPDX-License-Identifier: BSD-2-Clause
//! Chains, with the options of layers and the CONF of transports, and TSS2_LOG:
//! read by the parsers, and never opened.

#![forbid(unsafe_code)]

use rusttcti::fuzzing::{Chain, chain, log_level};
use rusttcti::{ErrorKind, Result};

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
            let read = chain(&text);
            look(&text, &read);
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
    let mut files = chain.layers.iter().flatten();
    assert!(files.all(|file| !file.is_empty()), "{text:?}");
    if let Some((name, conf)) = &chain.transport {
        assert!(!name.is_empty() && !name.contains(':'), "{text:?}");
        let tail = match conf {
            Some(conf) => format!("{name}:{conf}"),
            None => name.clone(),
        };
        assert!(text.ends_with(&tail), "{text:?}: CONF is not verbatim");
        if chain.layers.is_empty() {
            assert_eq!(*text, tail);
        }
    }
    if let Some(place) = &chain.place {
        assert!((1..=65534).contains(&place.port), "{text:?}");
        assert!(!place.host.is_empty(), "{text:?}");
        assert_ne!(place.path.as_deref(), Some(""), "{text:?}");
    }
}

/// A chain is made of what it shall say, and must say that.
fn spelt(input: &mut Input<'_>) {
    let mut files = Vec::new();
    let mut text = String::new();
    for _ in 0..input.byte() & 3 {
        let file = String::from_utf8_lossy(input.string()).into_owned();
        text.push_str("pcap,file=");
        for letter in file.chars() {
            if matches!(letter, ',' | ':' | '\\') {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push(':');
        files.push(file);
    }
    let name = ["null", "swtpm", "mssim", "cmd", "libtpms", "device"];
    let name = name[usize::from(input.byte()) % name.len()];
    let pairs = input.byte();
    text.push_str(name);
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
    text.push(':');
    text.push_str(&conf);
    let read = chain(&text);
    look(&text, &read);
    if files.iter().any(String::is_empty) {
        assert!(read.is_err(), "{text:?}: file= names no file");
        return;
    }
    let read = read.unwrap_or_else(|error| panic!("{text:?} is a chain: {error:?}"));
    let files: Vec<_> = files.into_iter().map(|file| Some(file.into())).collect();
    assert_eq!(read.layers, files, "{text:?}");
    assert_eq!(read.transport, Some((name.to_owned(), Some(conf))));
    if let Some(place) = read.place {
        assert_eq!((place.host, place.port, place.path), (host, port, path));
    }
}

fn log(text: &str) {
    let level = log_level(text);
    assert!(LEVELS.contains(&level), "{text:?}: {level}");
    assert_eq!(log_level(&text.to_ascii_uppercase()), level, "{text:?}");
    // What comes last counts, and other modules' levels are no matter.
    assert_eq!(log_level(&format!("{text},tcti+error")), 2, "{text:?}");
    assert_eq!(log_level(&format!("{text},esys+trace")), level, "{text:?}");
}
