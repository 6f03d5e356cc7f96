// SPDX-License-Identifier: BSD-2-Clause
//! Recordings, as Wireshark's dissectors read them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// One packet of a recording.
#[derive(Debug)]
pub struct Packet {
    /// The time since 1970.
    pub time: Duration,
    /// The sender's IP address.
    pub from: String,
    /// The receiver's IP address.
    pub to: String,
    /// The sender's TCP port.
    pub from_port: u16,
    /// The receiver's TCP port.
    pub to_port: u16,
    /// The bytes that TCP carries.
    pub payload: Vec<u8>,
    /// The TPM dissector's summary.
    pub info: String,
}

/// Returns the packets of a pcapng file. Panics if tshark finds a fault in it.
pub fn read(path: &Path) -> Vec<Packet> {
    let fields = [
        "frame.time_epoch",
        "ip.src",
        "ip.dst",
        "tcp.srcport",
        "tcp.dstport",
        "tcp.payload",
        "_ws.col.Info",
    ];
    let mut command = Command::new("tshark");
    // The dissector of TPM 2.0 hides TCP's payload unless it is asked for.
    command.args(["-n", "-T", "fields"]).arg("-r").arg(path);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command
        .output()
        .expect("tshark runs (Debian's package tshark)");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {errors}");
    assert!(
        !errors.contains("damaged") && !errors.contains("cut short"),
        "tshark: {errors}"
    );
    let text = String::from_utf8(output.stdout).expect("tshark prints text");
    text.lines().map(packet).collect()
}

fn packet(line: &str) -> Packet {
    let fields: Vec<_> = line.split('\t').collect();
    let &[time, from, to, from_port, to_port, payload, info] = &fields[..] else {
        panic!("seven fields in {line:?}");
    };
    Packet {
        time: Duration::from_secs_f64(time.parse().expect(line)),
        from: from.to_owned(),
        to: to.to_owned(),
        from_port: from_port.parse().expect(line),
        to_port: to_port.parse().expect(line),
        payload: hex(payload),
        info: info.to_owned(),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.replace(':', "");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits"))
        .collect()
}
