// SPDX-License-Identifier: BSD-2-Clause
//! Programs that end without finalizing their contexts leave nothing loaded.

use std::path::Path;

use rusttcti_kit::again;
use rusttcti_kit::swtpm::Swtpm;

use crate::tpm::{NULL, open};

const LOADED_SESSIONS: u32 = 0x0200_0000;
const SAVED_SESSIONS: u32 = 0x0300_0000;
const TRANSIENT: u32 = 0x8000_0000;
const HMAC_SESSION: u8 = 0;

/// The chain of the scene.
const CHAIN: &str = "RUSTTCTI_TEST_CHAIN";

/// Loads more than a TPM has room for, and exits.
#[test]
#[ignore = "a scene of another test"]
fn scene_exit() {
    let mut user = open(&std::env::var(CHAIN).expect("a chain"));
    user.make_keys(NULL, 0..5);
    for _ in 0..4 {
        user.start_session(HMAC_SESSION).expect("a session");
    }
    std::mem::forget(user);
    std::process::exit(42);
}

/// Lets some programs exit, and looks at the TPM.
fn nothing_stays(chain: &str, bare: &str) {
    for _ in 0..3 {
        let status = again::only!("scene_exit")
            .env(CHAIN, chain)
            .stdout(std::process::Stdio::null())
            .status()
            .expect("started");
        assert_eq!(status.code(), Some(42), "{status}");
    }
    let mut user = open(bare);
    for first in [TRANSIENT, LOADED_SESSIONS, SAVED_SESSIONS] {
        assert_eq!(user.handles(first, 9).0, [], "{first:x}");
    }
}

fn chain_of(layers: &str, state: &Path) -> String {
    format!("{layers}libtpms:{}", state.display())
}

#[test]
fn an_embedded_tpm_has_nothing_of_programs_that_just_exited() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    nothing_stays(&chain_of("rm:", &state), &chain_of("", &state));
}

#[cfg(feature = "wrap")]
#[test]
fn an_embedded_tpm_has_no_session_of_the_layer_wrap_of_programs_that_just_exited() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let chain = chain_of("wrap,key=null:rm:", &state);
    nothing_stays(&chain, &chain_of("", &state));
}

#[test]
fn a_swtpm_has_nothing_of_programs_that_just_exited() {
    let swtpm = Swtpm::tcp();
    for layers in ["rm:", "rm,share=0:"] {
        let chain = format!("{layers}swtpm:{}", swtpm.conf());
        nothing_stays(&chain, &format!("swtpm:{}", swtpm.conf()));
    }
}
