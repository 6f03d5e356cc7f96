// SPDX-License-Identifier: BSD-2-Clause
//! Programs without sessions, and with passwords.

use rusttcti::wire::CommandCode;

use crate::tpm::*;

#[test]
fn random_bytes_come_encrypted() {
    let mut bench = Bench::new("key=null");
    let response = bench.ok(&get_random(16));
    assert_eq!(response.len(), 18);
    assert_eq!(response[..2], [0, 16]);
    assert!(
        !bench.recording.has(&response[2..]),
        "they passed in the clear"
    );
    bench.recording.clear();
    bench.ok(&get_random(16));
    assert_eq!(
        bench.recording.codes(),
        [CommandCode::GET_RANDOM],
        "one command for one"
    );
}

#[test]
fn what_is_sealed_with_passwords_passes_unseen() {
    let mut bench = Bench::new("key=null");
    let primary = word(&bench.ok(&create_primary(OWNER, &[], b"parent password")));
    let created = bench.ok(&create_sealed(
        primary,
        b"parent password",
        b"object password",
        b"a secret that is sealed",
    ));
    let object = word(&bench.ok(&load(primary, b"parent password", &created)));
    let unsealed = bench.ok(&unseal(object, b"object password"));
    assert_eq!(split(&unsealed[4..]).0, b"a secret that is sealed");
    // A password session's entry: no nonce, continueSession, no HMAC.
    assert_eq!(unsealed[unsealed.len() - 5..], [0, 0, 1, 0, 0]);
    for secret in [
        &b"parent password"[..],
        b"object password",
        b"a secret that is sealed",
    ] {
        assert!(!bench.recording.has(secret));
    }
    bench.ok(&flush(object));
    bench.ok(&flush(primary));
}

#[test]
fn a_wrong_password_is_refused_as_the_tpm_would() {
    let mut bench = Bench::new("key=null");
    let mut bare = rusttcti::open("libtpms").expect("libtpms");
    let primary = word(&bench.ok(&create_primary(OWNER, &[], b"right")));
    let other = word(&run(&mut bare, &create_primary(OWNER, &[], b"right")).expect("it")[10..]);
    let wrong = bench.rc(&create_sealed(primary, b"wrong", &[], b"data"));
    let same = run(&mut bare, &create_sealed(other, b"wrong", &[], b"data")).expect("a response");
    assert_eq!(wrong, response_code(&same), "{wrong:x}");
    bench.ok(&create_sealed(primary, b"right\0\0", &[], b"data"));
}

#[test]
fn nv_is_written_and_read_through_the_first_write() {
    let mut bench = Bench::new("key=null");
    let index = 0x0180_0001;
    bench.ok(&define(index, b"nv password", 16));
    bench.ok(&nv_write(index, b"nv password", b"sixteen bytes ok"));
    let read = bench.ok(&nv_read(index, b"nv password", 16));
    assert_eq!(split(&read[4..]).0, b"sixteen bytes ok");
    bench.ok(&nv_write(index, b"nv password", b"sixteen bytes no"));
    for secret in [
        &b"nv password"[..],
        b"sixteen bytes ok",
        b"sixteen bytes no",
    ] {
        assert!(!bench.recording.has(secret));
    }
}

#[test]
fn hierarchies_change_their_authorization_and_clear_answers_with_the_new_one() {
    let mut bench = Bench::new("key=null");
    for hierarchy in [OWNER, ENDORSEMENT, LOCKOUT] {
        let change = |old: &[u8], new: &[u8]| {
            with_passwords(
                CommandCode::HIERARCHY_CHANGE_AUTH,
                &[hierarchy],
                &[old],
                &sized(new),
            )
        };
        bench.ok(&change(&[], b"new hierarchy auth\0"));
        bench.ok(&change(b"new hierarchy auth", b"newer"));
    }
    bench.ok(&with_passwords(
        CommandCode::CLEAR,
        &[LOCKOUT],
        &[b"newer"],
        &[],
    ));
    let primary = bench.ok(&create_primary(OWNER, &[], &[]));
    bench.ok(&flush(word(&primary)));
    assert!(!bench.recording.has(b"new hierarchy auth"));
    bench.ok(&with_passwords(
        CommandCode::CLEAR,
        &[PLATFORM],
        &[&[]],
        &[],
    ));
}

#[test]
fn a_pcr_changes_its_authorization() {
    let mut bench = Bench::new("key=null,strict=1");
    // PCR 20 is in libtpms's group of those that have one.
    let change = |old: &[u8], new: &[u8]| {
        with_passwords(CommandCode::PCR_SET_AUTH_VALUE, &[20], &[old], &sized(new))
    };
    bench.ok(&change(&[], b"new pcr auth"));
    bench.ok(&change(b"new pcr auth", b"newer pcr auth\0"));
    bench.ok(&change(b"newer pcr auth", &[]));
    assert!(!bench.recording.has(b"pcr auth"));
}
