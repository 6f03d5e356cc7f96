// SPDX-License-Identifier: BSD-2-Clause
//! The layer pcap and tpm2-tss's own `pcap` record the same commands. Their packets are
//! equal, except for the time and for addresses and sequence numbers, which are random.

use std::fs;

use rusttcti_kit::commands::get_random;
use rusttcti_kit::module::program;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tshark;

/// A pcapng file, cut up.
struct File {
    /// The section header and the interface description.
    head: Vec<u8>,
    packets: Vec<Block>,
}

/// An enhanced packet block.
struct Block {
    time: u64,
    bytes: Vec<u8>,
}

const PACKET_BLOCK: u32 = 6;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl File {
    fn read(path: &std::path::Path) -> Self {
        let bytes = fs::read(path).expect("a recording");
        let (mut head, mut packets) = (Vec::new(), Vec::new());
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (block, after) = rest.split_at(word(rest, 4) as usize);
            rest = after;
            if word(block, 0) != PACKET_BLOCK {
                assert!(packets.is_empty(), "one section");
                head.extend_from_slice(block);
                continue;
            }
            let time = u64::from(word(block, 12)) << 32 | u64::from(word(block, 16));
            let mut bytes = block.to_vec();
            // The time; then, in the packet at 28, both addresses, and both
            // sequence numbers behind the ports.
            for random in [12..20, 28 + 12..28 + 20, 28 + 24..28 + 32] {
                bytes[random].fill(0);
            }
            packets.push(Block { time, bytes });
        }
        Self { head, packets }
    }
}

#[test]
fn the_recording_is_tpm2_tss_s_but_for_what_is_random() {
    let swtpm = Swtpm::tcp();
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));

    // One process, one sequence of commands: ours records what theirs is given.
    let chain = format!(
        "rusttcti:pcap,file={}:libtss2-tcti-pcap.so.0:swtpm:{}",
        ours.display(),
        swtpm.conf()
    );
    for command in [
        &["tpm2_getcap", "properties-fixed"][..],
        &["tpm2_createprimary", "-C", "n", "-G", "ecc"],
        &["tpm2_pcrread", "sha256:0,1,2"],
    ] {
        for file in [&ours, &theirs] {
            let _ = fs::remove_file(file);
        }
        let output = program(command[0])
            .args(&command[1..])
            .args(["-T", &chain])
            .env("TCTI_PCAP_FILE", &theirs)
            .current_dir(folder.path())
            .output()
            .expect("tpm2-tools run");
        assert!(output.status.success(), "{output:?}");

        let [ours_read, theirs_read] = [&ours, &theirs].map(|path| File::read(path));
        assert_eq!(ours_read.head, theirs_read.head);
        assert_eq!(ours_read.packets.len(), theirs_read.packets.len());
        assert!(ours_read.packets.len() >= 2, "{command:?}");
        for (a, b) in ours_read.packets.iter().zip(&theirs_read.packets) {
            assert_eq!(a.bytes, b.bytes, "{command:?}");
            assert!(
                a.time.abs_diff(b.time) < 5_000_000,
                "within seconds, in microseconds"
            );
        }

        let [ours_shown, theirs_shown] = [&ours, &theirs].map(|path| tshark::read(path));
        for (a, b) in ours_shown.iter().zip(&theirs_shown) {
            assert_eq!(a.info, b.info);
            assert_eq!(a.payload, b.payload);
        }
    }
}

#[test]
fn sequence_numbers_go_on_as_tcp_s_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tpm.pcapng");
    let mut recorded =
        rusttcti::layer::pcap::Pcap::new(rusttcti_kit::scripted::Scripted::default(), &path)
            .expect("a layer");
    let mut response = [0; 4096];
    for _ in 0..2 {
        use rusttcti::Tcti;
        recorded.transmit(&get_random(16)).expect("sent");
        recorded.receive(&mut response, None).expect("received");
    }
    let bytes = fs::read(&path).unwrap();
    let mut sequences = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if word(&bytes, at) == PACKET_BLOCK {
            let tcp = at + 28 + 20;
            let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            sequences.push((number(tcp + 4), number(tcp + 8)));
        }
        at += word(&bytes, at + 4) as usize;
    }
    let (host, tpm) = sequences[0];
    assert_eq!(
        sequences,
        [
            (host, tpm),
            (tpm, host.wrapping_add(12)),
            (host.wrapping_add(12), tpm.wrapping_add(28)),
            (tpm.wrapping_add(28), host.wrapping_add(24)),
        ]
    );
}
