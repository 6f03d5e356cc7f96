// SPDX-License-Identifier: BSD-2-Clause
//! The salt of a session: ECDH with the salt key (Part 1, C.6.1), on P-256 or
//! P-384.

#![forbid(unsafe_code)]

use p256::elliptic_curve::point::AffineCoordinates;
use p256::elliptic_curve::sec1::{EncodedPoint, FromEncodedPoint, ModulusSize, ToEncodedPoint};
use p256::elliptic_curve::{
    AffinePoint, CurveArithmetic, FieldBytesSize, ProjectivePoint, SecretKey,
};
use zeroize::{Zeroize, Zeroizing};

use super::crypto::{Hash, Secret, kdfe, random};
use crate::{Error, ErrorKind, Result};

/// An elliptic curve (`TPM_ECC_CURVE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Curve {
    /// Returns the curve of a `TPM_ECC_CURVE`; `None` if this layer does not have
    /// it.
    pub(super) fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0003 => Some(Self::P256),
            0x0004 => Some(Self::P384),
            _ => None,
        }
    }

    /// Returns the length of a coordinate in bytes.
    pub(super) fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// Returns whether the point with these coordinates is on the curve.
    pub(super) fn has_point(self, x: &[u8], y: &[u8]) -> bool {
        match self {
            Self::P256 => point::<p256::NistP256>(self, x, y).is_some(),
            Self::P384 => point::<p384::NistP384>(self, x, y).is_some(),
        }
    }

    /// Makes a salt for the key at (`x`, `y`), and the ephemeral point by which the
    /// TPM computes it.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for coordinates that are not on the curve.
    pub(super) fn salt(self, name_alg: Hash, x: &[u8], y: &[u8]) -> Result<Salt> {
        loop {
            let private = random(self.size())?;
            let salt = match self {
                Self::P256 => salt::<p256::NistP256>(self, name_alg, &private, x, y)?,
                Self::P384 => salt::<p384::NistP384>(self, name_alg, &private, x, y)?,
            };
            if let Some(salt) = salt {
                return Ok(salt);
            }
        }
    }

    /// Makes the salt of a known ephemeral private key.
    #[cfg(test)]
    pub(super) fn salt_of(
        self,
        name_alg: Hash,
        private: &[u8],
        x: &[u8],
        y: &[u8],
    ) -> Option<Salt> {
        match self {
            Self::P256 => salt::<p256::NistP256>(self, name_alg, private, x, y),
            Self::P384 => salt::<p384::NistP384>(self, name_alg, private, x, y),
        }
        .expect("a point on the curve")
    }
}

/// A salt, and its encrypted form for the TPM.
pub(super) struct Salt {
    pub(super) value: Secret,
    /// The `TPM2B_ENCRYPTED_SECRET`: the ephemeral public point.
    pub(super) encrypted: Vec<u8>,
}

/// Returns the point of two coordinates, which may lack leading zeros.
fn point<C>(curve: Curve, x: &[u8], y: &[u8]) -> Option<AffinePoint<C>>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let size = curve.size();
    let mut bytes = vec![4];
    for coordinate in [x, y] {
        bytes.resize(bytes.len() + size.checked_sub(coordinate.len())?, 0);
        bytes.extend_from_slice(coordinate);
    }
    let encoded = EncodedPoint::<C>::from_bytes(&bytes).ok()?;
    AffinePoint::<C>::from_encoded_point(&encoded).into()
}

/// Returns the salt of an ephemeral private key. `None` for an invalid key, and if
/// a coordinate begins with a zero: some TPMs pad those and others do not.
fn salt<C>(curve: Curve, name_alg: Hash, private: &[u8], x: &[u8], y: &[u8]) -> Result<Option<Salt>>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C> + AffineCoordinates + Zeroize,
    FieldBytesSize<C>: ModulusSize,
{
    let key = point::<C>(curve, x, y).ok_or_else(|| {
        Error::new(
            ErrorKind::BadValue,
            "the layer wrap: the salt key is not a point on its curve",
        )
    })?;
    let Ok(private) = SecretKey::<C>::from_slice(private) else {
        return Ok(None);
    };
    let scalar = private.to_nonzero_scalar();
    let mut shared: AffinePoint<C> = (ProjectivePoint::<C>::from(key) * *scalar).into();
    let z = Zeroizing::new(AffineCoordinates::x(&shared).to_vec());
    shared.zeroize();
    let public = private.public_key().to_encoded_point(false);
    let [_, coordinates @ ..] = public.as_bytes() else {
        return Ok(None);
    };
    let (own_x, own_y) = coordinates.split_at(curve.size());
    if [&z[..], own_x, own_y].iter().any(|bytes| bytes[0] == 0) {
        return Ok(None);
    }
    let mut encrypted = Vec::with_capacity(2 * (2 + curve.size()));
    for coordinate in [own_x, own_y] {
        encrypted.extend_from_slice(&(coordinate.len() as u16).to_be_bytes());
        encrypted.extend_from_slice(coordinate);
    }
    Ok(Some(Salt {
        value: kdfe(name_alg, &z, "SECRET", own_x, x),
        encrypted,
    }))
}
