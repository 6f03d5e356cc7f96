// SPDX-License-Identifier: BSD-2-Clause
//! Commands for which a session is not enough: Names and authorizations that change, a
//! TPM without room, and failed authorizations, which a TPM counts.

use rusttcti::ErrorKind;
use rusttcti::wire::{CommandCode, ResponseCode};
use rusttcti_kit::sha256::sha256;

use crate::tpm::*;

#[test]
fn two_passwords_in_one_command_take_two_sessions() {
    let mut bench = Bench::new("key=null,strict=1");
    let change = with_passwords(
        CommandCode::HIERARCHY_CHANGE_AUTH,
        &[ENDORSEMENT],
        &[&[]],
        &sized(b"endorsement auth"),
    );
    bench.ok(&change);
    // GetTime, without a signature.
    let parameters = [sized(b"qualified"), vec![0, 0x10]].concat();
    let passwords: [&[u8]; 2] = [b"endorsement auth", &[]];
    let get_time = with_passwords(
        CommandCode::GET_TIME,
        &[ENDORSEMENT, NULL],
        &passwords,
        &parameters,
    );
    for _ in 0..3 {
        bench.ok(&get_time);
    }
    assert!(!bench.recording.has(b"endorsement auth"));
    assert!(!bench.recording.has(b"qualified"));
    let wrong: [&[u8]; 2] = [b"endorsement auth", b"x"];
    let rc = bench.rc(&with_passwords(
        CommandCode::GET_TIME,
        &[ENDORSEMENT, NULL],
        &wrong,
        &parameters,
    ));
    assert_eq!(rc, 0xaa2, "TPM_RC_BAD_AUTH, session 2");
    bench.ok(&get_time);
}

#[test]
fn a_wrong_password_of_a_protected_object_counts_once() {
    let mut bench = Bench::new("key=null");
    let counter = |bench: &mut Bench| {
        let list = bench.ok(&plain(
            CommandCode::GET_CAPABILITY,
            &[],
            &[0, 0, 0, 6, 0, 0, 2, 0x0e, 0, 0, 0, 1],
        ));
        word(&list[13..])
    };
    // Without noDA.
    let object = seal(&mut bench, b"right", &[], 0x52);
    assert_eq!(counter(&mut bench), 0);
    // TPM_RC_RETRY, once: the TPM notes that it uses protected objects.
    assert_eq!(bench.rc(&unseal(object, b"wrong")), 0x922);
    assert_eq!(counter(&mut bench), 0);
    assert_eq!(bench.rc(&unseal(object, b"wrong")), 0x98e);
    assert_eq!(counter(&mut bench), 1);
    assert_eq!(bench.rc(&unseal(object, b"wrong")), 0x98e);
    assert_eq!(counter(&mut bench), 2);
    bench.ok(&unseal(object, b"right"));
    assert_eq!(counter(&mut bench), 2);
}

#[test]
fn a_full_tpm_has_an_object_moved_aside_for_the_salt_key() {
    let mut bare = rusttcti::open("libtpms").expect("libtpms");
    let handles: Vec<u32> = (0..3)
        .map(|_| {
            word(
                &run(&mut bare, &create_primary(OWNER, &[], b"storage key auth")).expect("it")
                    [10..],
            )
        })
        .collect();
    let mut full = Bench::over(bare, "key=null");
    full.ok(&plain(CommandCode::ECDH_KEY_GEN, &[handles[0]], &[]));
    for handle in handles {
        assert_eq!(
            full.rc(&create_sealed(handle, b"storage key auth", b"x", SECRET)),
            0x902,
            "it takes a place"
        );
        full.ok(&plain(CommandCode::ECDH_KEY_GEN, &[handle], &[]));
    }
    assert!(!full.recording.has(b"storage key auth"));
}

#[test]
fn a_hundred_commands_cost_at_most_a_hundred_and_five() {
    let mut bench = Bench::new("key=null");
    let object = seal(&mut bench, b"auth", &[], 0x452);
    bench.ok(&unseal(object, b"auth"));
    bench.recording.clear();
    for _ in 0..50 {
        bench.ok(&unseal(object, b"auth"));
        bench.ok(&get_random(8));
    }
    let cost = bench.recording.codes().len();
    assert!(cost <= 105, "{cost}");
}

#[test]
fn encrypt_decrypt_is_sent_with_its_data_first_and_refused_in_the_old_numbers() {
    let mut bench = Bench::new("key=null,strict=1");
    let primary = word(&bench.ok(&create_primary(OWNER, &[], &[])));
    // A symmetric key: AES-128, any mode; decrypt, sign, sensitiveDataOrigin.
    let public = [
        0, 0x25, 0, 0x0b, 0, 6, 0x04, 0x72, 0, 0, 0, 6, 0, 128, 0, 0x43, 0, 0,
    ];
    let parameters = [
        sensitive(b"aes", &[]),
        sized(&public),
        sized(&[]),
        vec![0; 4],
    ]
    .concat();
    let created = bench.ok(&with_passwords(
        CommandCode::CREATE,
        &[primary],
        &[&[]],
        &parameters,
    ));
    let key = word(&bench.ok(&load(primary, &[], &created)));
    let command = |decrypt: u8, mode: u16, data: &[u8]| {
        let parameters = [
            &[decrypt][..],
            &mode.to_be_bytes(),
            &sized(&[0; 16]),
            &sized(data),
        ]
        .concat();
        with_passwords(CommandCode::ENCRYPT_DECRYPT, &[key], &[b"aes"], &parameters)
    };
    let encrypted = bench.ok(&command(0, 0x43, SECRET));
    let (encrypted, _) = split(&encrypted[4..]);
    let decrypted = bench.ok(&command(1, 0x43, encrypted));
    assert_eq!(split(&decrypted[4..]).0, SECRET);
    assert!(!bench.recording.has(SECRET));
    // The mode is the second parameter of the program's command.
    let rc = bench.rc(&command(0, 0x42, SECRET));
    assert_eq!(rc & 0xfc0, 0x2c0, "{rc:x}");
}

#[test]
fn a_command_with_no_room_for_a_session_passes_or_is_refused() {
    let long = plain(CommandCode::STIR_RANDOM, &[], &vec![0; 4096 - 10]);
    let fits = plain(CommandCode::STIR_RANDOM, &[], &vec![0; 4096 - 10 - 77]);
    for (options, passes) in [("key=null", true), ("key=null,strict=1", false)] {
        let mut bench = Bench::new(options);
        assert_ne!(bench.rc(&fits), 0, "the TPM refuses it, with a session");
        let sent = |bench: &Bench| bench.recording.all().pop().expect("a command").0;
        assert_eq!(
            (sent(&bench).len(), &sent(&bench)[..2]),
            (4096, &[0x80, 2][..])
        );
        match bench.run(&long) {
            Ok(_) => {
                assert!(passes);
                assert_eq!(sent(&bench), long);
            }
            Err(error) => {
                assert!(!passes);
                assert_eq!(error.kind(), ErrorKind::NotPermitted);
            }
        }
    }
}

#[test]
fn a_command_without_an_authorization_that_it_needs_gets_none() {
    let mut bench = Bench::new("key=null");
    bench.ok(&get_random(4));
    let parameters = sized(b"new");
    let bare = plain(CommandCode::HIERARCHY_CHANGE_AUTH, &[OWNER], &parameters);
    assert_eq!(bench.rc(&bare), ResponseCode::AUTH_MISSING.0);
    assert_eq!(bench.recording.all().pop().expect("a command").0, bare);
}

#[test]
fn sequences_run_with_their_empty_names() {
    let mut bench = Bench::new("key=null,strict=1");
    let start = plain(
        CommandCode::HASH_SEQUENCE_START,
        &[],
        &[&sized(b"sequence auth")[..], &[0, 0x0b]].concat(),
    );
    let sequence = word(&bench.ok(&start));
    bench.ok(&with_passwords(
        CommandCode::SEQUENCE_UPDATE,
        &[sequence],
        &[b"sequence auth"],
        &sized(SECRET),
    ));
    let parameters = [sized(b"!"), NULL.to_be_bytes().to_vec()].concat();
    let done = bench.ok(&with_passwords(
        CommandCode::SEQUENCE_COMPLETE,
        &[sequence],
        &[b"sequence auth"],
        &parameters,
    ));
    assert_eq!(split(&done[4..]).0, sha256(&[SECRET, b"!"].concat()));
    assert!(!bench.recording.has(SECRET));
    assert!(!bench.recording.has(b"sequence auth"));
}

#[test]
fn what_changes_hierarchies_answers_with_the_authorization_that_it_has_then() {
    let mut bench = Bench::new("key=null,strict=1");
    let platform = |code: CommandCode, parameters: &[u8]| {
        with_passwords(code, &[PLATFORM], &[b"platform auth"], parameters)
    };
    bench.ok(&with_passwords(
        CommandCode::HIERARCHY_CHANGE_AUTH,
        &[PLATFORM],
        &[&[]],
        &sized(b"platform auth"),
    ));
    bench.ok(&with_passwords(
        CommandCode::HIERARCHY_CHANGE_AUTH,
        &[ENDORSEMENT],
        &[&[]],
        &sized(b"endorsement auth"),
    ));
    bench.ok(&platform(
        CommandCode::SET_PRIMARY_POLICY,
        &[&sized(&[7; 32])[..], &[0, 0x0b]].concat(),
    ));
    bench.ok(&platform(CommandCode::CHANGE_EPS, &[]));
    bench.ok(&with_passwords(
        CommandCode::HIERARCHY_CHANGE_AUTH,
        &[ENDORSEMENT],
        &[&[]],
        &sized(b"endorsement auth"),
    ));
    bench.ok(&platform(CommandCode::CHANGE_PPS, &[]));
    let control = |enable: u32, on: u8| [&enable.to_be_bytes()[..], &[on]].concat();
    bench.ok(&platform(
        CommandCode::HIERARCHY_CONTROL,
        &control(OWNER, 0),
    ));
    bench.ok(&platform(
        CommandCode::HIERARCHY_CONTROL,
        &control(OWNER, 1),
    ));
    bench.ok(&platform(CommandCode::CLEAR_CONTROL, &[0]));
    bench.ok(&platform(CommandCode::CLEAR, &[]));
    bench.ok(&with_passwords(
        CommandCode::HIERARCHY_CHANGE_AUTH,
        &[ENDORSEMENT],
        &[&[]],
        &sized(b"x"),
    ));
    bench.ok(&platform(
        CommandCode::HIERARCHY_CONTROL,
        &control(PLATFORM, 0),
    ));
    assert!(!bench.recording.has(b"platform auth"));
    assert!(!bench.recording.has(b"endorsement auth"));
}

#[test]
fn index_locks_and_counters_keep_their_names_right() {
    let mut bench = Bench::new("key=null,strict=1");
    // AUTHREAD, AUTHWRITE, WRITE_STCLEAR, READ_STCLEAR, NO_DA; and a counter.
    let (locked, counter) = (0x0180_0010, 0x0180_0011);
    bench.ok(&define_with(locked, b"a", 8, 0x8204_4004));
    bench.ok(&define_with(counter, b"b", 8, 0x0204_0014));
    for _ in 0..3 {
        bench.ok(&with_passwords(
            CommandCode::NV_INCREMENT,
            &[counter, counter],
            &[b"b"],
            &[],
        ));
    }
    bench.ok(&nv_read(counter, b"b", 8));
    bench.ok(&nv_write(locked, b"a", b"8 bytes."));
    bench.ok(&with_passwords(
        CommandCode::NV_WRITE_LOCK,
        &[locked, locked],
        &[b"a"],
        &[],
    ));
    bench.ok(&nv_read(locked, b"a", 8));
    bench.ok(&with_passwords(
        CommandCode::NV_READ_LOCK,
        &[locked, locked],
        &[b"a"],
        &[],
    ));
    assert_eq!(
        bench.rc(&nv_read(locked, b"a", 8)),
        ResponseCode::NV_LOCKED.0
    );
    bench.ok(&with_passwords(
        CommandCode::NV_UNDEFINE_SPACE,
        &[OWNER, locked],
        &[&[]],
        &[],
    ));
    // An index of the same handle with other attributes.
    bench.ok(&define(locked, b"c", 4));
    bench.ok(&nv_write(locked, b"c", b"four"));
    bench.ok(&nv_read(locked, b"c", 4));
}

#[test]
fn what_another_program_changed_is_read_anew_once() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::remove_file(file.path()).expect("it goes");
    let chain = format!("libtpms:{}", file.path().display());
    let mut bench = Bench::over(rusttcti::open(&chain).expect("it opens"), "key=null");
    let index = 0x0180_0020;
    bench.ok(&define(index, b"nv auth", 8));
    // The layer knows the Name; then the index is written behind its back.
    let public = bench.ok(&plain(CommandCode::NV_READ_PUBLIC, &[index], &[]));
    assert!(!public.is_empty());
    use rusttcti::Tcti as _;
    let bus = bench.tpm.below().expect("the bus");
    run(bus, &nv_write(index, b"nv auth", b"8 bytes.")).expect("a response");
    let read = bench.ok(&nv_read(index, b"nv auth", 8));
    assert_eq!(split(&read[4..]).0, b"8 bytes.");
}

#[test]
fn a_handle_that_is_not_there_is_refused_as_by_the_tpm() {
    let mut bench = Bench::new("key=null");
    let mut bare = rusttcti::open("libtpms").expect("libtpms");
    for command in [
        plain(CommandCode::READ_PUBLIC, &[0x8100_0077], &[]),
        plain(CommandCode::READ_PUBLIC, &[0x8000_0005], &[]),
        plain(CommandCode::NV_READ_PUBLIC, &[0x0180_0077], &[]),
        unseal(0x8000_0001, b"x"),
        nv_read(0x0180_0077, b"x", 4),
        plain(CommandCode::POLICY_GET_DIGEST, &[0x0300_0009], &[]),
        plain(CommandCode::READ_PUBLIC, &[OWNER], &[]),
    ] {
        let wanted = response_code(&run(&mut *bare, &command).expect("a response"));
        assert_eq!(bench.rc(&command), wanted, "{}", command_code(&command));
    }
}

#[test]
fn a_context_that_was_saved_here_is_loaded_as_the_same_object() {
    let mut bench = Bench::new("key=null");
    let one = word(&bench.ok(&create_primary(OWNER, &[], b"auth")));
    let two = word(&bench.ok(&create_primary(ENDORSEMENT, &[], b"auth")));
    let saved = bench.ok(&plain(CommandCode::CONTEXT_SAVE, &[one], &[]));
    bench.ok(&flush(one));
    // The program gets another object's handle.
    bench.meddler.on_response(move |sent, response| {
        if command_code(sent) == CommandCode::CONTEXT_LOAD {
            response[10..14].copy_from_slice(&two.to_be_bytes());
        }
    });
    let loaded = word(&bench.ok(&plain(CommandCode::CONTEXT_LOAD, &[], &saved)));
    assert_eq!(loaded, two);
    let refused = bench.rc(&create_sealed(loaded, b"auth", &[], b"data"));
    assert!([0x98e, 0x9a2].contains(&refused), "{refused:x}");
    // Or of something that no context is.
    bench.meddler.on_response(|sent, response| {
        if command_code(sent) == CommandCode::CONTEXT_LOAD {
            response[10..14].copy_from_slice(&0x8100_0001_u32.to_be_bytes());
        }
    });
    let error = bench
        .run(&plain(CommandCode::CONTEXT_LOAD, &[], &saved))
        .expect_err("found out");
    assert_eq!(error.kind(), ErrorKind::IoError);
}
