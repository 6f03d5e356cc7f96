// SPDX-License-Identifier: BSD-2-Clause
//! The salt key: its public area, its Name, and its source.

#![forbid(unsafe_code)]

use std::fmt::Write;

use super::bytes::Put;
use super::crypto::{Hash, algorithm};
use super::curve::{Curve, Salt};
use crate::wire::cursor::Cursor;
use crate::{Error, ErrorKind, Result};

/// `TPMA_OBJECT_DECRYPT`.
const DECRYPT: u32 = 1 << 17;

/// The attributes of the null primary, the kernel's and this layer's: fixedTPM,
/// fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt.
const NULL_ATTRIBUTES: u32 = 0x0003_0472;

/// Returns the Linux kernel's template of the null hierarchy's primary
/// (TPMT_PUBLIC): P-256, SHA-256, AES-128-CFB, an empty unique.
pub(super) fn null_template() -> Vec<u8> {
    let mut public = Vec::new();
    public.put_u16(algorithm::ECC);
    public.put_u16(Hash::Sha256.id());
    public.put_u32(NULL_ATTRIBUTES);
    public.put_sized(&[]); // authPolicy
    for field in [algorithm::AES, 128, algorithm::CFB] {
        public.put_u16(field);
    }
    public.put_u16(algorithm::NULL); // scheme
    public.put_u16(0x0003); // TPM_ECC_NIST_P256
    public.put_u16(algorithm::NULL); // kdf
    public.put_sized(&[]);
    public.put_sized(&[]);
    public
}

/// The public part of a key in the TPM that sessions are salted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SaltKey {
    pub(super) name: Vec<u8>,
    pub(super) name_alg: Hash,
    curve: Curve,
    x: Vec<u8>,
    y: Vec<u8>,
    /// The AES key size of the sessions: the key's own, if it has one.
    pub(super) key_bits: u16,
}

impl SaltKey {
    /// Reads a TPMT_PUBLIC.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for a key that sessions cannot be salted with
    /// here, [`ErrorKind::BadValue`] for bytes that are no public area.
    pub(super) fn from_public(public: &[u8]) -> Result<Self> {
        let mut reader = Cursor::new(public, 0);
        match reader.u16() {
            Some(algorithm::ECC) => {}
            Some(algorithm::RSA) => {
                return Err(unsupported(
                    "it is an RSA key, and sessions are salted with ECC keys on P-256 or P-384 \
                     only (make one with tpm2_createprimary -G ecc)",
                ));
            }
            _ => return Err(unsupported("it is not an ECC key")),
        }
        let fields = EccFields::read(&mut reader).ok_or_else(|| {
            Error::new(
                ErrorKind::BadValue,
                "the layer wrap: the salt key's public area is malformed",
            )
        })?;
        let name_alg = match Hash::from_id(fields.name_alg) {
            Some(hash @ (Hash::Sha256 | Hash::Sha384)) => hash,
            _ => return Err(unsupported("its nameAlg is neither SHA-256 nor SHA-384")),
        };
        if fields.attributes & DECRYPT == 0 {
            return Err(unsupported(
                "it is not a decryption key (its attribute decrypt is clear)",
            ));
        }
        let Some(curve) = Curve::from_id(fields.curve) else {
            return Err(unsupported("its curve is neither P-256 nor P-384"));
        };
        if !curve.has_point(fields.x, fields.y) {
            return Err(unsupported("its point is not on its curve"));
        }
        Ok(Self {
            name: name_of(name_alg, public),
            name_alg,
            curve,
            x: fields.x.to_vec(),
            y: fields.y.to_vec(),
            key_bits: fields.key_bits.unwrap_or(128),
        })
    }

    /// Makes a salt that only this key's TPM can compute.
    ///
    /// # Errors
    /// Those of the system's random numbers.
    pub(super) fn salt(&self) -> Result<Salt> {
        self.curve.salt(self.name_alg, &self.x, &self.y)
    }

    /// Returns whether the key's point is this one.
    pub(super) fn is_at(&self, point: &Point) -> bool {
        let strip = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes[zeros..].to_vec()
        };
        self.curve == point.curve
            && strip(&self.x) == strip(&point.x)
            && strip(&self.y) == strip(&point.y)
    }
}

fn unsupported(why: &str) -> Error {
    Error::new(
        ErrorKind::NotSupported,
        format!("the layer wrap cannot use the salt key: {why}"),
    )
}

/// The fields of an ECC key's TPMT_PUBLIC behind its type.
struct EccFields<'a> {
    name_alg: u16,
    attributes: u32,
    /// The AES key size, of a key with a symmetric definition.
    key_bits: Option<u16>,
    curve: u16,
    x: &'a [u8],
    y: &'a [u8],
}

impl<'a> EccFields<'a> {
    fn read(reader: &mut Cursor<'a>) -> Option<Self> {
        let name_alg = reader.u16()?;
        let attributes = reader.u32()?;
        let _policy = reader.sized()?;
        let symmetric = reader.u16()?;
        let mut key_bits = None;
        if symmetric != algorithm::NULL {
            let bits = reader.u16()?;
            let _mode = reader.u16()?;
            let sized = symmetric == algorithm::AES && matches!(bits, 128 | 192 | 256);
            key_bits = sized.then_some(bits);
        }
        let scheme = reader.u16()?;
        if scheme != algorithm::NULL {
            reader.u16()?;
        }
        if scheme == algorithm::ECDAA {
            reader.u16()?;
        }
        let curve = reader.u16()?;
        if reader.u16()? != algorithm::NULL {
            reader.u16()?;
        }
        let (x, y) = (reader.sized()?, reader.sized()?);
        reader.is_at_end().then_some(Self {
            name_alg,
            attributes,
            key_bits,
            curve,
            x,
            y,
        })
    }
}

/// Returns the Name of a public area: its nameAlg and digest (Part 1, 16).
pub(super) fn name_of(name_alg: Hash, public: &[u8]) -> Vec<u8> {
    let mut name = name_alg.id().to_be_bytes().to_vec();
    name.extend_from_slice(&name_alg.digest(&[public]));
    name
}

/// The place of the salt key.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    /// A primary of the null hierarchy, made by the layer.
    Null,
    /// A persistent key, whose public part is in a file.
    Persistent { handle: u32, pinned: Pinned },
}

/// The content of the salt key's file.
#[derive(Clone, Debug)]
pub(super) enum Pinned {
    Public(SaltKey),
    Point(Point),
}

/// A point, from a PEM file.
#[derive(Clone, Debug)]
pub(super) struct Point {
    curve: Curve,
    x: Vec<u8>,
    y: Vec<u8>,
}

impl Pinned {
    /// Reads the content of a key's file: a TPM2B_PUBLIC, a TPMT_PUBLIC or PEM.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for anything else, [`ErrorKind::NotSupported`] for
    /// a key that sessions cannot be salted with here.
    pub(super) fn read(content: &[u8]) -> Result<Self> {
        const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
        const END: &str = "-----END PUBLIC KEY-----";
        if let Ok(text) = std::str::from_utf8(content) {
            if let Some((_, behind)) = text.split_once(BEGIN) {
                let body = behind.split_once(END).map(|(body, _)| body);
                let der = body.and_then(base64).ok_or_else(|| {
                    Error::new(ErrorKind::BadValue, "the layer wrap: the PEM is malformed")
                })?;
                return Point::from_spki(&der).map(Self::Point);
            }
        }
        let mut reader = Cursor::new(content, 0);
        let public = match reader.sized() {
            Some(public) if reader.is_at_end() => public,
            _ => content,
        };
        match public.get(..2) {
            Some([0x00, 0x01 | 0x08 | 0x23 | 0x25]) => {
                SaltKey::from_public(public).map(Self::Public)
            }
            _ => Err(Error::new(
                ErrorKind::BadValue,
                "it is neither a TPM2B_PUBLIC (as tpm2_readpublic -o makes it) nor a public key \
                 in \
                 PEM",
            )),
        }
    }
}

impl Point {
    /// Reads a SubjectPublicKeyInfo with an uncompressed point.
    fn from_spki(der: &[u8]) -> Result<Self> {
        /// The bytes around the point: the AlgorithmIdentifier of ecPublicKey on the
        /// curve.
        const P256: &[u8] = &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
            0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
        ];
        const P384: &[u8] = &[
            0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
            0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04,
        ];
        for (prefix, curve) in [(P256, Curve::P256), (P384, Curve::P384)] {
            let point = der.strip_prefix(prefix);
            let Some(point) = point.filter(|point| point.len() == 2 * curve.size()) else {
                continue;
            };
            let (x, y) = point.split_at(curve.size());
            if !curve.has_point(x, y) {
                return Err(unsupported("its point is not on its curve"));
            }
            return Ok(Self {
                curve,
                x: x.to_vec(),
                y: y.to_vec(),
            });
        }
        Err(unsupported(
            "the PEM holds no public key on P-256 or P-384 with an uncompressed point",
        ))
    }
}

/// Decodes base64, with line breaks.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    let mut digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    for digit in digits.by_ref() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => return digits.all(|digit| digit == b'=').then_some(bytes),
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

/// Writes bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes all");
    }
    text
}

/// Reads hexadecimal, with or without `0x` before it.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    if text.is_empty() || text.len() % 2 != 0 {
        return None;
    }
    text.chunks(2)
        .map(|pair| Some(digit(&pair[0])? << 4 | digit(&pair[1])?))
        .collect()
}
