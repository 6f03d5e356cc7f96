// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the derivations: known answers, a second implementation of each in a few
//! lines, and a recorded exchange of ESYS with a TPM.

#![forbid(unsafe_code)]

use super::crypto::{Direction, Hash, ParameterCipher, kdfa, kdfe};
use super::curve::Curve;
use super::key::{SaltKey, from_hex, hex, null_template};
use super::program_sessions::{Audited, Kind, ProgramSession};
use super::session::{HmacInput, Session};
use crate::wire::CommandCode;

fn bytes(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    from_hex(&text).expect("hexadecimal")
}

#[test]
fn hmacs_and_digests_have_the_known_answers() {
    // RFC 4231, test case 2; FIPS 180, "abc".
    let (key, data) = (b"Jefe", b"what do ya want for nothing?");
    for (hash, mac, digest) in [
        (
            Hash::Sha256,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            Hash::Sha384,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
             8e2240ca5e69e2c78b3239ecfab21649",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
             8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            Hash::Sha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        (
            // RFC 2202, test case 2.
            Hash::Sha1,
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            "a9993e364706816aba3e25717850c26c9cd0d89d",
        ),
    ] {
        assert_eq!(hex(&hash.hmac(key, &[data])), mac);
        assert_eq!(hex(&hash.hmac(key, &[&data[..5], &data[5..]])), mac);
        assert_eq!(hex(&hash.digest(&[b"a", b"bc"])), digest);
        assert_eq!(Hash::from_id(hash.id()), Some(hash));
        assert_eq!(hash.digest(&[]).len(), hash.size());
    }
}

#[test]
fn kdfa_is_hmac_in_counter_mode() {
    for (hash, bits) in [
        (Hash::Sha256, 256u32),
        (Hash::Sha256, 384),
        (Hash::Sha384, 384),
        (Hash::Sha1, 256),
    ] {
        let one = |counter: u32| {
            let parts = [
                &counter.to_be_bytes()[..],
                b"ATH\0",
                b"newer",
                b"older",
                &bits.to_be_bytes(),
            ];
            hash.hmac(b"key", &[&parts.concat()]).to_vec()
        };
        let mut wanted = [one(1), one(2)].concat();
        wanted.truncate(bits as usize / 8);
        assert_eq!(*kdfa(hash, b"key", "ATH", b"newer", b"older", bits), wanted);
    }
}

#[test]
fn kdfe_is_one_digest_of_counter_secret_label_and_both_parties() {
    let wanted = Hash::Sha256.digest(&[&[0, 0, 0, 1], b"zSECRET\0", b"ephemeral", b"static"]);
    assert_eq!(
        *kdfe(Hash::Sha256, b"z", "SECRET", b"ephemeral", b"static"),
        wanted
    );
}

#[test]
fn cfb_has_the_known_answers_and_undoes_itself() {
    // The key and IV are made by KDFa, so that the blocks are compared with
    // AES by itself: CFB of zeros is the chain of encrypted blocks.
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    for bits in [128, 192, 256] {
        let cipher = ParameterCipher {
            hash: Hash::Sha256,
            key_bits: bits,
            value: b"value",
            nonce_newer: b"newer",
            nonce_older: b"older",
        };
        let mut zeros = [0; 40];
        cipher
            .apply(Direction::Encrypt, &mut zeros)
            .expect("a size of AES");
        let made = kdfa(
            Hash::Sha256,
            b"value",
            "CFB",
            b"newer",
            b"older",
            u32::from(bits) + 128,
        );
        let (key, iv) = made.split_at(usize::from(bits) / 8);
        let mut block = iv.to_vec();
        let mut wanted = Vec::new();
        for _ in 0..3 {
            let mut array = <[u8; 16]>::try_from(&block[..]).expect("a block").into();
            match bits {
                128 => aes::Aes128::new_from_slice(key)
                    .expect("16")
                    .encrypt_block(&mut array),
                192 => aes::Aes192::new_from_slice(key)
                    .expect("24")
                    .encrypt_block(&mut array),
                _ => aes::Aes256::new_from_slice(key)
                    .expect("32")
                    .encrypt_block(&mut array),
            }
            block = array.to_vec();
            wanted.extend_from_slice(&block);
        }
        assert_eq!(zeros, wanted[..40]);
        cipher
            .apply(Direction::Decrypt, &mut zeros)
            .expect("a size of AES");
        assert_eq!(zeros, [0; 40]);
    }
    let odd = ParameterCipher {
        hash: Hash::Sha256,
        key_bits: 64,
        value: &[],
        nonce_newer: &[],
        nonce_older: &[],
    };
    odd.apply(Direction::Encrypt, &mut [0])
        .expect_err("no size of AES");
}

/// A GetRandom of ESYS with an unsalted session that encrypts, and libtpms's
/// answer: what tpm2_getrandom -S sent and got, and printed.
#[test]
fn an_exchange_of_esys_with_a_tpm_verifies_and_decrypts() {
    let started = bytes("e4eb1a40dc2f1c0ef652e0da5d98ba922c54e56a9716b656343c2e93111ef537");
    let nonce_caller = bytes("83162574d633eb61d4874e48c3f8f24ddebdda14a03e26ee89fd1e62d754c51f");
    let nonce_tpm = bytes("c0a1634f186b60d83a720f509c70430ca8329d7ceeeab4c4c97418095c4ebe6b");
    let command = [&CommandCode::GET_RANDOM.0.to_be_bytes()[..], &[0, 16]].concat();
    let sent = HmacInput {
        parameters: &Hash::Sha256.digest(&[&command]),
        nonce_newer: &nonce_caller,
        nonce_older: &started,
        others: &[],
        attributes: 0x41,
    };
    let hmac = "80122a63f071971fb2b5eaf7b4ede70f3d1066286f1b3b17c468a2ac50a97bc5";
    assert_eq!(hex(&sent.hmac(Hash::Sha256, &[])), hmac);

    let mut random = bytes("0090aac6c2c022ae180df1a5f660a61f");
    let response = [
        &[0; 4],
        &CommandCode::GET_RANDOM.0.to_be_bytes()[..],
        &[0, 16],
        &random,
    ]
    .concat();
    let answered = HmacInput {
        parameters: &Hash::Sha256.digest(&[&response]),
        nonce_newer: &nonce_tpm,
        nonce_older: &nonce_caller,
        others: &[],
        attributes: 0x41,
    };
    let hmac = "4946e659c482d13a4fac66e427a18a8df0264cad180b2bc246d05abe45648bdc";
    assert_eq!(hex(&answered.hmac(Hash::Sha256, &[])), hmac);

    let cipher = ParameterCipher {
        hash: Hash::Sha256,
        key_bits: 128,
        value: &[],
        nonce_newer: &nonce_tpm,
        nonce_older: &nonce_caller,
    };
    cipher
        .apply(Direction::Decrypt, &mut random)
        .expect("AES-128");
    assert_eq!(hex(&random), "3b785e640c3bbbb7c8832ea2c4e322b0");
}

/// Private key, public key and shared secret of RFC 5903 (8.1 and 8.2).
#[test]
fn ecdh_has_the_known_answers_of_rfc_5903() {
    for (curve, private, own, other_x, other_y, z) in [
        (
            Curve::P256,
            "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
            "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180",
            "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63",
            "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
            "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
        ),
        (
            Curve::P384,
            "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655
             E35B538041E649EE3FAEF896783AB194",
            "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6
             DE3AC808ACB4BDB4C88732AEE95F41AA",
            "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D
             0D1AC43A0336DEF96FDA41D0774A3571",
            "DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FF
             F83FA40142209DFF5EAAD96DB9E6386C",
            "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4
             D603135569B9E9D09CF5D4A270F59746",
        ),
    ] {
        let (x, y) = (bytes(other_x), bytes(other_y));
        assert!(curve.has_point(&x, &y));
        let salt = curve
            .salt_of(Hash::Sha256, &bytes(private), &x, &y)
            .expect("no zeros in front");
        assert_eq!(salt.encrypted[2..2 + curve.size()], bytes(own));
        assert_eq!(salt.encrypted.len(), 4 + 2 * curve.size());
        assert_eq!(
            salt.value,
            kdfe(Hash::Sha256, &bytes(z), "SECRET", &bytes(own), &x)
        );
        let mut off = y.clone();
        off[0] ^= 1;
        assert!(!curve.has_point(&x, &off));
        assert!(!curve.has_point(&[0; 100], &y));
    }
}

#[test]
fn salts_are_different_each_time_and_their_points_have_no_zeros_in_front() {
    let (x, y) = (
        bytes("D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63"),
        bytes("56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB"),
    );
    let salts: Vec<_> = (0..8)
        .map(|_| Curve::P256.salt(Hash::Sha256, &x, &y).expect("a point"))
        .collect();
    for (at, salt) in salts.iter().enumerate() {
        assert_ne!(salt.encrypted[2], 0);
        assert_ne!(salt.encrypted[36], 0);
        assert!(salts[..at].iter().all(|other| other.value != salt.value));
    }
    Curve::P256
        .salt(Hash::Sha256, &x, &x)
        .err()
        .expect("no point");
}

#[test]
fn the_null_template_is_the_kernel_s_and_no_salt_key_by_itself() {
    let wanted = "0023000b00030472000000060080004300100003001000000000";
    assert_eq!(hex(&null_template()), wanted);
    SaltKey::from_public(&null_template()).expect_err("a template has no point");
}

#[test]
fn a_session_s_value_is_its_key_and_the_auth_value_behind_it() {
    let session = Session::new(0x0200_0001, Hash::Sha256, 128, b"salt", b"tpm", b"caller");
    let key = kdfa(Hash::Sha256, b"salt", "ATH", b"tpm", b"caller", 256);
    let wanted = HmacInput {
        parameters: b"cpHash",
        nonce_newer: b"caller",
        nonce_older: b"tpm",
        others: b"others",
        attributes: 0x21,
    };
    let value = [&key[..], b"auth"].concat();
    assert_eq!(
        session.command_hmac(b"auth", b"cpHash", b"others", 0x21),
        wanted.hmac(Hash::Sha256, &value)
    );
    let shown = format!("{session:?}");
    assert_eq!(
        shown, "Session { handle: 02000001, .. }",
        "no key is printed"
    );
}

#[test]
fn what_is_appended_to_a_saved_session_comes_back_and_nothing_else_is_taken_for_it() {
    let program_session = ProgramSession {
        kind: Kind::Policy,
        hash: Some(Hash::Sha256),
        key_bits: Some(128),
        keyless: true,
        nonce_tpm: vec![7; 32],
        shown: Some(vec![8; 32]),
        auth_value: true,
        password: true,
        cp_hash: false,
        audited: Audited::ByLayer,
    };
    let saved = [&b"the TPM's own"[..], &program_session.trailer()].concat();
    assert_eq!(
        ProgramSession::split(&saved),
        (&b"the TPM's own"[..], Some(program_session))
    );
    for cut in 1..saved.len() {
        let part = &saved[..saved.len() - cut];
        assert_eq!(ProgramSession::split(part), (part, None));
    }
    assert_eq!(
        ProgramSession::split(b"\xff\xffrusttcti"),
        (&b"\xff\xffrusttcti"[..], None)
    );
}
