// SPDX-License-Identifier: BSD-2-Clause
//! Copies a response into the caller's buffer.

#![forbid(unsafe_code)]

/// Copies a response into a buffer of the same length. Most responses are short and are
/// copied in blocks that follow each other. memcpy(3) copies them in two blocks that
/// overlap, so the next reader waits until both are in memory.
#[inline(never)] // where registers are its own
pub(crate) fn copy<T>(from: &[u8], to: &mut [T], write: impl Fn(u8) -> T) {
    const SHORT: usize = 64;
    assert!(from.len() == to.len(), "a place as long as the response");
    if from.len() >= SHORT {
        for (to, from) in to.iter_mut().zip(from) {
            *to = write(*from);
        }
        return;
    }
    // Each bit of the length is a block.
    let mut at = 0;
    at += copy_block::<32, T>(at, from, to, &write);
    at += copy_block::<16, T>(at, from, to, &write);
    at += copy_block::<8, T>(at, from, to, &write);
    at += copy_block::<4, T>(at, from, to, &write);
    at += copy_block::<2, T>(at, from, to, &write);
    copy_block::<1, T>(at, from, to, &write);
}

/// Copies `N` bytes, if that bit of the length is set, and returns how many.
#[inline(always)]
fn copy_block<const N: usize, T>(
    at: usize,
    from: &[u8],
    to: &mut [T],
    write: &impl Fn(u8) -> T,
) -> usize {
    if from.len() & N == 0 {
        return 0;
    }
    for (to, from) in to[at..at + N].iter_mut().zip(&from[at..at + N]) {
        *to = write(*from);
    }
    N
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn a_copy_of_any_length_is_the_same_bytes() {
        for length in 0..200 {
            let from: Vec<u8> = (0..length).map(|n| n as u8 + 1).collect();
            let mut to = vec![0; from.len()];
            copy(&from, &mut to, |byte| byte);
            assert_eq!(from, to);
        }
    }
}
