// SPDX-License-Identifier: BSD-2-Clause
//! Programs with sessions of their own, in every combination.

use rusttcti::wire::{CommandCode, CommandView};
use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::sha256::sha256;

use crate::program::*;
use crate::tpm::*;

fn used<'a>(session: &'a Session, auth: &'a [u8], attributes: u8) -> Use<'a> {
    Use {
        session,
        auth,
        attributes,
    }
}

/// Runs TPM2_Create below `primary`, whose Name this is, with these sessions.
fn create(
    bench: &mut Bench,
    primary: u32,
    name: &[u8],
    uses: &[Use<'_>],
    parameters: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), u32> {
    run_with(
        bench,
        CommandCode::CREATE,
        &[primary],
        &[name],
        1,
        uses,
        parameters,
    )
}

/// Runs TPM2_Unseal of `object`, whose Name this is, with these sessions.
fn unseal_with(
    bench: &mut Bench,
    object: u32,
    name: &[u8],
    uses: &[Use<'_>],
) -> Result<(Vec<u8>, Vec<u8>), u32> {
    run_with(bench, CommandCode::UNSEAL, &[object], &[name], 1, uses, &[])
}

/// Returns how many sessions the last command of this code had.
fn sessions(bench: &Bench, wanted: CommandCode) -> usize {
    let all = bench.recording.all();
    let (command, _) = all
        .iter()
        .rev()
        .find(|(command, _)| command_code(command) == wanted)
        .expect("such a command");
    let view = CommandView::parse(command).expect("well formed");
    view.auths().count()
}

#[test]
fn a_weak_session_with_an_empty_password_is_taken_over_with_all_its_attributes() {
    let mut bench = Bench::new("key=null,strict=1");
    let primary = word(&bench.ok(&create_primary(OWNER, &[], &[])));
    let name = name(&mut bench, primary);
    for attributes in [1, 1 | DECRYPT, 1 | ENCRYPT, 1 | DECRYPT | ENCRYPT] {
        let session = start(&mut bench, 0);
        let parameters = sealed_parameters(b"object auth", SECRET, &[], 0x452);
        for _ in 0..3 {
            let uses = [used(&session, &[], attributes)];
            let made = create(&mut bench, primary, &name, &uses, &parameters);
            made.expect("it is created");
        }
        assert_eq!(sessions(&bench, CommandCode::CREATE), 2);
        bench.ok(&flush(session.borrow().handle));
    }
    assert!(!bench.recording.has(SECRET));
    assert!(!bench.recording.has(b"object auth"));
}

#[test]
fn a_weak_session_that_ends_with_its_command_is_gone() {
    let mut bench = Bench::new("key=null");
    let session = start(&mut bench, 0);
    let uses = [used(&session, &[], 0)];
    let owner = OWNER.to_be_bytes();
    let parameters = [sized(b"new owner auth")].concat();
    run_with(
        &mut bench,
        CommandCode::HIERARCHY_CHANGE_AUTH,
        &[OWNER],
        &[&owner],
        1,
        &uses,
        &parameters,
    )
    .expect("changed");
    assert!(!bench.recording.has(b"new owner auth"));
    let handle = session.borrow().handle;
    assert_ne!(bench.rc(&flush(handle)), 0, "it is gone");
}

#[test]
fn a_weak_session_with_a_real_password_stays_and_is_audited() {
    let mut bench = Bench::new("key=null");
    let primary = word(&bench.ok(&create_primary(OWNER, &[], b"parent")));
    let name = name(&mut bench, primary);
    let session = start(&mut bench, 0);
    let parameters = sealed_parameters(&[], b"data", &[], 0x452);
    for attributes in [1, 1 | ENCRYPT, 1 | DECRYPT] {
        let uses = [used(&session, b"parent", attributes)];
        create(&mut bench, primary, &name, &uses, &parameters).expect("it is created");
        assert_eq!(
            sessions(&bench, CommandCode::CREATE),
            2,
            "the layer's audits"
        );
    }
    let uses = [used(&session, b"wrong", 1)];
    let refused = create(&mut bench, primary, &name, &uses, &parameters);
    assert!(matches!(refused, Err(0x98e | 0x9a2)), "{refused:?}");
}

#[test]
fn strict_refuses_what_cannot_be_encrypted_and_says_so() {
    let mut bench = Bench::new("key=null,strict=1");
    let primary = word(&bench.ok(&create_primary(OWNER, &[], b"parent")));
    let session = start(&mut bench, 0);
    let auth = entry(session.borrow().handle, &[7; 32], 1, &[9; 32]);
    let parameters = sealed_parameters(&[], b"data", &[], 0x452);
    let error = bench
        .run(&with_auths(
            CommandCode::CREATE,
            &[primary],
            &[auth],
            &parameters,
        ))
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error:?}");
    assert!(error.to_string().contains("strict=0"), "{error}");
    bench.ok(&get_random(4));
}

/// Returns the policy digest of these steps.
fn policy_of(steps: &[&[u8]]) -> Vec<u8> {
    let mut digest = vec![0; 32];
    for step in steps {
        digest = sha256(&[&digest, *step].concat()).to_vec();
    }
    digest
}

const UNSEAL: [u8; 4] = CommandCode::UNSEAL.0.to_be_bytes();

fn command_code_step() -> Vec<u8> {
    [
        &CommandCode::POLICY_COMMAND_CODE.0.to_be_bytes()[..],
        &UNSEAL,
    ]
    .concat()
}

#[test]
fn a_policy_session_without_a_key_is_encrypted_for() {
    let mut bench = Bench::new("key=null,strict=1");
    let policy = policy_of(&[&command_code_step()]);
    let object = seal(&mut bench, &[], &policy, 0x412);
    let name = name(&mut bench, object);
    for attributes in [1, 1 | ENCRYPT] {
        let session = start(&mut bench, 1);
        let handle = session.borrow().handle;
        bench.ok(&plain(CommandCode::POLICY_COMMAND_CODE, &[handle], &UNSEAL));
        let uses = [used(&session, &[], attributes)];
        let (_, unsealed) = unseal_with(&mut bench, object, &name, &uses).expect("unsealed");
        assert_eq!(split(&unsealed).0, SECRET);
        bench.ok(&plain(CommandCode::POLICY_COMMAND_CODE, &[handle], &UNSEAL));
        // Programs that send no HMAC get none.
        let command = with_auths(
            CommandCode::UNSEAL,
            &[object],
            &[entry(handle, &[3; 16], 0, &[])],
            &[],
        );
        let response = bench.ok(&command);
        assert_eq!(split(&response[4..]).0, SECRET);
        assert_eq!(response[response.len() - 3..], [0, 0, 0]);
    }
    assert!(!bench.recording.has(SECRET));
}

#[test]
fn a_policy_with_a_password_sends_none() {
    let mut bench = Bench::new("key=null,strict=1");
    let policy = policy_of(&[&CommandCode::POLICY_AUTH_VALUE.0.to_be_bytes()]);
    let object = seal(&mut bench, b"object password", &policy, 0x412);
    let session = start(&mut bench, 1);
    let handle = session.borrow().handle;
    for password in [&b"object password"[..], b"object password\0\0"] {
        bench.ok(&plain(CommandCode::POLICY_PASSWORD, &[handle], &[]));
        let digest = bench.ok(&plain(CommandCode::POLICY_GET_DIGEST, &[handle], &[]));
        assert_eq!(split(&digest).0, policy);
        let command = with_auths(
            CommandCode::UNSEAL,
            &[object],
            &[entry(handle, &[3; 16], 1, password)],
            &[],
        );
        let response = bench.ok(&command);
        assert_eq!(split(&response[4..]).0, SECRET);
        assert_eq!(
            response[response.len() - 2..],
            [0, 0],
            "no HMAC for a password"
        );
    }
    bench.ok(&plain(CommandCode::POLICY_PASSWORD, &[handle], &[]));
    let wrong = with_auths(
        CommandCode::UNSEAL,
        &[object],
        &[entry(handle, &[3; 16], 1, b"wrong")],
        &[],
    );
    assert!([0x98e, 0x9a2].contains(&bench.rc(&wrong)));
    assert!(!bench.recording.has(b"object password"));
    assert!(!bench.recording.has(b"wrong"));
    assert!(!bench.recording.has(SECRET));
}

#[test]
fn a_policy_with_an_auth_value_passes_audited_or_taken_over() {
    let policy = policy_of(&[&CommandCode::POLICY_AUTH_VALUE.0.to_be_bytes()]);
    for (auth, hidden) in [(&b"object auth"[..], false), (b"", true)] {
        let mut bench = Bench::new("key=null");
        let object = seal(&mut bench, auth, &policy, 0x412);
        let name = name(&mut bench, object);
        let session = start(&mut bench, 1);
        for _ in 0..2 {
            let handle = session.borrow().handle;
            bench.ok(&plain(CommandCode::POLICY_AUTH_VALUE, &[handle], &[]));
            let uses = [used(&session, auth, 1)];
            let (_, unsealed) = unseal_with(&mut bench, object, &name, &uses).expect("unsealed");
            assert_eq!(split(&unsealed).0, SECRET);
            assert_eq!(sessions(&bench, CommandCode::UNSEAL), 2);
        }
        assert_eq!(!bench.recording.has(SECRET), hidden);
    }
}

#[test]
fn a_policy_that_is_bound_to_the_parameters_is_not_encrypted_but_its_response_is() {
    let mut bench = Bench::new("key=null,strict=1");
    // Unseal has no parameters to encrypt; Import of the policy is the cpHash.
    let object = {
        // The Name is not in the policy's way: it is a PolicyCpHash of another
        // command's, which fails as on the TPM.
        let policy =
            policy_of(&[&[&CommandCode::POLICY_CP_HASH.0.to_be_bytes()[..], &[5; 32]].concat()]);
        seal(&mut bench, &[], &policy, 0x412)
    };
    let name = name(&mut bench, object);
    let session = start(&mut bench, 1);
    let handle = session.borrow().handle;
    bench.ok(&plain(
        CommandCode::POLICY_CP_HASH,
        &[handle],
        &sized(&[5; 32]),
    ));
    let uses = [used(&session, &[], 1)];
    let refused = unseal_with(&mut bench, object, &name, &uses);
    assert_eq!(
        refused.expect_err("the TPM's own refusal"),
        0x99d,
        "TPM_RC_POLICY_FAIL, session 1"
    );
}

#[test]
fn a_bound_session_passes_as_it_is() {
    let mut bench = Bench::new("key=null");
    let primary = word(&bench.ok(&create_primary(OWNER, &[], b"parent")));
    let name = name(&mut bench, primary);
    let session = start_bound(&mut bench, 0, primary, b"parent");
    let parameters = sealed_parameters(&[], SECRET, &[], 0x452);
    for _ in 0..2 {
        // Bound to the object that it authorizes: the key has the authValue.
        let uses = [used(&session, &[], 1)];
        let made = create(&mut bench, primary, &name, &uses, &parameters);
        made.expect("it is created");
        assert_eq!(sessions(&bench, CommandCode::CREATE), 1);
    }
}

#[test]
fn a_program_may_have_two_and_three_sessions_in_a_command() {
    let mut bench = Bench::new("key=null");
    let primary = word(&bench.ok(&create_primary(OWNER, &[], &[])));
    let name = name(&mut bench, primary);
    let parameters = sealed_parameters(&[], SECRET, &[], 0x452);
    let (one, two) = (start(&mut bench, 0), start(&mut bench, 0));
    for (first, second) in [
        (1, 1 | DECRYPT),
        (1 | DECRYPT, 1 | ENCRYPT),
        (1, 1 | DECRYPT | ENCRYPT),
    ] {
        let uses = [used(&one, &[], first), used(&two, &[], second)];
        let made = create(&mut bench, primary, &name, &uses, &parameters);
        made.expect("it is created");
        assert_eq!(
            sessions(&bench, CommandCode::CREATE),
            3,
            "the second goes along"
        );
    }
    assert!(!bench.recording.has(SECRET));
    // The third is started where the layer's own was, and all three are used: one
    // that only encrypts is left out, and makes room for the layer's.
    let three = start(&mut bench, 0);
    let uses = [
        used(&one, &[], 1),
        used(&two, &[], 1 | DECRYPT),
        used(&three, &[], 1 | ENCRYPT),
    ];
    create(&mut bench, primary, &name, &uses, &parameters).expect("created");
    // One that is not in the command makes room for the layer's.
    let uses = [used(&one, &[], 1), used(&two, &[], 1 | DECRYPT)];
    create(&mut bench, primary, &name, &uses, &parameters).expect("created");
    assert_eq!(
        sessions(&bench, CommandCode::CREATE),
        3,
        "the second goes along"
    );
    let random = bench.ok(&get_random(16));
    assert!(!bench.recording.has(&random[2..]));
    // And is back.
    let uses = [used(&three, &[], 1)];
    create(&mut bench, primary, &name, &uses, &parameters).expect("created");
    assert!(!bench.recording.has(SECRET));
}

/// Runs GetRandom with a session that only encrypts.
fn random_with(bench: &mut Bench, session: &Session, attributes: u8) -> Vec<u8> {
    let uses = [used(session, &[], attributes)];
    let size = 16u16.to_be_bytes();
    let run = run_with(bench, CommandCode::GET_RANDOM, &[], &[], 0, &uses, &size);
    let (_, random) = run.expect("random bytes");
    split(&random).0.to_vec()
}

#[test]
fn one_weak_session_encrypts_and_later_authorizes_with_a_password() {
    let mut bench = Bench::new("key=null");
    let primary = word(&bench.ok(&create_primary(OWNER, &[], b"parent")));
    let name = name(&mut bench, primary);
    let session = start(&mut bench, 0);
    let parameters = sealed_parameters(&[], b"data", &[], 0x452);
    bench.ok(&get_random(8));
    for attributes in [1, 1 | ENCRYPT, 1 | DECRYPT] {
        bench.recording.clear();
        for _ in 0..2 {
            let random = random_with(&mut bench, &session, 1 | ENCRYPT);
            assert!(!bench.recording.has(&random));
        }
        let all = bench.recording.all();
        assert_eq!(all.len(), 2, "no other command is needed");
        let uses = [used(&session, b"parent", attributes)];
        create(&mut bench, primary, &name, &uses, &parameters).expect("it is created");
        assert_eq!(sessions(&bench, CommandCode::CREATE), 2);
    }
    let uses = [used(&session, b"wrong", 1)];
    let refused = create(&mut bench, primary, &name, &uses, &parameters);
    assert!(matches!(refused, Err(0x98e | 0x9a2)), "{refused:?}");
    // One that ends with a command is gone.
    random_with(&mut bench, &session, ENCRYPT);
    let handle = session.borrow().handle;
    assert_ne!(bench.rc(&flush(handle)), 0, "it is gone");
}

#[test]
fn a_change_to_a_weak_session_that_only_encrypts_is_found_out() {
    let mut bench = Bench::new("key=null");
    let session = start(&mut bench, 0);
    random_with(&mut bench, &session, 1 | ENCRYPT);
    // The session's nonce in the response, which comes first in its area.
    bench.meddler.on_response(|_, response| {
        let size = word(&response[10..]) as usize;
        response[14 + size + 2] ^= 1;
    });
    let auth = {
        let state = session.borrow();
        let nonce = [0x66; 32];
        let code = CommandCode::GET_RANDOM.0.to_be_bytes();
        let cp_hash = sha256(&[&code[..], &[0, 16]].concat());
        let parts = [&cp_hash[..], &nonce, &state.nonce_tpm, &[1 | ENCRYPT]];
        let hmac = crate::reference::hmac(&[], &parts);
        entry(state.handle, &nonce, 1 | ENCRYPT, &hmac)
    };
    let command = with_auths(CommandCode::GET_RANDOM, &[], &[auth], &[0, 16]);
    let changed = bench.run(&command);
    bench.meddler.stop();
    let error = changed.expect_err("it was changed");
    assert_eq!(error.kind(), ErrorKind::IoError, "{error:?}");
}

/// Returns the audit digest of these GetRandoms.
fn digest_of(randoms: &[Vec<u8>]) -> Vec<u8> {
    let code = CommandCode::GET_RANDOM.0.to_be_bytes();
    let cp_hash = sha256(&[&code[..], &[0, 16]].concat());
    randoms.iter().fold(vec![0; 32], |digest, random| {
        let rp_hash = sha256(&[&[0; 4], &code[..], random].concat());
        sha256(&[&digest[..], &cp_hash, &rp_hash].concat()).to_vec()
    })
}

/// Returns TPM2_GetSessionAuditDigest's attestation of a session.
fn attested(bench: &mut Bench, session: &Session) -> Vec<u8> {
    let handles = [ENDORSEMENT, NULL, session.borrow().handle];
    let parameters = [sized(&[]), vec![0, 0x10]].concat();
    let passwords: [&[u8]; 2] = [&[], &[]];
    let code = CommandCode::GET_SESSION_AUDIT_DIGEST;
    bench.ok(&with_passwords(code, &handles, &passwords, &parameters))
}

#[test]
fn a_weak_session_that_encrypted_begins_to_audit_only_with_a_new_digest() {
    const AUDIT_RESET: u8 = 0x04;
    let mut bench = Bench::new("key=null");
    let session = start(&mut bench, 0);
    random_with(&mut bench, &session, 1 | ENCRYPT);
    let auth = entry(session.borrow().handle, &[9; 32], 1 | AUDIT, &[0; 32]);
    let command = with_auths(CommandCode::GET_RANDOM, &[], &[auth], &[0, 16]);
    let error = bench
        .run(&command)
        .expect_err("its digest would be another");
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(error.to_string().contains("auditReset"), "{error}");

    let mut randoms = Vec::new();
    for attributes in [1 | AUDIT | AUDIT_RESET, 1 | AUDIT] {
        let uses = [used(&session, &[], attributes)];
        let size = 16u16.to_be_bytes();
        let code = CommandCode::GET_RANDOM;
        let run = run_with(&mut bench, code, &[], &[], 0, &uses, &size);
        randoms.push(run.expect("random bytes").1);
    }
    let (digest, found) = (digest_of(&randoms), attested(&mut bench, &session));
    assert!(found.windows(32).any(|window| window == digest));
    // A session that audits is never sent to audit what the program does not. The TPM
    // does not know its nonces then.
    random_with(&mut bench, &session, 1 | ENCRYPT);
    let found = attested(&mut bench, &session);
    assert!(found.windows(32).any(|window| window == digest));
    let error = bench.run(&command).expect_err("its HMAC would be wrong");
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(error.to_string().contains("left out"), "{error}");
}

#[test]
fn a_weak_session_that_encrypted_begins_to_audit_beside_a_password() {
    let mut bench = Bench::new("key=null");
    let session = start(&mut bench, 0);
    random_with(&mut bench, &session, 1 | ENCRYPT);
    // TPM2_PCR_Reset, with an empty password and the audit session.
    let (code, pcr) = (CommandCode::PCR_RESET, 16u32);
    let cp_hash = sha256(&[code.0.to_be_bytes(), pcr.to_be_bytes()].concat());
    let nonce = [9; 32];
    let hmac = {
        let state = session.borrow();
        crate::reference::hmac(&[], &[&cp_hash, &nonce, &state.nonce_tpm, &[1 | AUDIT]])
    };
    let auths = [
        entry(PASSWORD, &[], 1, &[]),
        entry(session.borrow().handle, &nonce, 1 | AUDIT, &hmac),
    ];
    let response = bench.ok(&with_auths(code, &[pcr], &auths, &[]));
    let (nonce_tpm, rest) = split(&response[4 + 5..]);
    assert_eq!(rest[0] & !2, 1 | AUDIT);
    let rp_hash = sha256(&[&[0; 4], &code.0.to_be_bytes()[..]].concat());
    let wanted = crate::reference::hmac(&[], &[&rp_hash, nonce_tpm, &nonce, &rest[..1]]);
    assert_eq!(split(&rest[1..]).0, wanted);
    let digest = sha256(&[&[0; 32], &cp_hash[..], &rp_hash].concat());
    let found = attested(&mut bench, &session);
    assert!(found.windows(32).any(|window| window == digest));
}

#[test]
fn a_password_beside_a_session_is_an_hmac_beside_it() {
    let mut bench = Bench::new("key=null");
    let change = with_passwords(
        CommandCode::HIERARCHY_CHANGE_AUTH,
        &[ENDORSEMENT],
        &[&[]],
        &sized(b"endorsement auth"),
    );
    bench.ok(&change);
    let session = start(&mut bench, 0);
    let handle = session.borrow().handle;
    let parameters = [sized(b"qualified"), vec![0, 0x10]].concat();
    let auths = [
        entry(PASSWORD, &[], 1, b"endorsement auth"),
        entry(PASSWORD, &[], 1, &[]),
        // It only encrypts, with a key that all know: an HMAC that fits nothing.
        entry(handle, &[4; 32], 1 | ENCRYPT, &[0; 32]),
    ];
    let rc = bench.rc(&with_auths(
        CommandCode::GET_TIME,
        &[ENDORSEMENT, NULL],
        &auths,
        &parameters,
    ));
    assert!(
        [0xb8e, 0xba2].contains(&rc),
        "the third session is wrong: {rc:x}"
    );
    assert!(!bench.recording.has(b"endorsement auth"));
}

#[test]
fn an_audit_session_of_the_program_s_has_the_digest_that_the_program_computes() {
    let mut bench = Bench::new("key=null");
    let session = start(&mut bench, 0);
    let parameters = 16u16.to_be_bytes();
    let uses = [used(&session, &[], 1 | AUDIT)];
    let (_, random) = run_with(
        &mut bench,
        CommandCode::GET_RANDOM,
        &[],
        &[],
        0,
        &uses,
        &parameters,
    )
    .expect("it");
    let code = CommandCode::GET_RANDOM.0.to_be_bytes();
    let cp_hash = sha256(&[&code[..], &parameters].concat());
    let rp_hash = sha256(&[&[0; 4], &code[..], &random].concat());
    let digest = sha256(&[&[0; 32], &cp_hash[..], &rp_hash].concat());
    let handle = session.borrow().handle;
    let parameters = [sized(&[]), vec![0, 0x10]].concat();
    let passwords: [&[u8]; 2] = [&[], &[]];
    let command = with_passwords(
        CommandCode::GET_SESSION_AUDIT_DIGEST,
        &[ENDORSEMENT, NULL, handle],
        &passwords,
        &parameters,
    );
    let attested = bench.ok(&command);
    assert!(
        attested.windows(32).any(|window| window == digest),
        "{attested:02x?}"
    );
}

#[test]
fn a_session_that_was_saved_is_known_to_another_process() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::remove_file(file.path()).expect("it goes");
    let chain = format!("libtpms:{}", file.path().display());
    let policy = policy_of(&[&command_code_step()]);
    let open = || {
        Bench::over(
            rusttcti::open(&chain).expect("it opens"),
            "key=null,strict=1",
        )
    };
    let mut bench = open();
    let object = seal(&mut bench, &[], &policy, 0x412);
    let save_object = bench.ok(&plain(CommandCode::CONTEXT_SAVE, &[object], &[]));
    let session = start(&mut bench, 1);
    let handle = session.borrow().handle;
    bench.ok(&plain(CommandCode::POLICY_COMMAND_CODE, &[handle], &UNSEAL));
    let saved = bench.ok(&plain(CommandCode::CONTEXT_SAVE, &[handle], &[]));
    drop(bench);

    let mut bench = open();
    let loaded = bench.ok(&plain(CommandCode::CONTEXT_LOAD, &[], &saved));
    assert_eq!(word(&loaded), handle);
    let object = word(&bench.ok(&plain(CommandCode::CONTEXT_LOAD, &[], &save_object)));
    let name = name(&mut bench, object);
    let uses = [used(&session, &[], 1)];
    let (_, unsealed) = unseal_with(&mut bench, object, &name, &uses).expect("unsealed");
    assert_eq!(split(&unsealed).0, SECRET);
    assert!(!bench.recording.has(SECRET));
}

fn loaded_sessions(tcti: &mut dyn Tcti) -> Vec<u32> {
    let list = run(
        tcti,
        &plain(
            CommandCode::GET_CAPABILITY,
            &[],
            &[0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 254],
        ),
    )
    .expect("it");
    let count = word(&list[15..]) as usize;
    list[19..19 + 4 * count].chunks(4).map(word).collect()
}

#[test]
fn the_layer_s_sessions_are_hidden_and_gone_when_it_is_closed() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::remove_file(file.path()).expect("it goes");
    let chain = format!("libtpms:{}", file.path().display());
    let mut bench = Bench::over(rusttcti::open(&chain).expect("it opens"), "key=null");
    bench.ok(&get_random(4));
    assert_eq!(loaded_sessions(&mut bench.tpm), []);
    let one = start(&mut bench, 0).borrow().handle;
    let two = start(&mut bench, 1).borrow().handle & 0xff_ffff | 0x0200_0000;
    let listed = loaded_sessions(&mut bench.tpm);
    assert_eq!(listed.len(), 2, "{listed:x?}");
    assert!(listed.contains(&one) && listed.iter().any(|h| h & 0xffff == two & 0xffff));
    // A page of one, and another.
    let page = |from: u32| {
        let property = from.to_be_bytes();
        plain(
            CommandCode::GET_CAPABILITY,
            &[],
            &[&[0, 0, 0, 1][..], &property, &[0, 0, 0, 1]].concat(),
        )
    };
    let first = bench.ok(&page(0x0200_0000));
    assert_eq!((first[0], word(&first[5..])), (1, 1), "more to come");
    let second = bench.ok(&page(word(&first[9..]) + 1));
    assert_eq!((second[0], word(&second[5..])), (0, 1), "no more");
    for handle in listed {
        let _ = bench.rc(&flush(handle));
    }
    drop(bench);
    let mut bare = rusttcti::open(&chain).expect("it opens");
    assert_eq!(loaded_sessions(&mut *bare).len(), 0);
}

#[test]
fn every_bit_of_a_response_to_a_program_with_sessions_is_guarded() {
    let policy = policy_of(&[&command_code_step()]);
    let mut bench = Bench::new("key=null");
    let object = seal(&mut bench, &[], &policy, 0x412);
    let name = name(&mut bench, object);
    let mut bit = 0;
    loop {
        // An HMAC session, a policy session; which is not left out.
        let owner = OWNER.to_be_bytes();
        let (hmac, policy) = (start(&mut bench, 0), start(&mut bench, 1));
        let handle = policy.borrow().handle;
        bench.ok(&plain(CommandCode::POLICY_COMMAND_CODE, &[handle], &UNSEAL));
        let mut over = true;
        for wanted in [CommandCode::HIERARCHY_CHANGE_AUTH, CommandCode::UNSEAL] {
            bench.meddler.on_response(move |sent, response| {
                if command_code(sent) == wanted {
                    if let Some(byte) = response.get_mut(bit / 8) {
                        *byte ^= 0x80 >> (bit % 8);
                    }
                }
            });
            let uses = [used(
                if wanted == CommandCode::HIERARCHY_CHANGE_AUTH {
                    &hmac
                } else {
                    &policy
                },
                &[],
                1,
            )];
            let (handles, names, parameters) = match wanted {
                CommandCode::HIERARCHY_CHANGE_AUTH => (OWNER, &owner[..], sized(&[])),
                _ => (object, &name[..], Vec::new()),
            };
            let command = signed(&uses[0], wanted, handles, names, &parameters);
            let outcome = bench.run(&command);
            bench.meddler.stop();
            let all = bench.recording.all();
            let (_, answered) = all
                .iter()
                .rev()
                .find(|(sent, _)| command_code(sent) == wanted)
                .expect("an answer");
            if bit >= 8 * answered.len() {
                assert_eq!(response_code(&outcome.expect("untouched")), 0);
                continue;
            }
            over = false;
            let error = outcome.expect_err("found out");
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::IoError | ErrorKind::MalformedResponse
                ),
                "{wanted}, bit {bit}: {error:?}"
            );
        }
        for session in [hmac, policy] {
            bench.ok(&flush(session.borrow().handle));
        }
        bench.recording.clear();
        if over {
            break;
        }
        bit += 1;
    }
}

#[test]
fn a_forged_lack_of_places_does_not_make_a_session_start_in_the_open() {
    let mut bench = Bench::new("key=null");
    let one = start(&mut bench, 0);
    bench.meddler.on_response(|sent, response| {
        if command_code(sent) == CommandCode::START_AUTH_SESSION {
            *response = refusal(0x903);
        }
    });
    let starting = crate::attacks::start_session(1, 0x10);
    assert_eq!(bench.rc(&starting), 0x903);
    bench.meddler.stop();
    for (command, _) in bench.recording.all() {
        let programs = command.windows(32).any(|window| window == [0x11; 32]);
        assert!(!programs, "the program's nonce passed in the open");
    }
    // The session that was moved aside in vain is loaded again.
    let owner = OWNER.to_be_bytes();
    let uses = [used(&one, &[], 1)];
    run_with(
        &mut bench,
        CommandCode::HIERARCHY_CHANGE_AUTH,
        &[OWNER],
        &[&owner],
        1,
        &uses,
        &sized(&[]),
    )
    .expect("it is used");
    bench.ok(&starting);
}

#[test]
fn sessions_of_other_hashes_are_taken_over_too() {
    let mut bench = Bench::new("key=null,strict=1");
    for (hash, size) in [(4u16, 20), (0x0c, 48), (0x0d, 64)] {
        let mut parameters = sized(&vec![0x33; size]);
        parameters.extend_from_slice(&[0, 0, 1, 0, 0x10]);
        parameters.extend_from_slice(&hash.to_be_bytes());
        let started = bench
            .run(&plain(
                CommandCode::START_AUTH_SESSION,
                &[NULL, NULL],
                &parameters,
            ))
            .expect("a response");
        if response_code(&started) != 0 {
            continue; // A TPM need not have each.
        }
        let session = word(&started[10..]);
        bench.ok(&plain(
            CommandCode::POLICY_COMMAND_CODE,
            &[session],
            &UNSEAL,
        ));
        let asked = bench.ok(&plain(CommandCode::POLICY_GET_DIGEST, &[session], &[]));
        assert_eq!(split(&asked).0.len(), size);
        bench.ok(&flush(session));
    }
}

#[test]
fn a_policy_secret_s_password_does_not_pass() {
    let mut bench = Bench::new("key=null,strict=1");
    bench.ok(&with_passwords(
        CommandCode::HIERARCHY_CHANGE_AUTH,
        &[ENDORSEMENT],
        &[&[]],
        &sized(b"endorsement auth"),
    ));
    let session = start(&mut bench, 1).borrow().handle;
    let parameters = [0; 10]; // no nonce, no cpHash, no policyRef, no expiration
    let passwords: [&[u8]; 1] = [b"endorsement auth"];
    bench.ok(&with_passwords(
        CommandCode::POLICY_SECRET,
        &[ENDORSEMENT, session],
        &passwords,
        &parameters,
    ));
    assert!(!bench.recording.has(b"endorsement auth"));
}

#[test]
fn all_three_sessions_of_a_program_are_listed_while_one_is_moved_aside() {
    let mut bench = Bench::new("key=null");
    let started: Vec<u32> = (0..3)
        .map(|_| start(&mut bench, 0).borrow().handle)
        .collect();
    assert_eq!(loaded_sessions(&mut bench.tpm), started);
    for (at, from) in started.iter().enumerate() {
        let page = [&[0, 0, 0, 1][..], &from.to_be_bytes(), &[0, 0, 0, 1]].concat();
        let listed = bench.ok(&plain(CommandCode::GET_CAPABILITY, &[], &page));
        assert_eq!(word(&listed[9..]), *from);
        assert_eq!(listed[0], u8::from(at < 2), "more to come");
    }
}

#[test]
fn a_program_that_starts_sessions_within_a_bound_one_has_three() {
    let mut bench = Bench::new("key=null");
    let bound = start_bound(&mut bench, 0, OWNER, &[]);
    for _ in 0..2 {
        // As systemd and FAPI start theirs: what passes is encrypted by the program.
        let parameters = [sized(&[0x33; 32]), sized(&[]), vec![1, 0, 0x10, 0, 0x0b]].concat();
        let uses = [used(&bound, &[], 1 | ENCRYPT | DECRYPT)];
        run_with(
            &mut bench,
            CommandCode::START_AUTH_SESSION,
            &[NULL, NULL],
            &[&NULL.to_be_bytes(), &NULL.to_be_bytes()],
            0,
            &uses,
            &parameters,
        )
        .expect("there is room for the program's third");
    }
    // The layer's own comes back when it is needed.
    let random = bench.ok(&get_random(16));
    assert!(!bench.recording.has(&random[2..]));
    let uses = [used(&bound, &[], 1 | ENCRYPT)];
    run_with(
        &mut bench,
        CommandCode::GET_RANDOM,
        &[],
        &[],
        0,
        &uses,
        &[0, 8],
    )
    .expect("its nonces are right");
}

#[test]
fn strict_refuses_what_a_bound_session_leaves_in_the_clear() {
    for strict in [0, 1] {
        let mut bench = Bench::new(&format!("key=null,strict={strict}"));
        let object = seal(&mut bench, &[], &[], 0x452);
        let name = name(&mut bench, object);
        let bound = start_bound(&mut bench, 0, OWNER, &[]);
        let unseal = |bench: &mut Bench, attributes| {
            let uses = [used(&bound, &[], attributes)];
            run_with(
                bench,
                CommandCode::UNSEAL,
                &[object],
                &[&name],
                1,
                &uses,
                &[],
            )
        };
        let unsealed = unseal(&mut bench, 1 | ENCRYPT).expect("it is unsealed");
        assert_eq!(split(&unsealed.1).0, SECRET);
        assert!(!bench.recording.has(SECRET));
        if strict == 0 {
            // As FAPI does it: the layer has no key to this session, and the session
            // allows no other one to encrypt beside it.
            unseal(&mut bench, 1).expect("it is unsealed");
            assert!(bench.recording.has(SECRET));
        } else {
            let auth = entry(bound.borrow().handle, &[7; 32], 1, &[9; 32]);
            let error = bench
                .run(&with_auths(CommandCode::UNSEAL, &[object], &[auth], &[]))
                .expect_err("it would pass in the clear");
            assert_eq!(error.kind(), ErrorKind::NotPermitted);
            assert!(error.report().contains("in the clear"), "{error}");
        }
    }
}

#[test]
fn a_policy_without_the_auth_value_changes_that_of_an_index() {
    let mut bench = Bench::new("key=null");
    // PolicyCommandCode(NV_ChangeAuth), on a session that has had nothing else.
    let policy = sha256(
        &[
            &[0; 32][..],
            &CommandCode::POLICY_COMMAND_CODE.0.to_be_bytes(),
            &CommandCode::NV_CHANGE_AUTH.0.to_be_bytes(),
        ]
        .concat(),
    );
    let index = 0x0180_0007_u32;
    // OWNERWRITE, OWNERREAD, AUTHREAD, NO_DA
    let public = [
        &index.to_be_bytes()[..],
        &[0, 0x0b],
        &0x0206_0002_u32.to_be_bytes(),
        &sized(&policy),
        &[0, 8],
    ]
    .concat();
    let parameters = [sized(b"first index auth"), sized(&public)].concat();
    bench.ok(&with_passwords(
        CommandCode::NV_DEFINE_SPACE,
        &[OWNER],
        &[&[]],
        &parameters,
    ));
    let written = [sized(b"8 bytes."), vec![0, 0]].concat();
    bench.ok(&with_passwords(
        CommandCode::NV_WRITE,
        &[OWNER, index],
        &[&[]],
        &written,
    ));
    let response = bench.ok(&plain(CommandCode::NV_READ_PUBLIC, &[index], &[]));
    let (_, rest) = split(&response);
    let name = split(rest).0.to_vec();

    let session = start(&mut bench, 1);
    let handle = session.borrow().handle;
    bench.ok(&plain(
        CommandCode::POLICY_COMMAND_CODE,
        &[handle],
        &CommandCode::NV_CHANGE_AUTH.0.to_be_bytes(),
    ));
    let uses = [used(&session, &[], 1)];
    let new = sized(b"second index auth");
    run_with(
        &mut bench,
        CommandCode::NV_CHANGE_AUTH,
        &[index],
        &[&name],
        1,
        &uses,
        &new,
    )
    .expect("changed");
    let read = bench.ok(&nv_read(index, b"second index auth", 8));
    assert_eq!(split(&read[4..]).0, b"8 bytes.");
    for auth in [&b"first index auth"[..], b"second index auth"] {
        assert!(
            !bench.recording.has(auth),
            "{}",
            String::from_utf8_lossy(auth)
        );
    }
}
