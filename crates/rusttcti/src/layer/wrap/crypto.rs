// SPDX-License-Identifier: BSD-2-Clause
//! The derivations of the TPM 2.0 Library specification, Part 1: hashes, HMACs,
//! KDFa, KDFe (11.4.10) and parameter encryption by AES-CFB (21.3).

#![forbid(unsafe_code)]

use aes::{Aes128, Aes192, Aes256};
use cfb_mode::cipher::{BlockCipherEncrypt, KeyInit as CipherKeyInit, KeyIvInit};
use hmac::{KeyInit, Mac};
use sha2::Digest;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{Error, ErrorKind, Result};

/// Bytes that are wiped when they are dropped.
pub(super) type Secret = Zeroizing<Vec<u8>>;

/// Algorithms (`TPM_ALG_ID`) besides hashes.
pub(super) mod algorithm {
    pub(crate) const RSA: u16 = 0x0001;
    pub(crate) const AES: u16 = 0x0006;
    pub(crate) const XOR: u16 = 0x000a;
    pub(crate) const NULL: u16 = 0x0010;
    pub(crate) const ECDAA: u16 = 0x001a;
    pub(crate) const ECC: u16 = 0x0023;
    pub(crate) const CFB: u16 = 0x0043;
}

/// A hash algorithm (`TPM_ALG_ID`) that sessions and Names use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// Returns the hash of a `TPM_ALG_ID`; `None` if this layer does not have it.
    pub(super) fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0004 => Some(Self::Sha1),
            0x000b => Some(Self::Sha256),
            0x000c => Some(Self::Sha384),
            0x000d => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Returns the `TPM_ALG_ID`.
    pub(super) fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// Returns the digest's length in bytes.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Returns the digest of the parts, one after another.
    pub(super) fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha1 => digest::<sha1::Sha1>(parts),
            Self::Sha256 => digest::<sha2::Sha256>(parts),
            Self::Sha384 => digest::<sha2::Sha384>(parts),
            Self::Sha512 => digest::<sha2::Sha512>(parts),
        }
    }

    /// Returns the HMAC of the parts, one after another.
    pub(super) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        match self {
            Self::Sha1 => mac::<hmac::Hmac<sha1::Sha1>>(key, parts),
            Self::Sha256 => mac::<hmac::Hmac<sha2::Sha256>>(key, parts),
            Self::Sha384 => mac::<hmac::Hmac<sha2::Sha384>>(key, parts),
            Self::Sha512 => mac::<hmac::Hmac<sha2::Sha512>>(key, parts),
        }
    }
}

fn digest<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().to_vec()
}

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Secret {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("an HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

/// Compares two digests in a time that does not depend on their bytes.
pub(super) fn equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Derives `bits` bits, a multiple of eight, by KDFa: HMACs in counter mode (Part
/// 1, 11.4.10.2).
pub(super) fn kdfa(
    hash: Hash,
    key: &[u8],
    label: &str,
    context_u: &[u8],
    context_v: &[u8],
    bits: u32,
) -> Secret {
    let size = (bits / 8) as usize;
    let mut out = Zeroizing::new(Vec::with_capacity(size + hash.size()));
    for counter in 1u32.. {
        if out.len() >= size {
            break;
        }
        out.extend_from_slice(&hash.hmac(
            key,
            &[
                &counter.to_be_bytes(),
                label.as_bytes(),
                &[0],
                context_u,
                context_v,
                &bits.to_be_bytes(),
            ],
        ));
    }
    wipe_behind(&mut out, size);
    out
}

/// Derives as many bits as the hash has from an ECDH secret, by KDFe (Part 1,
/// 11.4.10.3).
pub(super) fn kdfe(hash: Hash, z: &[u8], label: &str, party_u: &[u8], party_v: &[u8]) -> Secret {
    Zeroizing::new(hash.digest(&[
        &1u32.to_be_bytes(),
        z,
        label.as_bytes(),
        &[0],
        party_u,
        party_v,
    ]))
}

/// Shortens `bytes`, and wipes what is cut off.
fn wipe_behind(bytes: &mut Secret, size: usize) {
    if let Some(rest) = bytes.get_mut(size..) {
        zeroize::Zeroize::zeroize(rest);
    }
    bytes.truncate(size);
}

/// The direction of AES-CFB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Encrypt,
    Decrypt,
}

/// The parameter encryption of a session: AES-CFB. KDFa makes key and IV from the
/// session's value and its two nonces. It has no Debug, which would print the value.
#[derive(Clone, Copy)]
pub(super) struct ParameterCipher<'a> {
    pub(super) hash: Hash,
    pub(super) key_bits: u16,
    /// The session key, and the authValue behind it if the session authorizes.
    pub(super) value: &'a [u8],
    pub(super) nonce_newer: &'a [u8],
    pub(super) nonce_older: &'a [u8],
}

impl ParameterCipher<'_> {
    /// Encrypts or decrypts `data` in place.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for a key size that AES does not have.
    pub(super) fn apply(&self, direction: Direction, data: &mut [u8]) -> Result<()> {
        let bits = u32::from(self.key_bits);
        let made = kdfa(
            self.hash,
            self.value,
            "CFB",
            self.nonce_newer,
            self.nonce_older,
            bits + 128,
        );
        let (key, iv) = made.split_at((bits / 8) as usize);
        match self.key_bits {
            128 => cfb::<Aes128>(direction, key, iv, data),
            192 => cfb::<Aes192>(direction, key, iv, data),
            256 => cfb::<Aes256>(direction, key, iv, data),
            bits => {
                return Err(Error::new(
                    ErrorKind::NotSupported,
                    format!("the layer wrap: AES has no keys of {bits} bits"),
                ));
            }
        }
        Ok(())
    }
}

fn cfb<C>(direction: Direction, key: &[u8], iv: &[u8], data: &mut [u8])
where
    C: BlockCipherEncrypt + CipherKeyInit,
{
    let sized = "KDFa made a key and an IV of these sizes";
    match direction {
        Direction::Encrypt => cfb_mode::Encryptor::<C>::new_from_slices(key, iv)
            .expect(sized)
            .encrypt(data),
        Direction::Decrypt => cfb_mode::Decryptor::<C>::new_from_slices(key, iv)
            .expect(sized)
            .decrypt(data),
    }
}

/// Returns random bytes from the system.
///
/// # Errors
/// [`ErrorKind::GeneralFailure`] if the system has none to give.
pub(super) fn random(size: usize) -> Result<Secret> {
    let mut bytes = Zeroizing::new(vec![0; size]);
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(
            ErrorKind::GeneralFailure,
            format!("the layer wrap: the system gives no random bytes: {error}"),
        )
    })?;
    Ok(bytes)
}
