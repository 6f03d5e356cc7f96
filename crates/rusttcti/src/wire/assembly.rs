// SPDX-License-Identifier: BSD-2-Clause
//! Assembles a response that arrives in parts, by the size in its header.

#![forbid(unsafe_code)]

use crate::wire::frame::{FrameError, raw};
use crate::{Error, ErrorKind, Result};

/// The bytes of a response that is not whole yet. They are kept here from one
/// `receive` to the next, whose buffer may be another one. It stays empty and
/// allocates nothing if responses come in one piece.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    kept: Vec<u8>,
}

impl Assembly {
    /// Forgets what was read: another command begins.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }

    /// Calls `read` for more bytes until `response` begins with a whole
    /// response, and returns its size. `read` is offered all the room there is,
    /// returns how many bytes it put there (one or more), and fails with
    /// [`ErrorKind::TryAgain`] when it is time to leave: nothing is lost then.
    ///
    /// # Errors
    /// [`ErrorKind::MalformedResponse`] for a size that no response has, or for
    /// bytes behind the response; what `read` fails with.
    pub(crate) fn receive(
        &mut self,
        response: &mut [u8],
        mut read: impl FnMut(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let mut have = self.kept.len();
        match response.get_mut(..have) {
            Some(start) => start.copy_from_slice(&self.kept),
            None => return Err(ErrorKind::InsufficientBuffer.into()),
        }
        self.kept.clear();
        while !whole(&response[..have], response.len())? {
            match read(&mut response[have..]) {
                Ok(count) => have += count,
                Err(error) => {
                    if error.kind() == ErrorKind::TryAgain {
                        self.kept.extend_from_slice(&response[..have]);
                    }
                    return Err(error);
                }
            }
        }
        Ok(have)
    }
}

/// Returns true if `bytes` is a whole response, and false if it may become one.
fn whole(bytes: &[u8], capacity: usize) -> Result<bool> {
    let malformed = |text| Error::new(ErrorKind::MalformedResponse, text);
    let size = raw::response_size(bytes, capacity)
        .map_err(|error| malformed(format!("the response has {error}{}", quoted(error, bytes))))?;
    match size {
        Some(size) if bytes.len() > size => Err(malformed(format!(
            "{} bytes came, and the header says that the response has {size}",
            bytes.len()
        ))),
        size => Ok(size == Some(bytes.len())),
    }
}

/// Returns the first bytes of a message that is no response, as text to follow
/// `error`. The text is empty if the message may be a response of a wrong size.
pub(crate) fn quoted(error: FrameError, bytes: &[u8]) -> String {
    const SHOWN: usize = 40;
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let rest = if bytes.len() > SHOWN { "..." } else { "" };
    match error {
        FrameError::Tag(_) => format!(": \"{}{rest}\" came", shown.escape_ascii()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Header;

    const RESPONSE: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7, 8];

    #[test]
    fn a_response_byte_by_byte_with_a_timeout_before_each_byte_is_whole_in_the_end() {
        let mut assembly = Assembly::default();
        let mut source = RESPONSE.iter();
        for _ in 0..RESPONSE.len() {
            let mut once = true;
            // A fresh buffer each time, as a caller may have it.
            let error = assembly
                .receive(&mut [0; 64], |room| {
                    if !std::mem::take(&mut once) {
                        return Err(ErrorKind::TryAgain.into());
                    }
                    room[0] = *source.next().expect("a byte");
                    Ok(1)
                })
                .map_or_else(|error| error.kind(), |_| ErrorKind::GeneralFailure);
            if source.as_slice().is_empty() {
                break;
            }
            assert_eq!(error, ErrorKind::TryAgain);
        }
        // The last call above had the whole response.
        assert_eq!(assembly.kept, []);
    }

    #[test]
    fn a_kept_part_comes_back_at_the_head_of_the_next_buffer() {
        let mut assembly = Assembly::default();
        let mut parts = [&RESPONSE[..4], &[], &RESPONSE[4..]].into_iter();
        let mut read = |room: &mut [u8]| match parts.next().expect("a part") {
            [] => Err(ErrorKind::TryAgain.into()),
            part => {
                room[..part.len()].copy_from_slice(part);
                Ok(part.len())
            }
        };
        let error = assembly
            .receive(&mut [0; 64], &mut read)
            .expect_err("early");
        assert_eq!(error.kind(), ErrorKind::TryAgain);
        let mut buffer = [0; 64];
        let size = assembly.receive(&mut buffer, &mut read).expect("the rest");
        assert_eq!(buffer[..size], RESPONSE);
    }

    #[test]
    fn sizes_that_no_response_has_and_trailing_bytes_are_malformed() {
        for size in [0, 9, 65, u32::MAX] {
            let bytes = Header {
                tag: 0x8001,
                size,
                code: 0,
            }
            .to_bytes();
            let error = whole(&bytes, 64).expect_err("no such size");
            assert_eq!(error.kind(), ErrorKind::MalformedResponse, "{size}");
        }
        let trailing = [&RESPONSE[..], &[0]].concat();
        let error = whole(&trailing, 64).expect_err("a byte too many");
        assert_eq!(error.kind(), ErrorKind::MalformedResponse);
    }
}
