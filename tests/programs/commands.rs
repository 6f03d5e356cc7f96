// SPDX-License-Identifier: BSD-2-Clause
//! `rusttcti::wire` parses the commands of tpm2-tools and ESYS, and their responses.

use std::collections::BTreeMap;

use rusttcti::wire::{CommandCode, CommandView, ResponseView};
use rusttcti_kit::module::program;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tshark;

/// How many different commands were sent and succeeded at least once.
const MANY: usize = 88;

#[test]
fn every_command_of_tpm2_tools_and_its_response_is_taken_apart() {
    let (swtpm, folder) = (Swtpm::unix(), tempfile::tempdir().expect("a folder"));
    let recording = folder.path().join("recording");
    let chain = format!(
        "rusttcti:pcap,file={}:flush:swtpm:{}",
        recording.display(),
        swtpm.conf()
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/commands.sh");
    let output = program("sh")
        .arg(script)
        .current_dir(folder.path())
        .env("TPM2TOOLS_TCTI", &chain)
        .env("TSS2_LOG", "all+none")
        .output()
        .expect("sh");

    let packets = tshark::read(&recording);
    let mut succeeded: BTreeMap<CommandCode, usize> = BTreeMap::new();
    for pair in packets.chunks(2) {
        let [command, response] = pair else {
            panic!("a command without a response");
        };
        let sent = CommandView::parse(&command.payload).expect("a command");
        let info = sent.info().expect("a command that the table has");
        let name = format!("TPM2_CC_{}", info.name);
        assert!(command.info.contains(&name), "{name}: {}", command.info);
        let answered = ResponseView::parse(&response.payload, Some(info)).expect(info.name);
        if info.decrypt {
            assert!(begins_with_sized(sent.parameters()), "{name}");
        }
        if answered.is_success() {
            if info.encrypt {
                assert!(begins_with_sized(answered.parameters()), "{name}");
            }
            assert_eq!(answered.auths().count(), sent.auths().count(), "{name}");
            *succeeded.entry(sent.code()).or_default() += 1;
        }
    }
    assert!(
        succeeded.len() >= MANY,
        "{} commands succeeded: {succeeded:?}\n{}",
        succeeded.len(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Returns whether parameters begin with a whole sized buffer.
fn begins_with_sized(parameters: &[u8]) -> bool {
    let Some((size, rest)) = parameters.split_first_chunk() else {
        return false;
    };
    usize::from(u16::from_be_bytes(*size)) <= rest.len()
}
