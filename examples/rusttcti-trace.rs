// SPDX-License-Identifier: BSD-2-Clause
//! Prints a recording of the layer `pcap`, or of tpm2-tss's module, as text:
//!
//! ```sh
//! cargo run --example rusttcti-trace -- FILE.pcapng
//! ```
//!
//! `--verbose` gives each field a line; `--secrets` shows what is hidden otherwise.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use rusttcti::layer::trace::{Decoder, Style};
use rusttcti::wire::recording::{Message, messages};

const USAGE: &str = "usage: rusttcti-trace [--verbose] [--secrets] FILE.pcapng";

pub fn main() -> ExitCode {
    let mut style = Style::default();
    style.colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut files = Vec::new();
    for argument in std::env::args().skip(1) {
        match &*argument {
            "--verbose" => style.verbose = true,
            "--secrets" => style.secrets = true,
            option if option.starts_with('-') => {
                eprintln!("rusttcti-trace: there is no option \"{option}\"\n{USAGE}");
                return ExitCode::from(2);
            }
            _ => files.push(argument),
        }
    }
    let [file] = &files[..] else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("rusttcti-trace: cannot read \"{file}\": {error}");
            return ExitCode::FAILURE;
        }
    };
    match messages(&bytes) {
        Ok(messages) => print(&messages, style),
        Err(error) => {
            eprintln!("rusttcti-trace: \"{file}\": {}", error.report());
            ExitCode::FAILURE
        }
    }
}

/// Prints each command with its response. A context's lines begin with its number
/// where there are several.
fn print(messages: &[Message], style: Style) -> ExitCode {
    let several = messages.iter().any(|message| message.conversation > 0);
    let first = Decoder::new(style);
    let mut decoders: BTreeMap<usize, Decoder> = BTreeMap::new();
    let mut sent: BTreeMap<usize, &Message> = BTreeMap::new();
    let mut out = std::io::stdout().lock();
    for message in messages {
        let number = message.conversation;
        if message.is_command {
            sent.insert(number, message);
            continue;
        }
        let Some(command) = sent.remove(&number) else {
            continue; // a response whose command was not recorded
        };
        let decoder = decoders.entry(number).or_insert_with(|| first.beside());
        let took = message.time.checked_sub(command.time);
        let line = decoder.exchange(&command.bytes, &message.bytes, took);
        let prefix = if several {
            format!("{number}: ")
        } else {
            String::new()
        };
        if writeln!(out, "{prefix}{line}").is_err() {
            return ExitCode::FAILURE; // the reader is gone, as of `| head`
        }
    }
    for (number, command) in sent {
        let decoder = decoders.entry(number).or_insert_with(|| first.beside());
        let line = decoder.unanswered(&command.bytes);
        if writeln!(out, "{line}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
