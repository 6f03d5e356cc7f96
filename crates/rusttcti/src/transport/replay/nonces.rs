// SPDX-License-Identifier: BSD-2-Clause
//! The bytes that differ in each run of the same program: its nonces, and the HMACs
//! that depend on them.
//!
//! ESYS draws a nonce for each session that it starts, and for each command in it.
//! tpm2-tools start a session without a key for every command: it is neither salted nor
//! bound, and its authorization value is empty. The HMAC of such a session needs no
//! secret. So a recorded response gets a new HMAC for the nonce of the program that it
//! is replayed to (Part 1, 19.6.8).

#![forbid(unsafe_code)]

use std::ops::Range;

use crate::wire::{CommandCode, CommandView, Handle, ResponseView};

/// Returns the bytes of a command that may differ from run to run.
pub(super) fn of_command(bytes: &[u8]) -> Vec<Range<usize>> {
    let Ok(view) = CommandView::parse(bytes) else {
        return Vec::new();
    };
    let mut ranges = Vec::new();
    for auth in view.auths().filter(|auth| auth.handle != Handle::RS_PW) {
        ranges.push(auth.nonce_offset()..auth.attributes_offset());
        ranges.push(auth.hmac_offset()..auth.end());
    }
    if view.code() == CommandCode::START_AUTH_SESSION {
        ranges.extend(sized(bytes, view.parameters_offset()));
    }
    ranges
}

/// Returns the bytes of a response that may differ from run to run.
pub(super) fn of_response(command: &[u8], bytes: &[u8]) -> Vec<Range<usize>> {
    let Some((_, view)) = views(command, bytes) else {
        return Vec::new();
    };
    let mut ranges = Vec::new();
    for auth in view.auths().filter(|auth| !auth.nonce.is_empty()) {
        ranges.push(auth.nonce_offset()..auth.attributes_offset());
        ranges.push(auth.hmac_offset()..auth.end());
    }
    let started = CommandView::parse(command)
        .is_ok_and(|view| view.code() == CommandCode::START_AUTH_SESSION);
    if started && view.is_success() {
        ranges.extend(sized(bytes, view.parameters_offset()));
    }
    ranges
}

/// Returns the range of the bytes after a 16-bit size.
fn sized(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let size = bytes.get(at..at + 2)?.try_into().ok()?;
    let range = at + 2..at + 2 + usize::from(u16::from_be_bytes(size));
    bytes.get(range.clone()).map(|_| range)
}

fn views<'a>(command: &'a [u8], response: &'a [u8]) -> Option<(CommandView<'a>, ResponseView<'a>)> {
    let command = CommandView::parse(command).ok()?;
    let response = ResponseView::parse(response, command.info()).ok()?;
    Some((command, response))
}

/// Makes the HMACs of a recorded response fit the command that was sent now.
///
/// # Errors
/// The reason why the program will not accept the response.
pub(super) fn renew(recorded: &[u8], sent: &[u8], response: &mut [u8]) -> Result<(), String> {
    let original = response.to_vec();
    let (Some((recorded, answer)), Ok(sent)) =
        (views(recorded, &original), CommandView::parse(sent))
    else {
        return Ok(());
    };
    let pairs = recorded.auths().zip(sent.auths()).zip(answer.auths());
    for (number, ((before, now), auth)) in pairs.enumerate() {
        if auth.hmac.is_empty() || before.nonce == now.nonce {
            continue;
        }
        let why = |reason: &str| {
            format!(
                "session {} (0x{:08x}) of this {} {reason}; a recording of it can be replayed \
                 only to a program that draws the recorded nonces",
                number + 1,
                before.handle.0,
                recorded.code()
            )
        };
        if auth
            .attributes
            .contains(crate::wire::SessionAttributes::ENCRYPT)
        {
            return Err(why("encrypts the response"));
        }
        let hmac = |nonce: &[u8]| keyless::hmac(&recorded, &answer, &auth, nonce);
        match hmac(before.nonce) {
            None => return Err(why("has an HMAC that this build cannot compute")),
            Some(known) if known != auth.hmac => return Err(why("has a key")),
            Some(_) => {}
        }
        if let Some(fresh) = hmac(now.nonce) {
            response[auth.hmac_offset()..auth.end()].copy_from_slice(&fresh);
        }
    }
    Ok(())
}

#[cfg(feature = "wrap")]
mod keyless {
    //! The HMAC of a session without a key.

    use hmac::{KeyInit, Mac};
    use sha2::Digest;

    use crate::wire::{AuthResponse, CommandView, ResponseView};

    /// Returns the HMAC of a response to a caller with this nonce; `None` for a
    /// hash algorithm that is not known here.
    pub(super) fn hmac(
        command: &CommandView<'_>,
        response: &ResponseView<'_>,
        auth: &AuthResponse<'_>,
        nonce: &[u8],
    ) -> Option<Vec<u8>> {
        let answer = [
            &response.code().0.to_be_bytes()[..],
            &command.code().0.to_be_bytes(),
            response.parameters(),
        ];
        let attributes = [auth.attributes.0];
        let rest = [auth.nonce, nonce, &attributes[..]];
        // Each hash algorithm has a size of its own.
        Some(match auth.hmac.len() {
            20 => mac::<sha1::Sha1, hmac::Hmac<sha1::Sha1>>(&answer, &rest),
            32 => mac::<sha2::Sha256, hmac::Hmac<sha2::Sha256>>(&answer, &rest),
            48 => mac::<sha2::Sha384, hmac::Hmac<sha2::Sha384>>(&answer, &rest),
            64 => mac::<sha2::Sha512, hmac::Hmac<sha2::Sha512>>(&answer, &rest),
            _ => return None,
        })
    }

    fn mac<D: Digest, M: Mac + KeyInit>(answer: &[&[u8]], rest: &[&[u8]]) -> Vec<u8> {
        let mut hash = D::new();
        for part in answer {
            hash.update(part);
        }
        let mut mac = <M as KeyInit>::new_from_slice(&[]).expect("a key of any length");
        mac.update(&hash.finalize());
        for part in rest {
            mac.update(part);
        }
        mac.finalize().into_bytes().to_vec()
    }
}

#[cfg(not(feature = "wrap"))]
mod keyless {
    //! Without the feature `wrap` there is no cryptography.

    use crate::wire::{AuthResponse, CommandView, ResponseView};

    pub(super) fn hmac(
        _command: &CommandView<'_>,
        _response: &ResponseView<'_>,
        _auth: &AuthResponse<'_>,
        _nonce: &[u8],
    ) -> Option<Vec<u8>> {
        None
    }
}
