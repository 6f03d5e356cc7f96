// SPDX-License-Identifier: BSD-2-Clause
//! One command of each kind that takes a TPM long, with all that it depends on.

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::wire::CommandCode as Code;

use super::commands::command;
use super::tpm::*;

/// The handles of the keys that `provisioned` makes.
const STORAGE: u32 = 0x8100_0000;
const SIGNER: u32 = 0x8100_0001; // RSA, signs and decrypts
const ECDH: u32 = 0x8100_0002;
const ECDAA: u32 = 0x8100_0003;
const X509: u32 = 0x8100_0004;
/// The handles of the first loaded object and of the first session of each kind.
const OBJECT: u32 = 0x8000_0000;
const HMAC_SESSION: u32 = 0x0200_0000;
const POLICY_SESSION: u32 = 0x0300_0000;

const OWNER: u32 = 0x4000_0001;
const ENDORSEMENT: u32 = 0x4000_000b;
const NULL: u32 = 0x4000_0007;
/// The scheme RSASSA with SHA-256.
const RSASSA: [u8; 4] = [0, 0x14, 0, 0x0b];
const NO_SYMMETRIC: [u8; 2] = [0, 0x10];
/// The curve P-256.
const P256: [u8; 2] = [0, 3];

/// A command that takes a TPM long.
pub struct Long {
    /// The command code.
    pub code: Code,
    /// The way to make the command.
    pub make: Make,
}

/// The way a command is made, with the handles that it refers to.
#[derive(Clone, Copy)]
pub enum Make {
    /// A command that does not depend on a key size.
    Plain(fn(&mut Libtpms) -> Vec<u8>),
    /// A search for the primes of an RSA key with this number of bits.
    Search(fn(&mut Libtpms, u16) -> Vec<u8>),
}

impl Long {
    /// Returns the command's name in the specification.
    pub fn name(&self) -> &'static str {
        self.code.name().expect("a command of the specification")
    }

    /// Returns whether the command searches for primes.
    pub fn is_search(&self) -> bool {
        matches!(self.make, Make::Search(_))
    }

    /// Returns the command; a search is for a key of `bits` bits.
    pub fn command(&self, tpm: &mut Libtpms, bits: u16) -> Vec<u8> {
        match self.make {
            Make::Plain(make) => make(tpm),
            Make::Search(make) => make(tpm, bits),
        }
    }
}

/// The long commands that libtpms has.
pub const LONG: &[Long] = &[
    search(Code::CREATE_PRIMARY, |_, bits| create_primary_rsa(bits)),
    search(Code::CREATE, |_, bits| {
        let rsa = public(0x0001, 0x0003_0472, &storage_rsa(bits), &[]);
        authorized(Code::CREATE, &[STORAGE], 1, &creation(&rsa))
    }),
    search(Code::CREATE_LOADED, |_, bits| {
        let rsa = public(0x0001, 0x0003_0472, &storage_rsa(bits), &[]);
        let parameters = [&[0, 4, 0, 0, 0, 0], &*sized(&rsa)].concat();
        authorized(Code::CREATE_LOADED, &[STORAGE], 1, &parameters)
    }),
    long(Code::INCREMENTAL_SELF_TEST, |_| {
        command(Code::INCREMENTAL_SELF_TEST, &[0, 0, 0, 2, 0, 0x01, 0, 0x23])
    }),
    long(Code::SELF_TEST, |_| command(Code::SELF_TEST, &[1])),
    long(Code::GET_COMMAND_AUDIT_DIGEST, |_| {
        authorized(
            Code::GET_COMMAND_AUDIT_DIGEST,
            &[ENDORSEMENT, SIGNER],
            2,
            &attestation(),
        )
    }),
    long(Code::ACTIVATE_CREDENTIAL, |tpm| {
        let command = make_credential(tpm);
        let credential = ok(tpm, &command);
        authorized(
            Code::ACTIVATE_CREDENTIAL,
            &[SIGNER, STORAGE],
            2,
            &credential[10..],
        )
    }),
    long(Code::CERTIFY, |_| {
        authorized(Code::CERTIFY, &[ECDH, SIGNER], 2, &attestation())
    }),
    long(Code::CERTIFY_CREATION, |tpm| {
        let created = ok(tpm, &create_primary_ecc());
        let mut created = Reader(&created[18..]);
        created.sized(); // the public area
        created.sized(); // the creation data
        let hash = created.sized();
        let ticket = created.take(6).to_vec();
        let parameters = [
            &sized(b"why")[..],
            &sized(hash),
            &RSASSA,
            &ticket,
            &sized(created.sized()),
        ]
        .concat();
        authorized(Code::CERTIFY_CREATION, &[SIGNER, OBJECT], 1, &parameters)
    }),
    long(Code::DUPLICATE, |tpm| {
        let object = load_duplicable(tpm);
        duplicate(tpm, &object)
    }),
    long(Code::GET_TIME, |_| {
        authorized(Code::GET_TIME, &[ENDORSEMENT, SIGNER], 2, &attestation())
    }),
    long(Code::GET_SESSION_AUDIT_DIGEST, |tpm| {
        audit_session(tpm);
        let handles = [ENDORSEMENT, SIGNER, HMAC_SESSION];
        authorized(Code::GET_SESSION_AUDIT_DIGEST, &handles, 2, &attestation())
    }),
    long(Code::REWRAP, |tpm| {
        let object = load_duplicable(tpm);
        let name = name(tpm, object.handle);
        let command = duplicate(tpm, &object);
        let (_, private, seed) = duplicated(&ok(tpm, &command));
        let parameters = [sized(&private), sized(&name), sized(&seed)].concat();
        authorized(Code::REWRAP, &[STORAGE, STORAGE], 1, &parameters)
    }),
    long(Code::ECDH_ZGEN, |tpm| {
        let generated = ok(tpm, &ecdh_keygen());
        let mut generated = Reader(&generated[10..]);
        generated.sized(); // the shared secret
        authorized(Code::ECDH_ZGEN, &[ECDH], 1, &sized(generated.sized()))
    }),
    long(Code::IMPORT, |tpm| {
        let object = load_duplicable(tpm);
        let command = duplicate(tpm, &object);
        let (key, private, seed) = duplicated(&ok(tpm, &command));
        let parameters = [
            &sized(&key)[..],
            &sized(&object.public),
            &sized(&private),
            &sized(&seed),
            &NO_SYMMETRIC,
        ]
        .concat();
        authorized(Code::IMPORT, &[STORAGE], 1, &parameters)
    }),
    long(Code::LOAD, |tpm| {
        let ecc = public(0x0023, 0x0003_0472, &storage_ecc(), &[]);
        let created = ok(
            tpm,
            &authorized(Code::CREATE, &[STORAGE], 1, &creation(&ecc)),
        );
        load(&created)
    }),
    long(Code::QUOTE, |_| {
        let selection = [0, 0, 0, 1, 0, 0x0b, 3, 1, 0, 0];
        let parameters = [&attestation()[..], &selection].concat();
        authorized(Code::QUOTE, &[SIGNER], 1, &parameters)
    }),
    long(Code::RSA_DECRYPT, |tpm| {
        // RSAES.
        let encrypted = ok(tpm, &rsa_encrypt(&[0, 0x15], b""));
        let parameters = [&encrypted[10..], &[0, 0x15, 0, 0]].concat();
        authorized(Code::RSA_DECRYPT, &[SIGNER], 1, &parameters)
    }),
    long(Code::SIGN, |_| sign()),
    long(Code::ECDH_KEY_GEN, |_| ecdh_keygen()),
    long(Code::MAKE_CREDENTIAL, make_credential),
    long(Code::VERIFY_SIGNATURE, |tpm| {
        let signature = ok(tpm, &sign());
        let handle = SIGNER.to_be_bytes();
        let parameters = [
            &handle[..],
            &sized(&[7; 32]),
            &signature[14..signature.len() - 5],
        ];
        command(Code::VERIFY_SIGNATURE, &parameters.concat())
    }),
    long(Code::NV_CERTIFY, |_| {
        let parameters = [&attestation()[..], &[0, 8, 0, 0]].concat();
        authorized(
            Code::NV_CERTIFY,
            &[SIGNER, NV_INDEX, NV_INDEX],
            2,
            &parameters,
        )
    }),
    long(Code::COMMIT, |_| {
        authorized(Code::COMMIT, &[ECDAA], 1, &[0, 4, 0, 0, 0, 0, 0, 0, 0, 0])
    }),
    long(Code::ZGEN_2PHASE, |tpm| {
        let ephemeral = ok(tpm, &command(Code::EC_EPHEMERAL, &P256));
        let mut ephemeral = Reader(&ephemeral[10..]);
        let point = sized(ephemeral.sized());
        let counter = ephemeral.take(2);
        let parameters = [&point[..], &point, &[0, 0x19], counter].concat();
        authorized(Code::ZGEN_2PHASE, &[ECDH], 1, &parameters)
    }),
    long(Code::EC_EPHEMERAL, |_| command(Code::EC_EPHEMERAL, &P256)),
    long(Code::CERTIFY_X509, |_| {
        let parameters = [&[0, 0][..], &RSASSA, &sized(CERTIFICATE)].concat();
        authorized(Code::CERTIFY_X509, &[ECDH, X509], 2, &parameters)
    }),
    // With a salt.
    long(Code::START_AUTH_SESSION, |tpm| {
        // OAEP with SHA-256.
        let salt = ok(tpm, &rsa_encrypt(&[0, 0x17, 0, 0x0b], b"SECRET\0"));
        start_session(SIGNER, &salt[10..], 0)
    }),
];

const fn long(code: Code, make: fn(&mut Libtpms) -> Vec<u8>) -> Long {
    let make = Make::Plain(make);
    Long { code, make }
}

const fn search(code: Code, make: fn(&mut Libtpms, u16) -> Vec<u8>) -> Long {
    let make = Make::Search(make);
    Long { code, make }
}

/// Returns a TPM with a counter, and with the keys that all the commands use.
pub fn provisioned() -> Libtpms {
    let mut tpm = Libtpms::builder().open().expect("a TPM");
    ok(&mut tpm, &nv_define_counter());
    ok(&mut tpm, &nv_increment());
    let ecdaa = [
        &[0, 0x10, 0, 0x1a, 0, 0x0b, 0, 0][..],
        &P256,
        &[0, 0x10, 0, 0, 0, 0],
    ]
    .concat();
    let plain_rsa = [0, 0x10, 0, 0x10, 0x08, 0, 0, 0, 0, 0, 0, 0];
    for (handle, public) in [
        (STORAGE, public(0x0023, 0x0003_0472, &storage_ecc(), &[])),
        (SIGNER, public(0x0001, 0x0006_0472, &plain_rsa, &[])),
        (ECDH, public(0x0023, 0x0006_0472, &plain_ecc(), &[])),
        (ECDAA, public(0x0023, 0x0004_0472, &ecdaa, &[])),
        (X509, public(0x0001, 0x000c_0472, &plain_rsa, &[])),
    ] {
        ok(
            &mut tpm,
            &authorized(Code::CREATE_PRIMARY, &[OWNER], 1, &creation(&public)),
        );
        let evict = authorized(
            Code::EVICT_CONTROL,
            &[OWNER, OBJECT],
            1,
            &handle.to_be_bytes(),
        );
        ok(&mut tpm, &evict);
        flush(&mut tpm);
    }
    tpm
}

/// Flushes the objects and sessions that a command or its preparation loaded.
pub fn flush(tpm: &mut Libtpms) {
    for handle in [OBJECT, OBJECT + 1, HMAC_SESSION, POLICY_SESSION] {
        let _ =
            call(tpm, &command(Code::FLUSH_CONTEXT, &handle.to_be_bytes())).expect("a response");
    }
}

/// A reader of a response's fields, one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    /// Returns the bytes after a size of two bytes.
    fn sized(&mut self) -> &'a [u8] {
        let size = self.take(2);
        self.take(usize::from(size[0]) << 8 | usize::from(size[1]))
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// Returns a public area, with empty fields where the TPM fills values in.
fn public(kind: u16, attributes: u32, parameters: &[u8], policy: &[u8]) -> Vec<u8> {
    [
        &kind.to_be_bytes()[..],
        &[0, 0x0b],
        &attributes.to_be_bytes(),
        &sized(policy),
        parameters,
    ]
    .concat()
}

/// Returns a storage key's parameters (AES-128 in CFB mode) and its empty unique field.
fn storage_ecc() -> Vec<u8> {
    [
        &[0, 6, 0, 0x80, 0, 0x43, 0, 0x10][..],
        &P256,
        &[0, 0x10, 0, 0, 0, 0],
    ]
    .concat()
}

/// Returns the parameters of a key that is not for storage, and its empty unique field.
fn plain_ecc() -> Vec<u8> {
    [&[0, 0x10, 0, 0x10][..], &P256, &[0, 0x10, 0, 0, 0, 0]].concat()
}

fn storage_rsa(bits: u16) -> Vec<u8> {
    let head = [0, 6, 0, 0x80, 0, 0x43, 0, 0x10];
    [&head[..], &bits.to_be_bytes(), &[0; 6]].concat()
}

/// Returns the parameters of CreatePrimary and Create: no secrets, this public area.
fn creation(public: &[u8]) -> Vec<u8> {
    [&[0, 4, 0, 0, 0, 0], &*sized(public), &[0; 6]].concat()
}

/// Returns the qualifying data of an attestation, and the scheme that signs it.
fn attestation() -> Vec<u8> {
    [&sized(b"why")[..], &RSASSA].concat()
}

/// Returns an object's name, by TPM2_ReadPublic.
fn name(tpm: &mut Libtpms, handle: u32) -> Vec<u8> {
    let read = ok(tpm, &command(Code::READ_PUBLIC, &handle.to_be_bytes()));
    let mut read = Reader(&read[10..]);
    read.sized();
    read.sized().to_vec()
}

/// Returns a credential for the signer, which the storage key decrypts.
fn make_credential(tpm: &mut Libtpms) -> Vec<u8> {
    let name = sized(&name(tpm, SIGNER));
    let parameters = [&STORAGE.to_be_bytes()[..], &sized(b"credential"), &name];
    command(Code::MAKE_CREDENTIAL, &parameters.concat())
}

fn ecdh_keygen() -> Vec<u8> {
    command(Code::ECDH_KEY_GEN, &ECDH.to_be_bytes())
}

fn sign() -> Vec<u8> {
    // A digest that the TPM did not make needs no ticket to be signed.
    let ticket = [&[0x80, 0x24][..], &NULL.to_be_bytes(), &[0, 0]].concat();
    let parameters = [&sized(&[7; 32])[..], &RSASSA, &ticket].concat();
    authorized(Code::SIGN, &[SIGNER], 1, &parameters)
}

fn rsa_encrypt(scheme: &[u8], label: &[u8]) -> Vec<u8> {
    let handle = SIGNER.to_be_bytes();
    command(
        Code::RSA_ENCRYPT,
        &[&handle[..], &sized(&[7; 16]), scheme, &sized(label)].concat(),
    )
}

fn start_session(key: u32, salt: &[u8], kind: u8) -> Vec<u8> {
    let parameters = [
        &key.to_be_bytes()[..],
        &NULL.to_be_bytes(),
        &sized(&[7; 16]),
        salt,
        &[kind],
        &NO_SYMMETRIC,
        &[0, 0x0b],
    ];
    command(Code::START_AUTH_SESSION, &parameters.concat())
}

/// Starts a session and uses it in a command, so that it is audited.
fn audit_session(tpm: &mut Libtpms) {
    ok(tpm, &start_session(NULL, &[0, 0], 0));
    // The session has no secret, so an empty HMAC suffices.
    let session = [&HMAC_SESSION.to_be_bytes()[..], &[0, 0, 0x81, 0, 0]].concat();
    let size = (session.len() as u32).to_be_bytes();
    let mut random = command(Code::GET_RANDOM, &[&size[..], &session, &[0, 8]].concat());
    random[1] = 2; // TPM_ST_SESSIONS
    ok(tpm, &random);
}

/// Starts a policy session for TPM2_Duplicate, and returns the policy's digest.
fn duplication_policy(tpm: &mut Libtpms, kind: u8) -> Vec<u8> {
    ok(tpm, &start_session(NULL, &[0, 0], kind));
    let session = POLICY_SESSION.to_be_bytes();
    ok(
        tpm,
        &command(
            Code::POLICY_COMMAND_CODE,
            &[session, Code::DUPLICATE.0.to_be_bytes()].concat(),
        ),
    );
    let digest = ok(tpm, &command(Code::POLICY_GET_DIGEST, &session));
    digest[12..].to_vec()
}

/// Returns TPM2_Load of the response of TPM2_Create.
fn load(created: &[u8]) -> Vec<u8> {
    let mut created = Reader(&created[14..]);
    let private = sized(created.sized());
    let parameters = [private, sized(created.sized())].concat();
    authorized(Code::LOAD, &[STORAGE], 1, &parameters)
}

/// An object that may be duplicated to another parent.
struct Duplicable {
    handle: u32,
    public: Vec<u8>,
}

fn load_duplicable(tpm: &mut Libtpms) -> Duplicable {
    let policy = duplication_policy(tpm, 3); // a trial
    flush(tpm);
    let area = public(0x0023, 0x0006_0460, &plain_ecc(), &policy);
    let created = ok(
        tpm,
        &authorized(Code::CREATE, &[STORAGE], 1, &creation(&area)),
    );
    let loaded = ok(tpm, &load(&created));
    let mut created = Reader(&created[14..]);
    created.sized();
    Duplicable {
        handle: u32::from_be_bytes(loaded[10..14].try_into().expect("a handle")),
        public: created.sized().to_vec(),
    }
}

/// Returns TPM2_Duplicate of `object`, to the storage key.
fn duplicate(tpm: &mut Libtpms, object: &Duplicable) -> Vec<u8> {
    duplication_policy(tpm, 1);
    let session = [&POLICY_SESSION.to_be_bytes()[..], &[0; 5]].concat();
    let parameters = [
        &object.handle.to_be_bytes()[..],
        &STORAGE.to_be_bytes(),
        &(session.len() as u32).to_be_bytes(),
        &session,
        &[0, 0], // no inner wrapper
        &NO_SYMMETRIC,
    ];
    let mut duplicate = command(Code::DUPLICATE, &parameters.concat());
    duplicate[1] = 2; // TPM_ST_SESSIONS
    duplicate
}

/// Returns the fields of TPM2_Duplicate's response: the inner key, the object and the
/// seed.
fn duplicated(response: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut response = Reader(&response[14..]);
    let mut next = || response.sized().to_vec();
    (next(), next(), next())
}

/// The part of a certificate that TPM2_CertifyX509 takes: an issuer, a validity, a
/// subject, and an extension with the key's usage.
const CERTIFICATE: &[u8] = b"\x30\x50\
    \x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01\x41\
    \x30\x1e\x17\x0d250101000000Z\x17\x0d350101000000Z\
    \x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01\x42\
    \xa3\x12\x30\x10\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x07\x80";
