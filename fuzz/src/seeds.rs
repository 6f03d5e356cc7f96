// SPDX-License-Identifier: BSD-2-Clause
//! The first inputs of the fuzzer: for each target, a few that reach much of the code.
//! They are the same each time.

#![forbid(unsafe_code)]

use rusttcti::wire::frame::{mssim, swtpm};
use rusttcti::wire::{
    Command, CommandBuilder, CommandCode, Handle, ResponseBuilder, ResponseCode, SessionAttributes,
};

/// The seeds of a target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "vtable" => vtable(),
        "libtpms" => libtpms(),
        "chain" => chain(),
        "swtpm_peer" | "mssim_peer" => sockets(),
        "cmd_peer" => cmd(),
        "state" => state(),
        "pcap" => pcap(),
        "elf" => elf(),
        "command" => commands(),
        "response" => responses(),
        "wrap" => wrap(),
        "rm" => rm(),
        "tis" => tis(),
        _ => Vec::new(),
    }
}

/// Chips that do as they should, with and without checksums, in bursts of 1 to 64.
fn tis() -> Vec<Vec<u8>> {
    let chip = |burst: u8, kind: u8| {
        // Sizes, then what each access does; the same again behind the end.
        let mut seed = vec![30, 200, burst];
        seed.extend([kind; 200]);
        seed
    };
    vec![chip(63, 2), chip(31, 31), chip(0, 12), chip(7, 33)]
}

fn wrap() -> Vec<Vec<u8>> {
    // A command: raw or not, which code, how many handles, authorizations and
    // parameters; then responses, each with what kind it is and what is flipped.
    vec![
        vec![0, 10, 0, 0x5c, 0, 0, 1, 6, 0, 0, 0, 7, 0, 0, 0],
        vec![1, 11, 1, 0x3f, 1, 1, 4, 5, 1, 0, 1, 9, 9, 9, 9, 5, 0, 0, 0],
        vec![
            0, 12, 1, 0x12, 1, 2, 8, 4, 1, 0, 1, 1, 1, 4, 0, 0x98, 0xe, 3, 0, 3, 0,
        ],
        vec![
            0, 13, 1, 0x57, 2, 0, 2, 4, 7, 4, 7, 5, 0, 0, 0, 3, 0, 3, 0, 5, 0, 0, 0,
        ],
    ]
}

/// For each mode: objects and sessions made, and used, by a TPM that tells the
/// truth.
fn rm() -> Vec<Vec<u8>> {
    let mode = |flags: u8| {
        let mut seed = vec![flags];
        // Opening takes bytes, too: a truthful TPM's.
        seed.extend_from_slice(&[0; 24]);
        for number in 0..60u8 {
            seed.extend_from_slice(&[number & 1, number % 13, number % 7, 0, 0, 0, 0, 0, 0, 0]);
        }
        seed
    };
    [0, 1, 2, 0x31].map(mode).to_vec()
}

fn vtable() -> Vec<Vec<u8>> {
    vec![
        // Three commands and their responses, as large as can be.
        vec![0, 0, 0, 5, 0, 5, 0, 5],
        // A buffer that is too small, and then one that is not.
        vec![
            0, 1, 0, 40, 0, 8, 1, 12, 0, 0, 0, 0, 0, 8, 1, 64, 0, 0, 0, 0, 0,
        ],
        // A failure, a panic, lies; localities, handles, the sticky bit.
        vec![
            8, 6, 3, 8, 6, 4, 12, 5, 0, 2, 7, 0, 99, 0, 0, 0, 5, 0, 5, 9, 10, 3, 10, 7, 11, 1, 1,
            0, 11, 0, 0, 12, 1, 0x80, 0, 0, 1, 1, 14, 3, 15, 1, 0, 0, 0, 0, 0, 0, 0, 1, 13, 0,
        ],
        // Commands with mistakes.
        vec![28, 0, 4, 0, 4, 1, 9, 4, 2, 0, 0, 0, 13, 4, 3, 16, 0, 5, 0],
        // Init: too little memory, enough, and what is no text.
        vec![0xff, 0, 10, 0, b'a'],
        vec![0xff, 8, 0, 0, b'a', b'b'],
        vec![0xff, 8, 0, 0, 0xff, 0xfe],
        vec![0xff, 8, 0, 1],
    ]
}

fn libtpms() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    // A command's number in the list, with its parameters.
    let plain: [(u8, &[u8]); 9] = [
        (0, &[0, 0]),
        (1, &[0, 1]),
        (2, &[1]),
        (3, &[0, 16]),
        (4, &[0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 8]),
        (5, &[0, 0, 0, 1, 0, 0x0b, 3, 1, 0, 0]),
        (
            8,
            &[
                0x40, 0, 0, 7, 0x40, 0, 0, 7, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
                15, 16, 0, 0, 1, 0, 0x10, 0, 0x0b,
            ],
        ),
        (21, &[0, 3, b'a', b'b', b'c', 0, 0x0b, 0x40, 0, 0, 7]),
        (22, &[]),
    ];
    for (code, body) in plain {
        let mut seed = vec![0, code, body.len() as u8];
        seed.extend_from_slice(body);
        seed.extend_from_slice(&[9, 0, 3, 2, 0, 4, 12, 4, 3, 9]);
        seeds.push(seed);
    }
    // With a session: a handle in front of it.
    let extend = [&[0, 0, 0, 1, 0, 0x0b][..], &[7; 32]].concat();
    let primary = [
        0, 4, 0, 0, 0, 0, 0, 26, 0, 0x23, 0, 0x0b, 0, 3, 4, 0x72, 0, 0, 0, 6, 0, 0x80, 0, 0x43, 0,
        0x10, 0, 3, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let space = [0, 0, 0, 14, 1, 0x80, 0, 1, 0, 0x0b, 0, 4, 0, 4, 0, 0, 0, 8];
    let sessions: [(u8, u32, &[u8]); 4] = [
        (6, 16, &extend),
        (10, 0x4000_0001, &primary),
        (14, 0x4000_0001, &space),
        (17, 0x4000_000c, &[]),
    ];
    for (code, handle, body) in sessions {
        let mut seed = vec![5, code];
        seed.extend_from_slice(&handle.to_be_bytes());
        seed.push(body.len() as u8);
        seed.extend_from_slice(body);
        // Looked at, cancelled, received; a reset, another locality.
        seed.extend_from_slice(&[13, 2, 1, 12, 64, 2, 13, 0, 9, 13, 3, 14, 3]);
        seeds.push(seed);
    }
    seeds
}

fn chain() -> Vec<Vec<u8>> {
    let texts = [
        "",
        "null",
        "libtpms:/tmp/my.tpm",
        "device:/dev/tpmrm0",
        "swtpm:host=localhost,port=2321",
        "swtpm:path=/run/swtpm.sock,persistent=1",
        "mssim:host=[::1],port=65534",
        "mssim:path=/run/sim",
        "cmd:ssh host tpm2_send",
        r"pcap,file=/tmp/a\,b\:c\\d-%p.pcapng:swtpm:port=2321",
        "pcap:pcap,file=stderr:null",
        "flush:pcap:device:/dev/tpm0",
        "tabrmd:bus_type=session",
        "Lall+debug,tcti+TRACE",
        "Ltcti+none,esys+error,+,all+INFO",
        "S\x01\x05a,b\\c\x01\x02\x03abc\x00\x02hi\x01",
        "S\x02\x01-\x06stderr\x02\x03\x01x\x02\x01y\x01\x01z\x00",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// What the client and the peer do, in the numbers of `step`.
fn sockets() -> Vec<Vec<u8>> {
    // Unix by default, unix and persistent, TCP, TCP and persistent; and with
    // answers laid out for the other channel.
    let kinds: [&[u8]; 6] = [
        &[0],
        &[0x20],
        &[0x1f],
        &[0x3f],
        &[0x40, 0],
        &[0xc0, 0, 10, 12, 1, 2, 3],
    ];
    let steps: [&[u8]; 9] = [
        // Sent, answered, received: twice.
        &[0, 2, 15, 12, 5, 0, 9, 15, 99, 5],
        // In parts, with looks in between.
        &[
            0, 2, 12, 4, 0x80, 1, 0, 0, 5, 12, 8, 0, 12, 0, 0, 0, 0, 1, 2, 5, 12, 4, 0, 0, 0, 0, 8,
        ],
        // Too small a buffer.
        &[0, 2, 11, 15, 60, 9, 20, 11, 9, 80],
        // Sizes that lie.
        &[
            0, 2, 18, 0, 0, 0, 12, 0, 0, 0, 13, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5,
        ],
        &[
            0, 2, 18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 5,
        ],
        // The largest response, and one that is larger.
        &[0, 2, 19, 0x10, 0, 5, 0, 2, 19, 0x10, 1, 5],
        // The end, in the middle and before anything.
        &[0, 2, 12, 3, 0x80, 1, 0, 20, 10, 0, 2, 20, 10, 0, 2, 22, 5],
        // Localities, cancel, reset, descriptors, with refusals.
        &[
            27, 7, 0, 0, 0, 1, 24, 3, 0, 2, 23, 25, 1, 27, 15, 15, 12, 5, 26, 24, 0,
        ],
        // Much at once, unasked.
        &[15, 20, 0, 2, 15, 12, 15, 12, 5, 31, 200, 30, 5],
    ];
    let mut seeds = Vec::new();
    for kind in kinds {
        for steps in steps {
            seeds.push([kind, steps].concat());
        }
    }
    seeds
}

fn cmd() -> Vec<Vec<u8>> {
    let steps: [&[u8]; 9] = [
        &[0, 0, 2, 17, 12, 6, 0, 9, 17, 99, 6],
        &[
            1, 0, 2, 14, 4, 0x80, 1, 0, 0, 6, 14, 8, 0, 12, 0, 0, 0, 0, 1, 2, 6,
        ],
        &[0, 0, 2, 17, 60, 11, 20, 13, 11, 80],
        &[0, 0, 2, 21, 0xff, 0xff, 0xff, 0xff, 20, 6],
        &[0, 0, 2, 21, 0, 0, 0, 11, 20, 6],
        &[0, 0, 2, 20, 0x10, 0, 6, 0, 2, 20, 0x10, 1, 6],
        &[1, 0, 2, 14, 3, 0x80, 1, 0, 22, 12, 0, 2, 17, 12, 6],
        &[0, 17, 12, 0, 2, 24, 0, 2, 25, 26, 3, 27, 1, 28],
        &[1, 31, 200, 31, 200, 29, 31, 200, 22, 6, 0, 2],
    ];
    steps.iter().map(|steps| steps.to_vec()).collect()
}

fn state() -> Vec<Vec<u8>> {
    let steps: [&[u8]; 12] = [
        // Three valid ones, ours and tpm2-tss's.
        &[3],
        &[1],
        &[2],
        &[0x81],
        &[0x82],
        &[0x83],
        // Padded with zeros, cut, with a byte changed in each part.
        &[0x81, 5, 8, 0],
        &[1, 2, 0x48],
        &[1, 0, 0x50, 1],
        &[2, 1, 0x90, 4, 7],
        &[1, 6, 0, 0, 0, 0, 9, 7],
        // Plain bytes.
        &[0, 0, 0, 0, 1, 5, 0, 0, 0, 0],
    ];
    steps.iter().map(|steps| steps.to_vec()).collect()
}

fn pcap() -> Vec<Vec<u8>> {
    let get_random = rusttcti_kit::commands::get_random(2);
    let response = [0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0];
    let exchange = [&[0, 12][..], &get_random, &[10], &response].concat();
    vec![
        exchange.clone(),
        [exchange.clone(), exchange].concat(),
        vec![255, 64, 2, 1, 2, 1, 0],
        vec![255, 255, 0, 0],
        vec![0, 0, 0],
    ]
}

/// The smallest library that can be copied, and one with mistakes in it.
fn elf() -> Vec<Vec<u8>> {
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[32] = 64;
    file[54] = 56;
    file[56] = 2;
    let mut segment = |kind: u8, flags: u8, offset: u64, address: u64, size: u64| {
        file.extend_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
        for number in [offset, address, address, size, size, 4096] {
            file.extend_from_slice(&number.to_le_bytes());
        }
    };
    segment(1, 5, 0, 0x1000, 300);
    segment(2, 6, 176, 0x10b0, 48);
    for entry in [[5_u64, 0x10e0], [14, 1], [0, 0]] {
        for number in entry {
            file.extend_from_slice(&number.to_le_bytes());
        }
    }
    file.extend_from_slice(b"\0libfoo.so.0\0");
    let cut = file[..200].to_vec();
    vec![file, cut, b"\x7fELF\x02\x01".to_vec()]
}

/// A command of each kind, and what clients of the simulators send.
fn commands() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for info in Command::all() {
        let mut builder = CommandBuilder::new(info.code).bytes(&[0, 3, 1, 2, 3, 0, 0x10]);
        for _ in info.handles {
            builder = builder.handle(Handle::TRANSIENT_FIRST);
        }
        for _ in 0..info.authorizations() {
            let session = Handle::HMAC_SESSION_FIRST;
            let attributes = SessionAttributes::CONTINUE_SESSION;
            builder = builder
                .auth(session, &[7; 16], attributes, &[8; 32])
                .expect("sizes of 16 bits");
        }
        seeds.push(builder.build());
    }
    let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(8).build();
    seeds.push([&mssim::command_head(3, 12)[..], &get_random].concat());
    seeds.push(mssim::Signal::SessionEnd.encode().to_vec());
    seeds.push(swtpm::Control::SetLocality(3).encode().to_vec());
    let delete_volatile = true;
    seeds.push(swtpm::Control::Init { delete_volatile }.encode().to_vec());
    seeds
}

/// A response to each command, with a session and without, and failures.
fn responses() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, info) in Command::all().iter().enumerate() {
        let mut builder = ResponseBuilder::new(ResponseCode::SUCCESS).bytes(&[0, 3, 1, 2, 3]);
        if info.response_handle.is_some() {
            builder = builder.handle(Handle::TRANSIENT_FIRST);
        }
        if number % 2 == 0 && !info.no_sessions {
            builder = builder
                .auth(&[7; 16], SessionAttributes::NONE, &[8; 32])
                .expect("sizes of 16 bits");
        }
        seeds.push([&[number as u8][..], &builder.build()].concat());
    }
    let failure = ResponseBuilder::new(ResponseCode(0x98e)).build();
    seeds.push([&[0][..], &failure].concat());
    let frame = [&mssim::response_head(10)[..], &failure, &mssim::DONE].concat();
    seeds.push([&[0][..], &frame].concat());
    seeds
}
