// SPDX-License-Identifier: BSD-2-Clause
//! SHA-256 (FIPS 180-4), so that a TPM's answers are checked by code from outside the
//! TPM. Its constants are computed, not copied.

/// Returns the first 32 bits of the fractional parts of the `root`-th roots of the
/// first 64 primes.
fn constants(root: u32) -> [u32; 64] {
    let mut primes = (2_u128..).filter(|n| (2..*n).all(|d| n % d != 0));
    std::array::from_fn(|_| {
        // The integer root of n * 2^(32 * root), by bisection.
        let n = primes.next().expect("there are more") << (32 * root);
        let (mut low, mut high) = (0_u128, 1 << 40);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if middle.pow(root) <= n {
                low = middle;
            } else {
                high = middle;
            }
        }
        low as u32
    })
}

/// Returns the digest of these bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    static TABLES: std::sync::OnceLock<([u32; 64], [u32; 64])> = std::sync::OnceLock::new();
    let (k, h0) = TABLES.get_or_init(|| (constants(3), constants(2)));
    let mut h: [u32; 8] = h0[..8].try_into().expect("eight of them");

    let mut message = bytes.to_vec();
    message.push(0x80);
    message.resize((message.len() + 8).next_multiple_of(64) - 8, 0);
    message.extend_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
    for block in message.chunks(64) {
        let mut w = [0_u32; 64];
        for (word, bytes) in w.iter_mut().zip(block.chunks(4)) {
            *word = u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        }
        for t in 16..64 {
            let (a, b) = (w[t - 15], w[t - 2]);
            let small = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
            let large = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
            w[t] = w[t - 16]
                .wrapping_add(small)
                .wrapping_add(w[t - 7])
                .wrapping_add(large);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut last] = h;
        for (word, constant) in w.iter().zip(k) {
            let sum = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = (e & f) ^ (!e & g);
            let one = last
                .wrapping_add(sum)
                .wrapping_add(choice)
                .wrapping_add(*constant)
                .wrapping_add(*word);
            let sum = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let two = sum.wrapping_add((a & b) ^ (a & c) ^ (b & c));
            (last, g, f, e) = (g, f, e, d.wrapping_add(one));
            (d, c, b, a) = (c, b, a, one.wrapping_add(two));
        }
        for (sum, word) in h.iter_mut().zip([a, b, c, d, e, f, g, last]) {
            *sum = sum.wrapping_add(word);
        }
    }
    let mut digest = [0; 32];
    for (place, word) in digest.chunks_mut(4).zip(h) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    digest
}
