// SPDX-License-Identifier: BSD-2-Clause
//! A second implementation of the cryptography of sessions, for a program above the
//! layer. It shares no code with the layer: SHA-256 is the kit's, and AES is written
//! here.

use rusttcti_kit::sha256::sha256;

pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&sha256(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = [&block.map(|byte| byte ^ 0x36)[..], &parts.concat()].concat();
    sha256(&[&block.map(|byte| byte ^ 0x5c)[..], &sha256(&inner)].concat())
}

/// KDFa with SHA-256.
pub fn kdfa(key: &[u8], label: &str, u: &[u8], v: &[u8], bits: u32) -> Vec<u8> {
    let mut made = Vec::new();
    let mut counter = 0u32;
    while made.len() * 8 < bits as usize {
        counter += 1;
        let parts = [
            &counter.to_be_bytes()[..],
            label.as_bytes(),
            b"\0",
            u,
            v,
            &bits.to_be_bytes(),
        ];
        made.extend_from_slice(&hmac(key, &parts));
    }
    made.truncate(bits as usize / 8);
    made
}

/// Multiplication by x in AES's field.
fn double(byte: u8) -> u8 {
    byte << 1 ^ if byte & 0x80 != 0 { 0x1b } else { 0 }
}

fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = double(a);
        b >>= 1;
    }
    product
}

fn substitute(byte: u8) -> u8 {
    // The inverse is the 254th power.
    let mut inverse = 1;
    for _ in 0..254 {
        inverse = multiply(inverse, byte);
    }
    let rotations = (1..5).fold(inverse, |sum, by| sum ^ inverse.rotate_left(by));
    rotations ^ 0x63
}

/// One block of AES-128.
pub fn aes128(key: &[u8], block: [u8; 16]) -> [u8; 16] {
    let table: Vec<u8> = (0..=255).map(substitute).collect();
    let s = |byte: u8| table[usize::from(byte)];
    let mut keys: Vec<[u8; 4]> = key.chunks(4).map(|w| w.try_into().expect("4")).collect();
    let mut constant = 1;
    for at in 4..44 {
        let mut word = keys[at - 1];
        if at % 4 == 0 {
            word = [s(word[1]) ^ constant, s(word[2]), s(word[3]), s(word[0])];
            constant = double(constant);
        }
        let before = keys[at - 4];
        keys.push(std::array::from_fn(|byte| before[byte] ^ word[byte]));
    }
    let round_key = |round: usize| keys[4 * round..4 * round + 4].concat();
    let mut state: Vec<u8> = block.iter().zip(round_key(0)).map(|(a, b)| a ^ b).collect();
    for round in 1..=10 {
        let shifted: Vec<u8> = (0..16)
            .map(|at| s(state[(at + 4 * (at % 4)) % 16]))
            .collect();
        let mixed: Vec<u8> = match round {
            10 => shifted,
            _ => (0..16)
                .map(|at| {
                    let column = &shifted[at / 4 * 4..at / 4 * 4 + 4];
                    let byte = |by: usize| column[(at + by) % 4];
                    double(byte(0)) ^ double(byte(1)) ^ byte(1) ^ byte(2) ^ byte(3)
                })
                .collect(),
        };
        state = mixed
            .iter()
            .zip(round_key(round))
            .map(|(a, b)| a ^ b)
            .collect();
    }
    state.try_into().expect("16 bytes")
}

/// AES-128-CFB of a session's parameter: `value` is the session key and what is
/// behind it.
pub fn cipher(value: &[u8], newer: &[u8], older: &[u8], data: &[u8], encrypt: bool) -> Vec<u8> {
    let made = kdfa(value, "CFB", newer, older, 256);
    let (key, iv) = made.split_at(16);
    let mut feedback: [u8; 16] = iv.try_into().expect("16 bytes");
    let mut out = Vec::new();
    for chunk in data.chunks(16) {
        let mask = aes128(key, feedback);
        let changed: Vec<u8> = chunk.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        let secret = if encrypt { &changed } else { chunk };
        feedback[..secret.len()].copy_from_slice(secret);
        out.extend_from_slice(&changed);
    }
    out
}

#[test]
fn the_reference_gives_the_known_answers() {
    // FIPS 197, appendix C.1.
    let key: Vec<u8> = (0..16).collect();
    let block = std::array::from_fn(|at| at as u8 * 0x11);
    let wanted = "69c4e0d86a7b0430d8cdb78070b4c55a";
    assert_eq!(hex(&aes128(&key, block)), wanted);
    // RFC 4231, test case 2.
    let wanted = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(
        hex(&hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
        wanted
    );
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
