// SPDX-License-Identifier: BSD-2-Clause
//! A program that uses ESYS on an embedded TPM: without sessions, over the layer wrap,
//! or with its own salted and encrypting session.

use std::ptr;

use rusttcti::{Context, OwnedEsys, Tcti};
use tss_esapi_sys::*;

/// What the program does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    GetRandom,
    NvRead,
    Sign,
}

/// The protector of the program's commands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// No encryption.
    None,
    /// The layer wrap does.
    Wrap,
    /// The program does, by a session.
    Session,
}

pub struct Program {
    esys: OwnedEsys<Box<dyn Tcti>>,
    key: ESYS_TR,
    nv: ESYS_TR,
    /// What authorizes: an empty password, or the session.
    authorization: ESYS_TR,
    /// The session, or none.
    session: ESYS_TR,
}

/// A P-256 key that signs by ECDSA with SHA-256.
const SIGNING: [u8; 24] = [
    0, 0x23, 0, 0x0b, 0, 4, 4, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10, 0, 0, 0, 0,
];
/// A P-256 storage key, for the salt.
const STORAGE: [u8; 26] = [
    0, 0x23, 0, 0x0b, 0, 3, 4, 0x72, 0, 0, 0, 6, 0, 0x80, 0, 0x43, 0, 0x10, 0, 3, 0, 0x10, 0, 0, 0,
    0,
];
/// An NV index of 64 bytes, with an empty password.
const INDEX: [u8; 14] = [1, 0x50, 0, 1, 0, 0x0b, 2, 4, 0, 4, 0, 0, 0, 64];

// Constants of the TCG's that tss-esapi-sys does not have.
const HMAC_SESSION: TPM2_SE = 0;
const ALG_AES: TPM2_ALG_ID = 0x06;
const ALG_SHA256: TPM2_ALG_ID = 0x0b;
const ALG_NULL: TPM2_ALG_ID = 0x10;
const ALG_CFB: TPM2_ALG_ID = 0x43;
const ST_HASHCHECK: TPM2_ST = 0x8024;
const RH_NULL: TPM2_HANDLE = 0x4000_0007;
const CONTINUE_SESSION: TPMA_SESSION = 0x01;
const DECRYPT: TPMA_SESSION = 0x20;
const ENCRYPT: TPMA_SESSION = 0x40;

/// The bytes of a structure behind their size.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// A structure of C whose bytes may all be zero.
fn zeroed<T>() -> T {
    // SAFETY: of numbers, arrays and unions of these, as all of the TPM's are.
    unsafe { std::mem::zeroed() }
}

impl Program {
    pub fn new(guard: Guard) -> Self {
        let chain = match guard {
            Guard::Wrap => "wrap,key=null:libtpms",
            Guard::None | Guard::Session => "libtpms",
        };
        let tpm = rusttcti::open(chain).unwrap_or_else(|error| panic!("{}", error.report()));
        let esys = Context::new(tpm).into_esys().expect("ESYS");
        let mut program = Self {
            esys,
            key: ESYS_TR_NONE,
            nv: ESYS_TR_NONE,
            authorization: ESYS_TR_PASSWORD,
            session: ESYS_TR_NONE,
        };
        program.key = program.primary(&SIGNING);
        program.nv = program.index();
        if guard == Guard::Session {
            program.session = program.salted_session();
            program.authorization = program.session;
        }
        program
    }

    #[track_caller]
    fn check(&self, code: u32) {
        if let Err(error) = self.esys.check(code) {
            panic!("{}", error.report());
        }
    }

    fn primary(&self, public: &[u8]) -> ESYS_TR {
        let bytes = sized(public);
        let (mut public, mut at): (TPM2B_PUBLIC, _) = (zeroed(), 0);
        let (sensitive, outside): (TPM2B_SENSITIVE_CREATE, TPM2B_DATA) = (zeroed(), zeroed());
        let pcrs: TPML_PCR_SELECTION = zeroed();
        let mut key = ESYS_TR_NONE;
        // SAFETY: structures that live through the calls; NULL where no result is wanted.
        unsafe {
            let size = bytes.len() as size_t;
            let read = Tss2_MU_TPM2B_PUBLIC_Unmarshal(bytes.as_ptr(), size, &mut at, &mut public);
            self.check(read);
            self.check(Esys_CreatePrimary(
                self.esys.as_ptr(),
                ESYS_TR_RH_OWNER,
                ESYS_TR_PASSWORD,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                &sensitive,
                &public,
                &outside,
                &pcrs,
                &mut key,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            ));
        }
        key
    }

    fn index(&self) -> ESYS_TR {
        let bytes = sized(&INDEX);
        let (mut public, mut at): (TPM2B_NV_PUBLIC, _) = (zeroed(), 0);
        let password: TPM2B_AUTH = zeroed();
        let mut data: TPM2B_MAX_NV_BUFFER = zeroed();
        data.size = 64;
        let mut nv = ESYS_TR_NONE;
        // SAFETY: structures that live through the calls.
        unsafe {
            let size = bytes.len() as size_t;
            let read =
                Tss2_MU_TPM2B_NV_PUBLIC_Unmarshal(bytes.as_ptr(), size, &mut at, &mut public);
            self.check(read);
            self.check(Esys_NV_DefineSpace(
                self.esys.as_ptr(),
                ESYS_TR_RH_OWNER,
                ESYS_TR_PASSWORD,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                &password,
                &public,
                &mut nv,
            ));
            self.check(Esys_NV_Write(
                self.esys.as_ptr(),
                nv,
                nv,
                ESYS_TR_PASSWORD,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                &data,
                0,
            ));
        }
        nv
    }

    /// A session as the layer wrap makes it: salted by ECDH, SHA-256, AES-128 in CFB.
    fn salted_session(&self) -> ESYS_TR {
        let salt = self.primary(&STORAGE);
        let mut symmetric: TPMT_SYM_DEF = zeroed();
        symmetric.algorithm = ALG_AES;
        symmetric.keyBits.aes = 128;
        symmetric.mode.aes = ALG_CFB;
        let mut session = ESYS_TR_NONE;
        // SAFETY: a structure that lives through the call; ESYS draws the nonce.
        unsafe {
            self.check(Esys_StartAuthSession(
                self.esys.as_ptr(),
                salt,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                ptr::null(),
                HMAC_SESSION,
                &symmetric,
                ALG_SHA256,
                &mut session,
            ));
            self.check(Esys_FlushContext(self.esys.as_ptr(), salt));
        }
        session
    }

    /// Sets what the session encrypts: what the layer wrap encrypts in this command.
    pub fn prepare(&self, work: Work) {
        if self.session == ESYS_TR_NONE {
            return;
        }
        let encrypts = match work {
            Work::GetRandom | Work::NvRead => ENCRYPT,
            Work::Sign => DECRYPT,
        };
        let flags = encrypts | CONTINUE_SESSION;
        // SAFETY: a session of this context.
        let set =
            unsafe { Esys_TRSess_SetAttributes(self.esys.as_ptr(), self.session, flags, 0xff) };
        self.check(set);
    }

    pub fn run(&self, work: Work) {
        // SAFETY: what ESYS allocates is freed once, after it succeeded.
        unsafe {
            match work {
                Work::GetRandom => {
                    let mut random = ptr::null_mut();
                    self.check(Esys_GetRandom(
                        self.esys.as_ptr(),
                        self.session,
                        ESYS_TR_NONE,
                        ESYS_TR_NONE,
                        16,
                        &mut random,
                    ));
                    Esys_Free(random.cast());
                }
                Work::NvRead => {
                    let mut data = ptr::null_mut();
                    self.check(Esys_NV_Read(
                        self.esys.as_ptr(),
                        self.nv,
                        self.nv,
                        self.authorization,
                        ESYS_TR_NONE,
                        ESYS_TR_NONE,
                        64,
                        0,
                        &mut data,
                    ));
                    Esys_Free(data.cast());
                }
                Work::Sign => self.sign(),
            }
        }
    }

    fn sign(&self) {
        let mut digest: TPM2B_DIGEST = zeroed();
        digest.size = 32;
        let mut scheme: TPMT_SIG_SCHEME = zeroed();
        scheme.scheme = ALG_NULL;
        let mut ticket: TPMT_TK_HASHCHECK = zeroed();
        ticket.tag = ST_HASHCHECK;
        ticket.hierarchy = RH_NULL;
        let mut signature = ptr::null_mut();
        // SAFETY: structures that live through the call; the result is freed once.
        unsafe {
            self.check(Esys_Sign(
                self.esys.as_ptr(),
                self.key,
                self.authorization,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                &digest,
                &scheme,
                &ticket,
                &mut signature,
            ));
            Esys_Free(signature.cast());
        }
    }
}
