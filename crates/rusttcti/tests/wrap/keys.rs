// SPDX-License-Identifier: BSD-2-Clause
//! Salt keys from files: a TPM2B_PUBLIC, PEM, both curves, and files that are refused.

use std::path::Path;

use rusttcti::layer::wrap::Wrap;
use rusttcti::wire::CommandCode;
use rusttcti::{ErrorKind, Tcti};

use crate::tpm::*;

const HANDLE: u32 = 0x8100_0001;

/// P-256 with SHA-256 and AES-128, and P-384 with SHA-384 and AES-256.
fn templates() -> [(&'static str, Vec<u8>); 2] {
    let mut p384 = vec![0, 0x23, 0, 0x0c, 0, 0x03, 0x04, 0x72, 0, 0];
    p384.extend_from_slice(&[0, 6, 1, 0, 0, 0x43, 0, 0x10, 0, 4, 0, 0x10, 0, 0, 0, 0]);
    [("P-256", storage_template()), ("P-384", p384)]
}

/// Makes a persistent key, and returns its public area.
fn provision(tcti: &mut dyn Tcti, handle: u32, template: &[u8]) -> Vec<u8> {
    let parameters = [sensitive(&[], &[]), sized(template), sized(&[]), vec![0; 4]].concat();
    let made = run(
        tcti,
        &with_passwords(CommandCode::CREATE_PRIMARY, &[OWNER], &[&[]], &parameters),
    )
    .expect("a key");
    assert_eq!(response_code(&made), 0);
    let key = word(&made[10..]);
    let evict = with_passwords(
        CommandCode::EVICT_CONTROL,
        &[OWNER, key],
        &[&[]],
        &handle.to_be_bytes(),
    );
    assert_eq!(response_code(&run(tcti, &evict).expect("a response")), 0);
    run(tcti, &flush(key)).expect("a response");
    split(&made[18..]).0.to_vec()
}

/// The two coordinates at the end of a public area.
fn point(public: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let size = if public.len() > 100 { 48 } else { 32 };
    let y = public[public.len() - size..].to_vec();
    let x = public[public.len() - 2 * size - 2..][..size].to_vec();
    (x, y)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (at, chunk) in bytes.chunks(3).enumerate() {
        if at > 0 && at % 16 == 0 {
            text.push('\n');
        }
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..4 {
            text.push(match digit <= chunk.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]),
                false => '=',
            });
        }
    }
    text
}

/// A SubjectPublicKeyInfo in PEM, made by hand.
fn pem(public: &[u8]) -> String {
    let (x, y) = point(public);
    let curve: &[u8] = match x.len() {
        32 => &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        _ => &[0x06, 5, 0x2b, 0x81, 0x04, 0x00, 0x22],
    };
    let algorithm = [&[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01], curve].concat();
    let bits = [&[0u8, 4][..], &x, &y].concat();
    let body = [
        &[0x30, algorithm.len() as u8][..],
        &algorithm,
        &[3, bits.len() as u8],
        &bits,
    ]
    .concat();
    let der = [&[0x30, body.len() as u8][..], &body].concat();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64(&der)
    )
}

fn write(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("it is written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn sessions_are_salted_with_the_key_of_a_file_on_both_curves() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, template) in templates() {
        for form in ["TPM2B", "TPMT", "PEM"] {
            let mut tpm = rusttcti::open("libtpms").expect("libtpms");
            let public = provision(&mut *tpm, HANDLE, &template);
            let content = match form {
                "TPM2B" => sized(&public),
                "TPMT" => public.clone(),
                _ => pem(&public).into_bytes(),
            };
            let file = write(folder.path(), "key", &content);
            let mut bench = Bench::over(tpm, &format!("key={file},strict=1"));
            let primary = word(&bench.ok(&create_primary(OWNER, &[], b"pass word")));
            bench.ok(&create_sealed(primary, b"pass word", b"x", b"a secret"));
            assert!(!bench.recording.has(b"pass word"), "{name} {form}");
            assert!(!bench.recording.has(b"a secret"), "{name} {form}");
            // It outlives a reset, as a file's key does.
            bench.tpm.reset().expect("a power cycle");
            bench.ok(&get_random(8));
        }
    }
}

#[test]
fn another_key_than_the_file_s_is_refused_before_a_session_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut elsewhere = rusttcti::open("libtpms").expect("libtpms");
    let other = provision(&mut *elsewhere, HANDLE, &storage_template());
    for content in [sized(&other), pem(&other).into_bytes()] {
        let file = write(folder.path(), "key", &content);
        let mut tpm = rusttcti::open("libtpms").expect("libtpms");
        provision(&mut *tpm, HANDLE, &storage_template());
        let mut bench = Bench::over(tpm, &format!("key={file}"));
        let error = bench.run(&get_random(8)).expect_err("another key");
        assert_eq!(error.kind(), ErrorKind::IoError);
        let text = error.to_string();
        assert!(text.contains("is not the one of the file"), "{text}");
        assert!(text.contains("0x81000001"), "{text}");
        assert_eq!(bench.recording.codes(), [CommandCode::READ_PUBLIC]);
    }
}

#[test]
fn an_impostor_that_shows_the_right_public_area_cannot_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tpm = rusttcti::open("libtpms").expect("libtpms");
    let public = provision(&mut *tpm, HANDLE, &storage_template());
    let shown =
        run(&mut *tpm, &plain(CommandCode::READ_PUBLIC, &[HANDLE], &[])).expect("a response");
    let file = write(folder.path(), "key", &sized(&public));
    let mut other = rusttcti::open("libtpms").expect("libtpms");
    provision(&mut *other, HANDLE, &storage_template());
    let mut bench = Bench::over(other, &format!("key={file}"));
    bench.meddler.on_response(move |sent, response| {
        if command_code(sent) == CommandCode::READ_PUBLIC {
            *response = shown.clone();
        }
    });
    let error = bench.run(&get_random(8)).expect_err("an impostor");
    assert!(
        error.to_string().contains("does not hold the salt key"),
        "{error}"
    );
}

#[test]
fn a_missing_key_says_where_it_was_looked_for_and_what_puts_it_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tpm = rusttcti::open("libtpms").expect("libtpms");
    let public = provision(&mut *tpm, HANDLE, &storage_template());
    let file = write(folder.path(), "key", &sized(&public));
    let mut bench = Bench::over(tpm, &format!("key={file},handle=0x81000042"));
    let text = bench.run(&get_random(8)).expect_err("no key").to_string();
    assert!(
        text.contains("0x81000042") && text.contains("tpm2_evictcontrol"),
        "{text}"
    );
}

fn refusal(options: &str) -> rusttcti::Error {
    let tpm = rusttcti::open("null").expect("null");
    Wrap::new(tpm, options).expect_err("refused")
}

#[test]
fn options_that_cannot_be_are_refused_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let garbage = write(folder.path(), "garbage", b"not a key");
    // TPMT_PUBLIC of an RSA key, as far as it is read.
    let rsa = write(
        folder.path(),
        "rsa",
        &sized(&[0, 1, 0, 0x0b, 0, 3, 4, 0x72, 0, 0]),
    );
    for (options, kind, told) in [
        (String::new(), ErrorKind::BadValue, "choose key=FILE"),
        ("key=".into(), ErrorKind::BadValue, "null or a file"),
        (
            "key=/nowhere/at/all".into(),
            ErrorKind::BadValue,
            "/nowhere/at/all",
        ),
        (
            format!("key={garbage}"),
            ErrorKind::BadValue,
            "TPM2B_PUBLIC",
        ),
        (format!("key={rsa}"), ErrorKind::NotSupported, "RSA"),
        (
            "key=null,handle=0x81000001".into(),
            ErrorKind::BadValue,
            "handle=",
        ),
        (
            format!("key={garbage},handle=1"),
            ErrorKind::BadValue,
            "0x81000000",
        ),
        (
            "key=null,name=000b12".into(),
            ErrorKind::BadValue,
            "hexadecimal",
        ),
        ("key=null,strict=yes".into(), ErrorKind::BadValue, "0 or 1"),
        (
            "key=null,skip=NoSuchCommand".into(),
            ErrorKind::BadValue,
            "NoSuchCommand",
        ),
        ("key=null,nosuch=1".into(), ErrorKind::BadValue, "nosuch"),
    ] {
        let error = refusal(&options);
        assert_eq!(error.kind(), kind, "{options}: {error:?}");
        assert!(
            error.report().contains(told),
            "{options}: {}",
            error.report()
        );
    }
    Wrap::new(
        rusttcti::open("null").expect("null"),
        "key=null,skip=GetRandom+0x17a+PCR_Read",
    )
    .expect("codes and names");
}

#[test]
fn what_is_skipped_passes_as_it_is_and_nothing_else() {
    let mut bench = Bench::new("key=null,skip=GetRandom");
    bench.ok(&get_random(8));
    assert_eq!(bench.recording.all()[0].0, get_random(8));
    bench.ok(&plain(CommandCode::READ_CLOCK, &[], &[]));
    let sent = bench.recording.all().pop().expect("a command").0;
    assert_eq!(sent[..2], [0x80, 2]);
}

#[test]
fn the_name_of_the_first_contact_is_told_and_accepted_again() {
    use rusttcti_kit::sha256::sha256;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::remove_file(file.path()).expect("it goes");
    let chain = format!("libtpms:{}", file.path().display());
    let tpm = rusttcti::open(&chain).expect("it opens");
    let mut bench = Bench::over(tpm, "key=null");
    bench.ok(&get_random(8));
    let all = bench.recording.all();
    let (_, made) = all
        .iter()
        .find(|(command, _)| command_code(command) == CommandCode::CREATE_PRIMARY)
        .expect("CreatePrimary");
    let name = crate::reference::hex(&sha256(split(&made[18..]).0));
    drop(bench);
    // The same TPM, not reset: a state file's keeps its null seed.
    let tpm = rusttcti::open(&chain).expect("it opens");
    let mut bench = Bench::over(tpm, &format!("key=null,name=000b{name}"));
    bench.ok(&get_random(8));
}
