// SPDX-License-Identifier: BSD-2-Clause
//! Programs that mix sessions of several kinds, with an attacker on the bus: a password
//! stays hidden, a handle never means another session, and a command that cannot work
//! is refused with the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusttcti::ErrorKind;
use rusttcti::wire::CommandCode;
use rusttcti_kit::sha256::sha256;

use crate::program::*;
use crate::reference::{cipher, hmac};
use crate::tpm::*;

const PASSPHRASE: &[u8] = b"object password";
const INDEX: u32 = 0x0180_0030;

/// Signs a command with a session that authorizes nothing, and returns its entry.
fn beside(
    session: &Session,
    code: CommandCode,
    names: &[&[u8]],
    parameters: &[u8],
    attributes: u8,
) -> Vec<u8> {
    let session = session.borrow();
    let code = code.0.to_be_bytes();
    let cp_hash = sha256(&[&code[..], &names.concat(), parameters].concat());
    let hmac = hmac(
        &session.key,
        &[&cp_hash, &NONCE, &session.nonce_tpm, &[attributes]],
    );
    entry(session.handle, &NONCE, attributes, &hmac)
}

/// The nonce of the program's in these entries.
const NONCE: [u8; 32] = [0x5a; 32];

/// Checks the last entry of a response's authorizations, which is that of a session
/// that authorizes nothing, and returns the parameters.
fn checked(session: &Session, code: CommandCode, before: usize, response: &[u8]) -> Vec<u8> {
    let size = word(response) as usize;
    let (parameters, mut area) = response[4..].split_at(size);
    for _ in 0..before {
        let (_, rest) = split(area);
        area = split(&rest[1..]).1;
    }
    let (nonce_tpm, rest) = split(area);
    let rp_hash = sha256(&[&[0; 4], &code.0.to_be_bytes()[..], parameters].concat());
    let key = session.borrow().key.clone();
    let wanted = hmac(&key, &[&rp_hash, nonce_tpm, &NONCE, &rest[..1]]);
    assert_eq!(split(&rest[1..]), (&wanted[..], &[][..]), "HMAC");
    let mut parameters = parameters.to_vec();
    if rest[0] & ENCRYPT != 0 {
        let size = split(&parameters).0.len();
        let data = cipher(&key, nonce_tpm, &NONCE, &parameters[2..2 + size], false);
        parameters[2..2 + size].copy_from_slice(&data);
    }
    session.borrow_mut().nonce_tpm = nonce_tpm.to_vec();
    parameters
}

/// Makes an object below a parent with an empty password, which this session authorizes.
fn create(
    bench: &mut Bench,
    parent: (u32, &[u8]),
    session: &Session,
    attributes: u8,
    parameters: &[u8],
) {
    let uses = [Use {
        session,
        auth: &[],
        attributes,
    }];
    let code = CommandCode::CREATE;
    run_with(bench, code, &[parent.0], &[parent.1], 1, &uses, parameters).expect("created");
}

/// Seals data behind a policy with a password, and returns the object and its Name.
fn behind_a_password(bench: &mut Bench) -> (u32, Vec<u8>) {
    let step = CommandCode::POLICY_AUTH_VALUE.0.to_be_bytes();
    let policy = sha256(&[&[0; 32], &step[..]].concat());
    let object = seal(bench, PASSPHRASE, &policy, 0x412);
    let name = name(bench, object);
    (object, name)
}

/// Starts a policy session with TPM2_PolicyPassword.
fn policy_password(bench: &mut Bench) -> u32 {
    let handle = start(bench, 1).borrow().handle;
    bench.ok(&plain(CommandCode::POLICY_PASSWORD, &[handle], &[]));
    handle
}

/// Runs GetRandom with a session that only encrypts, or audits.
fn random_with(bench: &mut Bench, session: &Session, attributes: u8) -> Vec<u8> {
    let uses = [Use {
        session,
        auth: &[],
        attributes,
    }];
    let size = 16u16.to_be_bytes();
    let run = run_with(bench, CommandCode::GET_RANDOM, &[], &[], 0, &uses, &size);
    run.expect("random bytes").1
}

/// Starts a session that only encrypted after it audited: the layer left it out of a
/// command.
fn start_left_out(bench: &mut Bench) -> Session {
    let session = start(bench, 0);
    random_with(bench, &session, 1 | AUDIT);
    random_with(bench, &session, 1 | ENCRYPT);
    session
}

#[test]
fn a_policy_s_password_does_not_pass_beside_a_session_with_a_key() {
    for options in ["key=null", "key=null,strict=1"] {
        let mut bench = Bench::new(options);
        let (object, name) = behind_a_password(&mut bench);
        let bound = start_bound(&mut bench, 0, OWNER, &[]);
        let policy = start(&mut bench, 1).borrow().handle;
        for _ in 0..2 {
            bench.ok(&plain(CommandCode::POLICY_PASSWORD, &[policy], &[]));
            let auths = [
                entry(policy, &[3; 16], 1, PASSPHRASE),
                beside(&bound, CommandCode::UNSEAL, &[&name], &[], 1 | ENCRYPT),
            ];
            let command = with_auths(CommandCode::UNSEAL, &[object], &auths, &[]);
            let response = bench.run(&command);
            assert!(!bench.recording.has(PASSPHRASE), "{options}");
            let response = response.expect("a response");
            assert_eq!(response_code(&response), 0);
            let unsealed = checked(&bound, CommandCode::UNSEAL, 1, &response[10..]);
            assert_eq!(split(&unsealed).0, SECRET);
        }
        assert!(!bench.recording.has(SECRET));
    }
}

#[test]
fn a_policy_s_password_does_not_pass_in_a_command_without_the_layer_s_session() {
    for (options, kind) in [
        ("key=null", ErrorKind::NotSupported),
        ("key=null,strict=1", ErrorKind::NotPermitted),
        ("key=null,skip=Unseal", ErrorKind::NotSupported),
    ] {
        let mut bench = Bench::new(options);
        let (object, name) = behind_a_password(&mut bench);
        let audit = start(&mut bench, 0);
        let policy = policy_password(&mut bench);
        let auths = [
            entry(policy, &[3; 16], 1, PASSPHRASE),
            beside(&audit, CommandCode::UNSEAL, &[&name], &[], 1 | AUDIT),
        ];
        let outcome = bench.run(&with_auths(CommandCode::UNSEAL, &[object], &auths, &[]));
        assert!(!bench.recording.has(PASSPHRASE), "{options}");
        assert_eq!(outcome.expect_err("refused").kind(), kind, "{options}");
        if options.contains("skip") {
            continue;
        }
        // It is used without the other session.
        let auth = entry(policy, &[3; 16], 1, PASSPHRASE);
        let response = bench.ok(&with_auths(CommandCode::UNSEAL, &[object], &[auth], &[]));
        assert_eq!(split(&response[4..]).0, SECRET);
        assert!(!bench.recording.has(PASSPHRASE), "{options}");
    }
}

/// Answers each StartAuthSession of the program's with this handle.
fn swap_handles(bench: &Bench, handle: u32) {
    bench.meddler.on_response(move |sent, response| {
        let programs = sent[..2] == [0x80, 0x02];
        if programs && command_code(sent) == CommandCode::START_AUTH_SESSION {
            response[10..14].copy_from_slice(&handle.to_be_bytes());
        }
    });
}

/// The command that starts a session that is bound to the owner's hierarchy.
fn bound_start() -> Vec<u8> {
    let parameters = [
        sized(&[0x22; 32]),
        sized(&[]),
        vec![0, 0, 6, 0, 128, 0, 0x43, 0, 0x0b],
    ];
    let code = CommandCode::START_AUTH_SESSION;
    plain(code, &[NULL, OWNER], &parameters.concat())
}

#[test]
fn a_session_is_not_taken_for_another_one_that_the_bus_gives_its_handle() {
    for options in ["key=null", "key=null,strict=1"] {
        let mut bench = Bench::new(options);
        let primary = word(&bench.ok(&create_primary(OWNER, &[], &[])));
        let name = name(&mut bench, primary);
        let weak = start(&mut bench, 0);
        swap_handles(&bench, weak.borrow().handle);
        let error = bench.run(&bound_start()).expect_err("the handle is taken");
        assert_eq!(error.kind(), ErrorKind::IoError, "{error:?}");
        bench.meddler.stop();
        for attributes in [1, 1 | DECRYPT | ENCRYPT] {
            let parameters = sealed_parameters(b"object auth", SECRET, &[], 0x452);
            create(&mut bench, (primary, &name), &weak, attributes, &parameters);
            let (sent, _) = bench.recording.all().pop().expect("a command");
            let view = rusttcti::wire::CommandView::parse(&sent).expect("well formed");
            assert_eq!(view.auths().count(), 2, "the layer's session protects it");
        }
        assert!(!bench.recording.has(SECRET));
    }
}

#[test]
fn a_policy_s_password_does_not_pass_when_its_session_s_handle_is_given_again() {
    // With the type of a policy session, and with that of the one that is started.
    for kind in [0x0300_0000, 0x0200_0000] {
        let mut bench = Bench::new("key=null");
        let (object, _) = behind_a_password(&mut bench);
        let policy = policy_password(&mut bench);
        let given = kind | policy & 0xff_ffff;
        swap_handles(&bench, given);
        let error = bench.run(&bound_start()).expect_err("the handle is taken");
        assert_eq!(error.kind(), ErrorKind::IoError, "{error:?}");
        bench.meddler.stop();
        let auth = entry(policy, &[3; 16], 1, PASSPHRASE);
        let unsealed = bench.run(&with_auths(CommandCode::UNSEAL, &[object], &[auth], &[]));
        assert!(!bench.recording.has(PASSPHRASE));
        assert_eq!(split(&unsealed.expect("a response")[14..]).0, SECRET);
    }
}

#[test]
fn a_policy_session_that_was_flushed_as_it_was_listed_is_started_again() {
    let mut bench = Bench::new("key=null");
    for _ in 0..3 {
        let handle = start(&mut bench, 1).borrow().handle;
        let other = 0x0200_0000 | handle & 0xff_ffff;
        if bench.rc(&flush(other)) != 0 {
            bench.ok(&flush(handle));
        }
    }
}

#[test]
fn a_session_that_is_loaded_is_not_taken_for_one_that_the_bus_loads_with_its_handle() {
    let mut bench = Bench::new("key=null");
    let bound = start_bound(&mut bench, 0, OWNER, &[]).borrow().handle;
    let saved = bench.ok(&plain(CommandCode::CONTEXT_SAVE, &[bound], &[]));
    swap_handles(&bench, bound);
    let weak = word(&bench.ok(&crate::attacks::start_session(0, 6)));
    assert_eq!(weak, bound);
    let error = bench
        .run(&plain(CommandCode::CONTEXT_LOAD, &[], &saved))
        .expect_err("the handle is taken");
    assert_eq!(error.kind(), ErrorKind::IoError, "{error:?}");
}

#[test]
fn a_saved_session_cannot_be_robbed_of_what_the_layer_knows_of_it() {
    for (pads, outside) in [(true, false), (false, true)] {
        let mut bench = Bench::new("key=null");
        let policy = policy_password(&mut bench);
        bench.meddler.on_response(move |sent, response| {
            if command_code(sent) != CommandCode::CONTEXT_SAVE {
                return;
            }
            // So long that nothing fits behind the context, or no context by its form.
            let length = if pads { 4080 } else { response.len() + 1 };
            response.resize(length, 0);
            response[2..6].copy_from_slice(&(length as u32).to_be_bytes());
            if !outside {
                response[26..28].copy_from_slice(&(length as u16 - 28).to_be_bytes());
            }
        });
        let saved = bench.run(&plain(CommandCode::CONTEXT_SAVE, &[policy], &[]));
        let error = saved.expect_err("another process would not know it");
        assert_eq!(error.kind(), ErrorKind::IoError, "{error:?}");
    }
}

#[test]
fn a_parameter_is_not_decrypted_with_a_nonce_that_the_program_does_not_know() {
    let mut bench = Bench::new("key=null");
    bench.ok(&define(INDEX, b"nv auth", 8));
    bench.ok(&nv_write(INDEX, b"nv auth", b"8 bytes."));
    let session = start_left_out(&mut bench);
    let public = bench.ok(&plain(CommandCode::NV_READ_PUBLIC, &[INDEX], &[]));
    let name = split(split(&public).1).0.to_vec();
    let nonce_tpm = session.borrow().nonce_tpm.clone();
    let data = cipher(&[], &NONCE, &nonce_tpm, b"8 bytes!", true);
    let parameters = [sized(&data), vec![0, 0]].concat();
    let code = CommandCode::NV_WRITE;
    let attributes = 1 | AUDIT | DECRYPT;
    let auths = [
        entry(PASSWORD, &[], 1, b"nv auth"),
        beside(&session, code, &[&name, &name], &parameters, attributes),
    ];
    let outcome = bench.run(&with_auths(code, &[INDEX, INDEX], &auths, &parameters));
    let read = bench.ok(&nv_read(INDEX, b"nv auth", 8));
    assert_eq!(split(&read[4..]).0, b"8 bytes.", "nothing else was written");
    let error = outcome.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::NotSupported, "{error:?}");
}

#[test]
fn a_right_password_is_not_counted_as_wrong_because_of_a_session_beside_it() {
    let mut bench = Bench::new("key=null");
    let primary = word(&bench.ok(&create_primary(OWNER, &[], b"parent")));
    let name = name(&mut bench, primary);
    let session = start_left_out(&mut bench);
    let first = start(&mut bench, 0).borrow().handle;
    let parameters = sealed_parameters(&[], b"data", &[], 0x452);
    // The first HMAC covers the nonce of the second session, and so the TPM's is another.
    let auths = [
        entry(first, &NONCE, 1, &[7; 32]),
        beside(
            &session,
            CommandCode::CREATE,
            &[&name],
            &parameters,
            1 | ENCRYPT,
        ),
    ];
    bench.recording.clear();
    let command = with_auths(CommandCode::CREATE, &[primary], &auths, &parameters);
    let error = bench.run(&command).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::NotSupported, "{error:?}");
    let sent = bench.recording.codes();
    assert!(
        !sent.contains(&CommandCode::CREATE),
        "the TPM would count it"
    );
}

#[test]
fn a_weak_session_whose_nonce_the_bus_changes_or_hides_is_refused_by_the_tpm() {
    for hides in [false, true] {
        let mut bench = Bench::new("key=null");
        let primary = word(&bench.ok(&create_primary(OWNER, &[], b"parent")));
        let name = name(&mut bench, primary);
        let session = start(&mut bench, 0);
        bench.meddler.on_response(move |_, response| {
            if hides {
                *response = refusal(0x922);
                return;
            }
            // Anybody can make the HMAC of a session without a key.
            let at = 14 + word(&response[10..]) as usize;
            let code = CommandCode::GET_RANDOM.0.to_be_bytes();
            let rp_hash = sha256(&[&[0; 4], &code[..], &response[14..at]].concat());
            let attributes = response[at + 34..at + 35].to_vec();
            let hmac = hmac(&[], &[&rp_hash, &[0x77; 32], &NONCE, &attributes]);
            response[at + 2..at + 34].copy_from_slice(&[0x77; 32]);
            response[at + 37..at + 69].copy_from_slice(&hmac);
        });
        let size = 16u16.to_be_bytes();
        let code = CommandCode::GET_RANDOM;
        let auth = beside(&session, code, &[], &size, 1 | ENCRYPT);
        let outcome = bench.run(&with_auths(code, &[], &[auth], &size));
        bench.meddler.stop();
        let response = outcome.expect("a response");
        assert_eq!(response_code(&response), if hides { 0x922 } else { 0 });
        if !hides {
            checked(&session, code, 0, &response[10..]);
            assert_eq!(session.borrow().nonce_tpm, [0x77; 32]);
        }
        let parameters = sealed_parameters(&[], SECRET, &[], 0x452);
        for auth in [&b"parent"[..], b""] {
            let uses = [Use {
                session: &session,
                auth,
                attributes: 1 | DECRYPT,
            }];
            let code = CommandCode::CREATE;
            let handles = [primary];
            let refused = run_with(&mut bench, code, &handles, &[&name], 1, &uses, &parameters);
            assert!(matches!(refused, Err(0x98e | 0x9a2)), "{refused:?}");
        }
        let random = bench.ok(&get_random(16));
        assert!(!bench.recording.has(&random[2..]));
    }
}

/// Makes an AES key with this authValue and policy, and returns it and its Name.
fn aes_key(bench: &mut Bench, auth: &[u8], policy: &[u8]) -> (u32, Vec<u8>) {
    let primary = word(&bench.ok(&create_primary(OWNER, &[], &[])));
    let public = [
        &[0, 0x25, 0, 0x0b, 0, 6, 0x04, 0x72][..],
        &sized(policy),
        &[0, 6, 0, 128, 0, 0x43, 0, 0],
    ];
    let parameters = [
        sensitive(auth, &[]),
        sized(&public.concat()),
        sized(&[]),
        vec![0; 4],
    ];
    let parameters = parameters.concat();
    let code = CommandCode::CREATE;
    let created = bench.ok(&with_passwords(code, &[primary], &[&[]], &parameters));
    let key = word(&bench.ok(&load(primary, &[], &created)));
    bench.ok(&flush(primary));
    let name = name(bench, key);
    (key, name)
}

/// The parameters of TPM2_EncryptDecrypt.
fn to_encrypt() -> Vec<u8> {
    [
        &[0, 0, 0x43][..],
        &sized(&[0; 16]),
        &sized(b"sixteen bytes...")[..],
    ]
    .concat()
}

#[test]
fn encrypt_decrypt_stays_itself_where_the_program_s_hmac_or_digest_covers_it() {
    let code = CommandCode::ENCRYPT_DECRYPT;
    let parameters = to_encrypt();
    let mut bench = Bench::new("key=null");
    let (key, name) = aes_key(&mut bench, b"aes", &[]);
    let session = start(&mut bench, 0);
    let uses = [Use {
        session: &session,
        auth: b"aes",
        attributes: 1,
    }];
    run_with(&mut bench, code, &[key], &[&name], 1, &uses, &parameters).expect("encrypted");

    // Beside a password, the audit digest is that of the program's command.
    let audit = start(&mut bench, 0);
    let auths = [
        entry(PASSWORD, &[], 1, b"aes"),
        beside(&audit, code, &[&name], &parameters, 1 | AUDIT),
    ];
    let response = bench.ok(&with_auths(code, &[key], &auths, &parameters));
    let answered = checked(&audit, code, 1, &response);
    let code = code.0.to_be_bytes();
    let cp_hash = sha256(&[&code[..], &name, &parameters].concat());
    let rp_hash = sha256(&[&[0; 4], &code[..], &answered].concat());
    let digest = sha256(&[&[0; 32], &cp_hash[..], &rp_hash].concat());
    let found = attested(&mut bench, audit.borrow().handle);
    assert!(found.windows(32).any(|window| window == digest));
}

#[test]
fn encrypt_decrypt_stays_itself_for_a_policy_that_names_it() {
    let code = CommandCode::ENCRYPT_DECRYPT;
    let step = [CommandCode::POLICY_COMMAND_CODE.0, code.0].map(u32::to_be_bytes);
    let policy = sha256(&[&[0; 32], &step.concat()[..]].concat());
    let mut bench = Bench::new("key=null");
    let (key, name) = aes_key(&mut bench, b"aes", &policy);
    let session = start(&mut bench, 1);
    let handle = session.borrow().handle;
    bench.ok(&plain(
        CommandCode::POLICY_COMMAND_CODE,
        &[handle],
        &step[1],
    ));
    let uses = [Use {
        session: &session,
        auth: &[],
        attributes: 1,
    }];
    run_with(&mut bench, code, &[key], &[&name], 1, &uses, &to_encrypt()).expect("encrypted");
}

/// Returns TPM2_GetSessionAuditDigest's attestation of a session.
fn attested(bench: &mut Bench, session: u32) -> Vec<u8> {
    bench.ok(&attestation_of(session))
}

fn attestation_of(session: u32) -> Vec<u8> {
    let handles = [ENDORSEMENT, NULL, session];
    let parameters = [sized(&[]), vec![0, 0x10]].concat();
    let passwords: [&[u8]; 2] = [&[], &[]];
    let code = CommandCode::GET_SESSION_AUDIT_DIGEST;
    with_passwords(code, &handles, &passwords, &parameters)
}

#[test]
fn what_is_unsealed_cannot_be_guessed_by_an_audit_digest() {
    use rusttcti::Tcti as _;
    let mut bench = Bench::new("key=null");
    let object = seal(&mut bench, b"auth", &[], 0x452);
    let name = name(&mut bench, object);
    let session = start(&mut bench, 0);
    let code = CommandCode::UNSEAL;
    let auths = [
        entry(PASSWORD, &[], 1, b"auth"),
        beside(&session, code, &[&name], &[], 1 | ENCRYPT),
    ];
    let response = bench.ok(&with_auths(code, &[object], &auths, &[]));
    let unsealed = checked(&session, code, 1, &response);
    assert_eq!(split(&unsealed).0, SECRET);
    // Somebody on the bus asks the TPM, and tries what may have been unsealed.
    let code = code.0.to_be_bytes();
    let cp_hash = sha256(&[&code[..], &name].concat());
    let rp_hash = sha256(&[&[0; 4], &code[..], &sized(SECRET)].concat());
    let guess = sha256(&[&[0; 32], &cp_hash[..], &rp_hash].concat());
    let all = bench.recording.all();
    let (_, encrypted) = all.last().expect("a response");
    let rp_hash = sha256(&[&[0; 4], &code[..], &encrypted[14..14 + 2 + SECRET.len()]].concat());
    let real = sha256(&[&[0; 32], &cp_hash[..], &rp_hash].concat());
    let handle = session.borrow().handle;
    let bus = bench.tpm.below().expect("the bus");
    let found = run(bus, &attestation_of(handle)).expect("a response");
    assert_eq!(response_code(&found), 0);
    let has = |digest: [u8; 32]| found.windows(32).any(|window| window == digest);
    assert!(
        has(real) && !has(guess),
        "what passed on the bus is in the digest"
    );
}

#[test]
fn a_policy_session_that_had_a_password_is_used_with_an_hmac_after_that() {
    let mut bench = Bench::new("key=null,strict=1");
    let (object, _) = behind_a_password(&mut bench);
    let session = start(&mut bench, 1);
    let handle = session.borrow().handle;
    bench.ok(&plain(CommandCode::POLICY_PASSWORD, &[handle], &[]));
    let auth = entry(handle, &NONCE, 1, PASSPHRASE);
    let response = bench.ok(&with_auths(CommandCode::UNSEAL, &[object], &[auth], &[]));
    let size = word(&response) as usize;
    session.borrow_mut().nonce_tpm = split(&response[4 + size..]).0.to_vec();
    bench.ok(&flush(object));
    // The use reset the policy.
    let code = CommandCode::UNSEAL.0.to_be_bytes();
    let step = [CommandCode::POLICY_COMMAND_CODE.0.to_be_bytes(), code].concat();
    let policy = sha256(&[&[0; 32], &step[..]].concat());
    let object = seal(&mut bench, &[], &policy, 0x412);
    let name = name(&mut bench, object);
    bench.ok(&plain(CommandCode::POLICY_COMMAND_CODE, &[handle], &code));
    let uses = [Use {
        session: &session,
        auth: &[],
        attributes: 1,
    }];
    let code = CommandCode::UNSEAL;
    let unsealed = run_with(&mut bench, code, &[object], &[&name], 1, &uses, &[]);
    assert_eq!(split(&unsealed.expect("unsealed").1).0, SECRET);
    // A password that comes without TPM2_PolicyPassword does not pass either.
    let auth = entry(handle, &NONCE, 1, PASSPHRASE);
    assert_ne!(bench.rc(&with_auths(code, &[object], &[auth], &[])), 0);
    assert!(!bench.recording.has(PASSPHRASE) && !bench.recording.has(SECRET));
}

#[test]
fn strict_refuses_what_an_audit_session_beside_a_password_leaves_in_the_clear() {
    let mut bench = Bench::new("key=null,strict=1");
    let object = seal(&mut bench, b"auth", &[], 0x452);
    let name = name(&mut bench, object);
    let code = CommandCode::UNSEAL;
    for bind in [NULL, OWNER] {
        let audit = start_bound(&mut bench, 0, bind, &[]);
        let auths = [
            entry(PASSWORD, &[], 1, b"auth"),
            beside(&audit, code, &[&name], &[], 1 | AUDIT),
        ];
        let outcome = bench.run(&with_auths(code, &[object], &auths, &[]));
        assert!(!bench.recording.has(SECRET));
        assert_eq!(
            outcome.expect_err("refused").kind(),
            ErrorKind::NotPermitted
        );
    }
}

#[test]
fn a_session_is_protected_after_the_bus_says_that_it_ended() {
    let mut bench = Bench::new("key=null");
    let parent = word(&bench.ok(&create_primary(OWNER, &[], b"parent")));
    let parent_name = name(&mut bench, parent);
    let session = start(&mut bench, 0);
    bench.meddler.on_response(|_, response| {
        let size = word(&response[10..]) as usize;
        response[14 + size + 34] &= !1;
    });
    let used = Use {
        session: &session,
        auth: b"parent",
        attributes: 1,
    };
    let parameters = sealed_parameters(&[], b"data", &[], 0x452);
    let command = signed(
        &used,
        CommandCode::CREATE,
        parent,
        &parent_name,
        &parameters,
    );
    // Only the program can check this HMAC.
    let response = bench.run(&command).expect("a response");
    bench.meddler.stop();
    let size = word(&response[10..]) as usize;
    session.borrow_mut().nonce_tpm = split(&response[14 + size..]).0.to_vec();
    bench.ok(&flush(parent));

    let primary = word(&bench.ok(&create_primary(OWNER, &[], &[])));
    let name = name(&mut bench, primary);
    let parameters = sealed_parameters(&[], SECRET, &[], 0x452);
    create(&mut bench, (primary, &name), &session, 1, &parameters);
    assert!(!bench.recording.has(SECRET));
}

#[test]
fn a_session_that_the_program_flushed_itself_is_not_flushed_once_more() {
    let mut bench = Bench::new("key=null");
    let session = start(&mut bench, 1);
    let handle = session.borrow().handle;
    // It ends with a command out of which it is left, and so it is still loaded.
    random_with(&mut bench, &session, ENCRYPT);
    bench.ok(&flush(handle));
    let again = start(&mut bench, 1).borrow().handle;
    assert_eq!(again, handle, "the TPM gives the same handle");
    // The layer's session is made anew.
    let once = Arc::new(AtomicBool::new(true));
    bench.meddler.on_response(move |_, response| {
        if once.swap(false, Ordering::SeqCst) {
            *response = refusal(0x98b);
        }
    });
    bench.ok(&get_random(8));
    bench.meddler.stop();
    bench.ok(&plain(CommandCode::POLICY_GET_DIGEST, &[again], &[]));
}
