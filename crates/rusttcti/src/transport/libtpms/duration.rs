// SPDX-License-Identifier: BSD-2-Clause
//! What commands make a TPM do: which take long, and which next to nothing.

#![forbid(unsafe_code)]

use crate::wire::header::Header;

/// `TPM_RH_NULL`.
const NULL_HANDLE: [u8; 4] = [0x40, 0, 0, 7];

/// `TPM_ST_NO_SESSIONS`.
const NO_SESSIONS: u16 = 0x8001;

/// What a command makes a TPM do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// It reads what the TPM has, or draws random numbers: libtpms has no use
    /// for OpenSSL's library context in it, until it seeds them anew, nor for
    /// writing to the command, where it would decrypt a parameter.
    Plain,
    /// All others, which are done in microseconds.
    Short,
    /// It makes keys, tests the TPM, or computes with private keys: those
    /// commands for which the TCG's PC Client specification grants medium and
    /// long durations because of what they compute.
    Long,
}

impl Work {
    #[inline]
    pub(super) fn of(command: &[u8]) -> Self {
        match Header::parse(command) {
            Some(header) if header.tag == NO_SESSIONS && is_plain(header.code) => Self::Plain,
            Some(header) if is_long(header.code, command) => Self::Long,
            _ => Self::Short,
        }
    }
}

fn is_plain(code: u32) -> bool {
    matches!(
        code,
        0x17a // GetCapability
        | 0x17b // GetRandom
        | 0x17e // PCR_Read
        | 0x181 // ReadClock
    )
}

fn is_long(code: u32, command: &[u8]) -> bool {
    match code {
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

    fn start_auth_session(key: [u8; 4]) -> Work {
        let mut command = vec![0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x76];
        command.extend_from_slice(&key);
        Work::of(&command)
    }

    #[test]
    fn a_session_takes_long_only_if_it_is_salted() {
        assert_eq!(start_auth_session(NULL_HANDLE), Work::Short);
        assert_eq!(start_auth_session([0x80, 0, 0, 0]), Work::Long);
    }

    #[test]
    fn random_bytes_take_no_time_and_keys_do() {
        let get_random = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 16];
        assert_eq!(Work::of(&get_random), Work::Plain);
        assert_eq!(Work::of(&[0x80, 2, 0, 0, 0, 10, 0, 0, 1, 0x31]), Work::Long);
        assert_eq!(Work::of(&[]), Work::Short);
    }

    #[test]
    fn a_session_may_have_a_command_decrypted() {
        let get_random = [0x80, 2, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 16];
        assert_eq!(Work::of(&get_random), Work::Short);
    }
}
