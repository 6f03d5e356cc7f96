// SPDX-License-Identifier: BSD-2-Clause
//! Which commands take long.

#![forbid(unsafe_code)]

use crate::wire::header::Header;

/// `TPM_RH_NULL`.
const NULL_HANDLE: [u8; 4] = [0x40, 0, 0, 7];

/// Returns whether a command makes keys, tests the TPM, or computes with private
/// keys: the TCG's PC Client specification grants it a medium or long duration
/// because of what it computes. All other commands are done in microseconds.
pub(super) fn takes_long(command: &[u8]) -> bool {
    let Some(header) = Header::parse(command) else {
        return false;
    };
    match header.code {
        0x131 // CreatePrimary
        | 0x153 // Create
        | 0x191 // CreateLoaded
        | 0x142 // IncrementalSelfTest
        | 0x143 // SelfTest
        | 0x133 // GetCommandAuditDigest
        | 0x147 // ActivateCredential
        | 0x148 // Certify
        | 0x14a // CertifyCreation
        | 0x14b // Duplicate
        | 0x14c // GetTime
        | 0x14d // GetSessionAuditDigest
        | 0x152 // Rewrap
        | 0x154 // ECDH_ZGen
        | 0x156 // Import
        | 0x157 // Load
        | 0x158 // Quote
        | 0x159 // RSA_Decrypt
        | 0x15d // Sign
        | 0x163 // ECDH_KeyGen
        | 0x168 // MakeCredential
        | 0x177 // VerifySignature
        | 0x184 // NV_Certify
        | 0x18b // Commit
        | 0x18d // ZGen_2Phase
        | 0x18e // EC_Ephemeral
        | 0x197 // CertifyX509
        | 0x199 // ECC_Encrypt
        | 0x19a // ECC_Decrypt
        => true,
        // StartAuthSession, where a key is to decrypt the salt.
        0x176 => command.get(10..14).is_some_and(|key| key != NULL_HANDLE),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_auth_session(key: [u8; 4]) -> bool {
        let mut command = vec![0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x76];
        command.extend_from_slice(&key);
        takes_long(&command)
    }

    #[test]
    fn a_session_takes_long_only_if_it_is_salted() {
        assert!(!start_auth_session(NULL_HANDLE));
        assert!(start_auth_session([0x80, 0, 0, 0]));
    }

    #[test]
    fn random_bytes_take_no_time_and_keys_do() {
        let get_random = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 16];
        assert!(!takes_long(&get_random));
        assert!(takes_long(&[0x80, 2, 0, 0, 0, 10, 0, 0, 1, 0x31]));
        assert!(!takes_long(&[]));
    }
}
