// SPDX-License-Identifier: BSD-2-Clause
//! The effect of a fault on a command or its response.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::config::Options;
use crate::wire::{Header, ResponseCode};
use crate::{Error, ErrorKind, Result};

/// The message that the fault changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Command,
    Response,
}

/// The effect of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The response is this code alone.
    Rc(ResponseCode),
    /// The message comes this much later.
    Delay(Duration),
    /// The message never comes.
    Drop,
    /// This many bytes are missing at the message's end.
    Cut(usize),
    /// This bit is inverted, counted from the first byte's highest.
    Flip(usize),
    /// This many zeros follow the message.
    Grow(usize),
    /// The connection is lost.
    Close,
    /// The TPM loses its power.
    Reset,
}

/// A day, in milliseconds.
const LONGEST: u64 = 86_400_000;
/// More bytes than any message has.
const MOST: u64 = 65_536;

impl Effect {
    /// Reads the one that is given.
    pub(super) fn parse(options: &mut Options) -> Result<Self> {
        let mut found = Vec::new();
        if let Some(value) = options.take("rc") {
            let code = number(&value).ok_or_else(|| {
                options.bad_value("rc", &value, "a response code, such as 0x922 or 2338")
            })?;
            found.push(Self::Rc(ResponseCode(code)));
        }
        // A number above the limit is refused.
        let delay = options.take_number("delay", (1, LONGEST), 0)?;
        found.extend((delay > 0).then_some(Self::Delay(Duration::from_millis(delay))));
        found.extend(options.take_flag("drop").then_some(Self::Drop));
        let cut = options.take_number("cut", (1, MOST), 0)? as usize;
        found.extend((cut > 0).then_some(Self::Cut(cut)));
        let last = 8 * MOST - 1;
        let flip = options.take_number("flip", (0, last), u64::MAX)?;
        found.extend((flip <= last).then_some(Self::Flip(flip as usize)));
        let grow = options.take_number("grow", (1, MOST), 0)? as usize;
        found.extend((grow > 0).then_some(Self::Grow(grow)));
        found.extend(options.take_flag("close").then_some(Self::Close));
        found.extend(options.take_flag("reset").then_some(Self::Reset));
        match found[..] {
            [only] => Ok(only),
            _ => {
                // A key that is misspelt, or has no value, is reported first.
                options.take("side");
                options.finish()?;
                Err(Error::new(
                    ErrorKind::BadValue,
                    "the layer fault takes exactly one of rc=, delay=, drop, cut=, flip=, grow=, \
                     close and reset (to have several faults, put several of these layers in the \
                     chain)",
                ))
            }
        }
    }

    /// Changes the bytes of a command. Its header says how many there are then:
    /// transports carry whole commands.
    pub(super) fn change(self, command: &mut Vec<u8>) {
        match self {
            Self::Cut(count) => {
                let left = command.len().saturating_sub(count);
                command.truncate(left.max(Header::SIZE));
                resize(command);
            }
            Self::Grow(count) => {
                command.resize(command.len() + count, 0);
                resize(command);
            }
            Self::Flip(bit) => flip(command, bit),
            _ => {}
        }
    }
}

/// Inverts a bit, if the message has one of this number.
pub(super) fn flip(message: &mut [u8], bit: usize) {
    match message.get_mut(bit / 8) {
        Some(byte) => *byte ^= 0x80 >> (bit % 8),
        None => crate::sys::log::warning!(
            "fault: a message of {} bytes has no bit {bit}; it passes unchanged",
            message.len()
        ),
    }
}

/// Sets the header's size to the number of bytes.
fn resize(command: &mut [u8]) {
    let size = command.len() as u32;
    if let Some(field) = command.get_mut(2..6) {
        field.copy_from_slice(&size.to_be_bytes());
    }
}

/// Reads a decimal number, or a hexadecimal one after 0x.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rc(code) => write!(f, "rc={code}"),
            Self::Delay(time) => write!(f, "delay={}", time.as_millis()),
            Self::Drop => f.write_str("drop"),
            Self::Cut(count) => write!(f, "cut={count}"),
            Self::Flip(bit) => write!(f, "flip={bit}"),
            Self::Grow(count) => write!(f, "grow={count}"),
            Self::Close => f.write_str("close"),
            Self::Reset => f.write_str("reset"),
        }
    }
}

impl Side {
    /// Reads `side`.
    pub(super) fn parse(options: &mut Options) -> Result<Self> {
        match options.take("side").as_deref() {
            None | Some("response") => Ok(Self::Response),
            Some("command") => Ok(Self::Command),
            Some(other) => Err(options.bad_value("side", other, "command or response")),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "command",
            Self::Response => "response",
        })
    }
}
