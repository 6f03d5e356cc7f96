// SPDX-License-Identifier: BSD-2-Clause
//! GetCapability's lists of handles over the layer.

use rusttcti::wire::{CommandBuilder, CommandCode, Handle};
use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::tpm::{call, create_primary_ecc, ok};

pub const LOADED_SESSIONS: u32 = 0x0200_0000;
pub const SAVED_SESSIONS: u32 = 0x0300_0000;
const TRANSIENT: u32 = 0x8000_0000;
/// `TPM_CAP_HANDLES`.
const HANDLES: u32 = 1;

pub fn open(chain: &str) -> Box<dyn Tcti> {
    rusttcti::open(chain).expect("it opens")
}

/// The whole list that begins with a handle.
pub fn handles(tpm: &mut dyn Tcti, first: u32) -> Vec<u32> {
    let response = ok(
        tpm,
        &CommandBuilder::get_capability(HANDLES, first, 254).build(),
    );
    let words = response[15..].chunks(4);
    let mut words = words.map(|word| u32::from_be_bytes(word.try_into().expect("four bytes")));
    let count = words.next().expect("a count");
    let handles: Vec<_> = words.collect();
    assert_eq!(handles.len(), count as usize);
    handles
}

/// The handle that a response begins with.
fn made(response: &[u8]) -> u32 {
    u32::from_be_bytes(response[10..14].try_into().expect("a handle"))
}

pub fn start_hmac_session(tpm: &mut dyn Tcti) -> u32 {
    const NULL: Handle = Handle(0x4000_0007);
    const TPM_ALG_NULL: u16 = 0x10;
    const SHA256: u16 = 0x0b;
    let start = CommandBuilder::new(CommandCode::START_AUTH_SESSION)
        .handle(NULL)
        .handle(NULL)
        .sized(&[7; 16])
        .and_then(|command| command.sized(&[]))
        .expect("short")
        .u8(0)
        .u16(TPM_ALG_NULL)
        .u16(SHA256)
        .build();
    made(&ok(tpm, &start))
}

#[test]
fn over_rm_the_program_sees_its_own_objects_and_sessions() {
    let mut tpm = open("wrap,key=null:rm:libtpms");
    let objects: Vec<_> = (0..4)
        .map(|_| made(&ok(&mut *tpm, &create_primary_ecc())))
        .collect();
    assert_eq!(handles(&mut *tpm, TRANSIENT), objects);
    let sessions: Vec<_> = (0..5).map(|_| start_hmac_session(&mut *tpm)).collect();
    assert_eq!(handles(&mut *tpm, LOADED_SESSIONS), sessions);
    assert_eq!(handles(&mut *tpm, SAVED_SESSIONS), []);
    for object in objects {
        ok(
            &mut *tpm,
            &CommandBuilder::flush_context(Handle(object)).build(),
        );
    }
    assert_eq!(handles(&mut *tpm, TRANSIENT), []);
}

#[test]
fn over_rm_a_page_of_sessions_is_full_although_the_layer_s_own_is_hidden() {
    let mut tpm = open("wrap,key=null:rm:libtpms");
    let sessions: Vec<_> = (0..4).map(|_| start_hmac_session(&mut *tpm)).collect();
    let page = CommandBuilder::get_capability(HANDLES, LOADED_SESSIONS, 2).build();
    let response = ok(&mut *tpm, &page);
    assert_eq!(response[10], 1, "more to come");
    assert_eq!(response[19..23], sessions[0].to_be_bytes());
    assert_eq!(response[23..], sessions[1].to_be_bytes());
}

#[test]
fn a_session_that_is_moved_aside_is_not_listed_as_saved() {
    let mut tpm = open("wrap,key=null:libtpms");
    let sessions: Vec<_> = (0..3).map(|_| start_hmac_session(&mut *tpm)).collect();
    assert_eq!(handles(&mut *tpm, LOADED_SESSIONS), sessions);
    assert_eq!(handles(&mut *tpm, SAVED_SESSIONS), []);
}

#[test]
fn a_list_of_rm_s_is_refused_with_strict() {
    let mut tpm = open("wrap,key=null,strict=1:rm:libtpms");
    let list = CommandBuilder::get_capability(HANDLES, TRANSIENT, 9).build();
    let error = call(&mut *tpm, &list).expect_err("it has no HMAC");
    assert_eq!(error.kind(), ErrorKind::NotPermitted);
    let report = error.report();
    assert!(
        report.contains("rm") && report.contains("strict=0"),
        "{report}"
    );
}
