// SPDX-License-Identifier: BSD-2-Clause
//! The commands and responses in a pcapng recording, as the layer `pcap` and
//! tpm2-tss's own `pcap` make it.
//!
//! Each command or response is one or more TCP segments over IPv4, to port 2321 (a
//! command) or from it (a response). Each context has its own addresses, and is a
//! conversation here. A capture of an swtpm's port by tcpdump can be read too. These
//! blocks of pcapng are read; all others are skipped:
//!
//! ```text
//! each block:        u32 kind   u32 size   body   u32 size
//! section header:    u32 0x1a2b3c4d, in the byte order of all numbers that follow
//! interface:         u16 link type
//! enhanced packet:   u32 interface   u32 time, high   u32 time, low   u32 captured   u32 original   bytes
//! ```

#![forbid(unsafe_code)]

use std::time::Duration;

use super::header::Header;
use crate::{Error, ErrorKind, Result};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// The link type of Ethernet, whose frames have 14 bytes before IPv4.
const ETHERNET: u16 = 1;
/// The TPM's TCP port, by which its traffic is known.
const TPM_PORT: u16 = 2321;

/// A command or a response in a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The number of its conversation, from 0, in the order in which they begin. A
    /// conversation belongs to one context.
    pub conversation: usize,
    /// Whether it is a command.
    pub is_command: bool,
    /// The time since 1970 at which it was recorded, for recordings in
    /// microseconds, as both layers make them.
    pub time: Duration,
    /// Its bytes: as many as the size in its header.
    pub bytes: Vec<u8>,
}

/// Reads a recording, and returns its commands and responses in order. A block that
/// is cut short at the end of the file, as by a crash, is left out.
///
/// ```
/// use rusttcti::wire::recording;
///
/// let error = recording::messages(b"GIF89a").expect_err("a picture");
/// assert!(error.to_string().contains("not a pcapng recording"));
/// ```
///
/// # Errors
/// [`ErrorKind::BadValue`] for bytes that are no pcapng recording, or hold what is
/// no command or response.
pub fn messages(file: &[u8]) -> Result<Vec<Message>> {
    if file.get(..4) != Some(&SECTION.to_be_bytes()) {
        return Err(no_recording(file));
    }
    let mut reader = Reader::default();
    let mut rest = file;
    while let Some(block) = reader.block(rest)? {
        match block.kind {
            INTERFACE => reader
                .links
                .push(reader.u16(block.body, 0).unwrap_or_default()),
            PACKET => reader.packet(block.body, file.len() - rest.len())?,
            _ => {}
        }
        rest = block.after;
    }
    Ok(reader.messages)
}

fn no_recording(file: &[u8]) -> Error {
    let is_pcap = matches!(
        file,
        [0xd4, 0xc3, 0xb2, 0xa1, ..] | [0xa1, 0xb2, 0xc3, 0xd4, ..]
    );
    let remedy = match is_pcap {
        true => "it is in the older format pcap: `editcap -F pcapng OLD NEW` converts it",
        false => "the layer pcap makes one",
    };
    bad(format!("it is not a pcapng recording ({remedy})"))
}

fn bad(text: String) -> Error {
    Error::new(ErrorKind::BadValue, text)
}

/// The state of reading a recording.
#[derive(Default)]
struct Reader {
    big_endian: bool,
    /// The link types of the section's interfaces.
    links: Vec<u16>,
    conversations: Vec<Conversation>,
    messages: Vec<Message>,
}

/// A block, and the bytes behind it.
struct Block<'a> {
    kind: u32,
    body: &'a [u8],
    after: &'a [u8],
}

/// A context, known by its addresses, and the beginning of its next command and
/// of its next response.
struct Conversation {
    ends: [[u8; 6]; 2],
    partial: [Vec<u8>; 2],
}

impl Reader {
    fn u16(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(match self.big_endian {
            true => u16::from_be_bytes(bytes),
            false => u16::from_le_bytes(bytes),
        })
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(match self.big_endian {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        })
    }

    /// Returns the next block; `None` at the end.
    fn block<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Block<'a>>> {
        // A section header's type reads alike in both byte orders.
        if bytes.get(..4) == Some(&SECTION.to_be_bytes()) {
            let Some(order) = bytes.get(8..12) else {
                return Ok(None);
            };
            self.big_endian = order == BYTE_ORDER.to_be_bytes();
            if !self.big_endian && order != BYTE_ORDER.to_le_bytes() {
                return Err(bad("a section of it has no byte order".to_owned()));
            }
            self.links.clear();
        }
        let (Some(kind), Some(size)) = (self.u32(bytes, 0), self.u32(bytes, 4)) else {
            return Ok(None);
        };
        let size = size as usize;
        if size < 12 {
            return Err(bad(format!("a block of it claims {size} bytes")));
        }
        let Some((block, after)) = bytes.split_at_checked(size) else {
            return Ok(None);
        };
        let body = &block[8..size - 4];
        Ok(Some(Block { kind, body, after }))
    }

    fn packet(&mut self, body: &[u8], offset: usize) -> Result<()> {
        let number = |at| self.u32(body, at);
        let (Some(interface), Some(high), Some(low), Some(length)) =
            (number(0), number(4), number(8), number(12))
        else {
            return Err(bad(format!("the packet at byte {offset} is cut short")));
        };
        let bytes = body.get(20..).and_then(|rest| rest.get(..length as usize));
        let Some(bytes) = bytes else {
            return Err(bad(format!("the packet at byte {offset} is cut short")));
        };
        let skipped = match self.links.get(interface as usize) {
            Some(&ETHERNET) => 14,
            _ => 0,
        };
        let time = Duration::from_micros(u64::from(high) << 32 | u64::from(low));
        match bytes.get(skipped..).and_then(Segment::parse) {
            Some(segment) => self.segment(segment, time, offset),
            None => Ok(()),
        }
    }

    fn segment(&mut self, segment: Segment<'_>, time: Duration, offset: usize) -> Result<()> {
        let side = usize::from(!segment.is_command);
        let known = self.conversations.iter().position(|conversation| {
            conversation.ends == segment.ends || {
                let [one, other] = segment.ends;
                conversation.ends == [other, one]
            }
        });
        let conversation = known.unwrap_or(self.conversations.len());
        if known.is_none() {
            self.conversations.push(Conversation {
                ends: segment.ends,
                partial: Default::default(),
            });
        }
        let partial = &mut self.conversations[conversation].partial[side];
        partial.extend_from_slice(segment.payload);
        while let Some(header) = Header::parse(partial) {
            let size = header.size as usize;
            if size < Header::SIZE {
                return Err(bad(format!(
                    "the packet at byte {offset} holds no TPM command or response"
                )));
            }
            if partial.len() < size {
                break;
            }
            let rest = partial.split_off(size);
            self.messages.push(Message {
                conversation,
                is_command: segment.is_command,
                time,
                bytes: std::mem::replace(partial, rest),
            });
        }
        Ok(())
    }
}

/// A TCP segment over IPv4 to or from the TPM.
struct Segment<'a> {
    is_command: bool,
    /// Address and port of the sender, and those of the receiver.
    ends: [[u8; 6]; 2],
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Returns `None` for any other packet.
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let head = packet.first_chunk::<20>()?;
        let (words, protocol) = (usize::from(head[0] & 0xf), head[9]);
        if head[0] >> 4 != 4 || words < 5 || protocol != 6 {
            return None;
        }
        let size = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let tcp = packet.get(4 * words..size.min(packet.len()))?;
        let tcp_head = tcp.first_chunk::<20>()?;
        let end = |address: usize, port: usize| {
            let mut end = [0; 6];
            end[..4].copy_from_slice(&head[address..address + 4]);
            end[4..].copy_from_slice(&tcp_head[port..port + 2]);
            end
        };
        let ends = [end(12, 0), end(16, 2)];
        let [from, to] = ends.map(|end| u16::from_be_bytes([end[4], end[5]]));
        let payload = tcp.get(4 * usize::from(tcp_head[12] >> 4)..)?;
        (from == TPM_PORT || to == TPM_PORT).then_some(Self {
            is_command: to == TPM_PORT,
            ends,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Makes a block, in big-endian byte order if `big` is set.
    fn block(kind: u32, body: &[u8], big: bool) -> Vec<u8> {
        let size = 12 + body.len() as u32;
        let number = |value: u32| match big {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        };
        [&number(kind)[..], &number(size), body, &number(size)].concat()
    }

    fn section(big: bool) -> Vec<u8> {
        let number = |value: u32| match big {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        };
        let header = [&number(BYTE_ORDER)[..], &[0; 12]].concat();
        [
            block(SECTION, &header, big),
            block(INTERFACE, &[228, 0, 0, 0, 0, 0, 0, 0], big),
        ]
        .concat()
    }

    fn packet(from: (u8, u16), to: (u8, u16), payload: &[u8], big: bool) -> Vec<u8> {
        let size = (40 + payload.len()) as u16;
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0];
        bytes[2..4].copy_from_slice(&size.to_be_bytes());
        bytes.extend([from.0; 4]);
        bytes.extend([to.0; 4]);
        bytes.extend(from.1.to_be_bytes());
        bytes.extend(to.1.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        bytes.extend(payload);
        let number = |value: u32| match big {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        };
        let length = number(bytes.len() as u32);
        let head = [&[0; 4][..], &number(0), &number(7), &length, &length].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        block(PACKET, &[head, bytes].concat(), big)
    }

    const COMMAND: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8];
    const RESPONSE: [u8; 10] = [0x80, 1, 0, 0, 0, 10, 0, 0, 9, 0x22];

    #[test]
    fn commands_and_responses_of_two_contexts_are_told_apart_in_either_byte_order() {
        for big in [false, true] {
            let file = [
                section(big),
                packet((1, 50000), (2, TPM_PORT), &COMMAND[..7], big),
                packet((3, 50000), (4, TPM_PORT), &COMMAND, big),
                packet((1, 50000), (2, TPM_PORT), &COMMAND[7..], big),
                packet((2, TPM_PORT), (1, 50000), &RESPONSE, big),
                packet((9, 80), (8, 81), b"else", big),
            ]
            .concat();
            let read: Vec<_> = messages(&file)
                .expect("a recording")
                .into_iter()
                .map(|message| (message.conversation, message.is_command, message.bytes))
                .collect();
            let expected = [
                (1, true, COMMAND.to_vec()),
                (0, true, COMMAND.to_vec()),
                (0, false, RESPONSE.to_vec()),
            ];
            assert_eq!(read, expected);
            // A crash cuts the last block.
            let cut = &file[..file.len() - 90];
            assert_eq!(messages(cut).expect("a recording").len(), 2);
        }
    }

    #[test]
    fn what_is_no_recording_is_refused_with_a_remedy() {
        let told = |bytes: &[u8]| messages(bytes).expect_err("refused").to_string();
        assert!(told(b"").contains("the layer pcap makes one"));
        assert!(told(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0]).contains("editcap"));
        let nonsense = packet((1, 5), (2, TPM_PORT), &[0; 12], false);
        let file = [section(false), nonsense].concat();
        assert!(told(&file).contains("no TPM command"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = messages(&bytes);
            let _ = messages(&[section(false), bytes.clone()].concat());
            let _ = messages(&[section(false), block(PACKET, &bytes, false)].concat());
            let file = [section(true), packet((1, 5), (2, TPM_PORT), &bytes, true)].concat();
            let _ = messages(&file);
        }
    }
}
