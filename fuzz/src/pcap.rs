// SPDX-License-Identifier: BSD-2-Clause
//! The layer pcap: any commands and responses, which are then read from the recording.

#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex};

use pcap_file::pcapng::{Block, PcapNgReader};
use rusttcti::Tcti;
use rusttcti::layer::pcap::Pcap;
use rusttcti_kit::scripted::{Scripted, put};
use tempfile::TempDir;

use crate::input::Input;

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

pub(crate) fn run(input: &[u8]) {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| TempDir::new().expect("a folder"));
        record(&folder.path().join("tpm.pcapng"), &mut Input::new(input));
    });
}

fn record(path: &std::path::Path, input: &mut Input<'_>) {
    let next = Arc::new(Mutex::new(VecDeque::<Vec<u8>>::new()));
    let responses = next.clone();
    let inner = Scripted {
        receive: Box::new(move |place, _| {
            let response = responses.lock().expect("no panic").pop_front();
            put(place, &response.unwrap_or_default())
        }),
        ..Scripted::default()
    };
    let mut pcap = Pcap::new(inner, path).expect("a file");
    let mut recorded = Vec::new();
    for _ in 0..16 {
        if input.is_empty() {
            break;
        }
        let more = match input.byte() {
            // More than a packet holds.
            255 => usize::from(input.byte()) << 10,
            _ => 0,
        };
        let mut command = input.string().to_vec();
        command.resize(command.len() + more, 0x5e);
        pcap.transmit(&command).expect("it takes all");
        recorded.push((true, command));
        let response = input.string().to_vec();
        next.lock().expect("no panic").push_back(response.clone());
        let got = pcap.receive(&mut [0; 4096], None).expect("a response");
        assert_eq!(got, response.len());
        recorded.push((false, response));
    }
    pcap.finalize().expect("no failure");
    let bytes = fs::read(path).expect("the recording");
    fs::remove_file(path).expect("the recording");
    compare(&bytes, &recorded);
}

/// What the recording says must be what went through, packet by packet.
fn compare(bytes: &[u8], recorded: &[(bool, Vec<u8>)]) {
    let mut reader = PcapNgReader::new(bytes).expect("a pcapng file");
    let mut expected = recorded
        .iter()
        .flat_map(|(to_tpm, payload)| payload.chunks(65535 - 40).map(move |part| (*to_tpm, part)));
    let (mut there, mut back) = (None::<u32>, None::<u32>);
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.expect("a block") else {
            continue;
        };
        let data = &packet.data;
        assert_eq!(packet.original_len as usize, data.len());
        assert_eq!(
            usize::from(u16::from_be_bytes([data[2], data[3]])),
            data.len()
        );
        let (to_tpm, payload) = expected.next().expect("no packet more than there were");
        let port = u16::from_be_bytes([data[22], data[23]]);
        assert_eq!(port == 2321, to_tpm, "the direction");
        assert_eq!(data[40..], *payload);
        let sequence = data[24..28].try_into().map(u32::from_be_bytes);
        let sequence = sequence.expect("four bytes");
        let last = if to_tpm { &mut there } else { &mut back };
        if let Some(last) = *last {
            assert_eq!(sequence, last, "the sequence number");
        }
        *last = Some(sequence.wrapping_add(payload.len() as u32));
    }
    assert_eq!(expected.next(), None, "a packet is missing");
}
