// SPDX-License-Identifier: BSD-2-Clause
//! The format of a recording: TPM traffic as TCP segments over IPv4, in pcapng.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pcap_file::{DataLink, Endianness, PcapError};

use super::output::Output;
use crate::{Error, ErrorKind, Result};

/// The caller's TCP port, the one that tpm2-tss writes.
const HOST_PORT: u16 = 50000;
/// The TPM's TCP port, by which dissectors recognise TPM traffic.
const TPM_PORT: u16 = 2321;
/// The length of an IPv4 header without options and a TCP header without options.
const HEADERS: usize = 20 + 20;
/// The length that an IPv4 packet's 16-bit length field leaves for the payload.
const LARGEST_PAYLOAD: usize = u16::MAX as usize - HEADERS;

/// The direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// A command.
    ToTpm,
    /// A response.
    FromTpm,
}

/// One end of the conversation.
#[derive(Debug)]
struct End {
    address: [u8; 4],
    port: u16,
    /// The sequence number of the next byte it sends.
    sequence: u32,
}

impl End {
    fn new(port: u16) -> Self {
        // The standard library seeds it at random. That is enough to distinguish the
        // recordings of one file: these numbers are no secrets.
        let random = RandomState::new().hash_one(port).to_be_bytes();
        let [a, b, c, d, rest @ ..] = random;
        Self {
            address: [a, b, c, d],
            port,
            sequence: u32::from_be_bytes(rest),
        }
    }
}

/// One section of a pcapng file, with the state that its next packet needs.
pub(super) struct Frames {
    host: End,
    tpm: End,
    /// The writer that composes blocks in memory; they are written to the file from
    /// there.
    blocks: PcapNgWriter<Vec<u8>>,
    packet: Vec<u8>,
    output: Output,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames")
            .field("host", &self.host)
            .field("tpm", &self.tpm)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl Frames {
    /// Starts a section, with one interface.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn new(mut output: Output) -> Result<Self> {
        let blocks = section().map_err(|error| Error::new(ErrorKind::GeneralFailure, error))?;
        output.start(blocks.get_ref())?;
        Ok(Self {
            host: End::new(HOST_PORT),
            tpm: End::new(TPM_PORT),
            blocks,
            packet: Vec::new(),
            output,
        })
    }

    /// Records a command or a response, with the current time.
    pub(super) fn record(&mut self, direction: Direction, payload: &[u8]) {
        // A clock before 1970 or after 2554 is wrong anyway.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.blocks.get_mut().clear();
        for segment in payload.chunks(LARGEST_PAYLOAD) {
            self.compose(direction, segment);
            if let Err(error) = self.enclose(now) {
                crate::sys::log::warning!("pcap: a packet cannot be written: {error}");
                return;
            }
        }
        self.output.write(self.blocks.get_ref());
    }

    /// Makes `self.packet` an IPv4 packet of `payload`.
    fn compose(&mut self, direction: Direction, payload: &[u8]) {
        let (from, to) = match direction {
            Direction::ToTpm => (&mut self.host, &self.tpm),
            Direction::FromTpm => (&mut self.tpm, &self.host),
        };
        let size = (HEADERS + payload.len()) as u16;
        let packet = &mut self.packet;
        packet.clear();
        // IPv4: five words, no type of service, total length, identification 0, don't
        // fragment, time to live 255, TCP, no checksum.
        packet.extend([0x45, 0]);
        packet.extend(size.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 0xff, 6, 0, 0]);
        packet.extend(from.address);
        packet.extend(to.address);
        // TCP: five words, ACK, the largest window, no checksum, no urgent data.
        packet.extend(from.port.to_be_bytes());
        packet.extend(to.port.to_be_bytes());
        packet.extend(from.sequence.to_be_bytes());
        packet.extend(to.sequence.to_be_bytes());
        packet.extend([0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(payload);
        from.sequence = from.sequence.wrapping_add(payload.len() as u32);
    }

    /// Adds a block around `self.packet`.
    fn enclose(&mut self, now: Duration) -> std::result::Result<(), PcapError> {
        self.blocks.write_pcapng_block(EnhancedPacketBlock {
            interface_id: 0,
            timestamp: ticks(now),
            original_len: self.packet.len() as u32,
            data: Cow::Borrowed(&self.packet),
            options: Vec::new(),
        })?;
        Ok(())
    }
}

/// Writes the blocks at a section's head, as tpm2-tss writes them.
fn section() -> std::result::Result<PcapNgWriter<Vec<u8>>, PcapError> {
    let mut blocks = PcapNgWriter::with_endianness(Vec::new(), Endianness::native())?;
    // No limit to a packet's size, and no option: time is in microseconds, so other
    // programs that append to the file can continue this section.
    blocks.write_pcapng_block(InterfaceDescriptionBlock::new(DataLink::IPV4, 0))?;
    Ok(blocks)
}

/// Converts a point in time for pcap-file. Its writer takes the nanoseconds of a
/// `Duration` as the interface's units, whatever those are; ours are microseconds.
fn ticks(now: Duration) -> Duration {
    Duration::from_nanos(now.as_micros().try_into().unwrap_or(u64::MAX))
}
