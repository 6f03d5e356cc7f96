// SPDX-License-Identifier: BSD-2-Clause
//! Names of the specification's numbers (Part 2), as tpm2-tools print them.

#![forbid(unsafe_code)]

/// Returns the name of an algorithm (`TPM_ALG_ID`), or its number.
pub(super) fn algorithm(id: u16) -> String {
    let name = match id {
        0x01 => "rsa",
        0x03 => "tdes",
        0x04 => "sha1",
        0x05 => "hmac",
        0x06 => "aes",
        0x07 => "mgf1",
        0x08 => "keyedhash",
        0x0a => "xor",
        0x0b => "sha256",
        0x0c => "sha384",
        0x0d => "sha512",
        0x10 => "null",
        0x12 => "sm3_256",
        0x13 => "sm4",
        0x14 => "rsassa",
        0x15 => "rsaes",
        0x16 => "rsapss",
        0x17 => "oaep",
        0x18 => "ecdsa",
        0x19 => "ecdh",
        0x1a => "ecdaa",
        0x1b => "sm2",
        0x1c => "ecschnorr",
        0x1d => "ecmqv",
        0x20 => "kdf1_sp800_56a",
        0x21 => "kdf2",
        0x22 => "kdf1_sp800_108",
        0x23 => "ecc",
        0x25 => "symcipher",
        0x26 => "camellia",
        0x27 => "sha3_256",
        0x28 => "sha3_384",
        0x29 => "sha3_512",
        0x3f => "cmac",
        0x40 => "ctr",
        0x41 => "ofb",
        0x42 => "cbc",
        0x43 => "cfb",
        0x44 => "ecb",
        _ => return format!("0x{id:04x}"),
    };
    name.to_owned()
}

/// Returns the size of a hash's digest in bytes.
pub(super) fn digest_size(hash: u16) -> Option<usize> {
    Some(match hash {
        0x04 => 20,
        0x0b | 0x12 | 0x27 => 32,
        0x0c | 0x28 => 48,
        0x0d | 0x29 => 64,
        _ => return None,
    })
}

/// Returns the name of a curve (`TPM_ECC_CURVE`), or its number.
pub(super) fn curve(id: u16) -> String {
    let name = match id {
        0x01 => "p192",
        0x02 => "p224",
        0x03 => "p256",
        0x04 => "p384",
        0x05 => "p521",
        0x10 => "bn_p256",
        0x11 => "bn_p638",
        0x20 => "sm2_p256",
        _ => return format!("0x{id:04x}"),
    };
    name.to_owned()
}

/// Returns the names of the bits that are set, with `|` between them; bits without
/// a name become a number.
fn bits(value: u32, names: &[(u32, &str)]) -> String {
    let mut rest = value;
    let mut text = Vec::new();
    for (bit, name) in names {
        if value & bit != 0 {
            text.push((*name).to_owned());
            rest &= !bit;
        }
    }
    if rest != 0 || text.is_empty() {
        text.push(format!("0x{rest:x}"));
    }
    text.join("|")
}

/// Returns object attributes as text (`TPMA_OBJECT`; Part 2, section 8.3).
pub(super) fn object_attributes(value: u32) -> String {
    const NAMES: [(u32, &str); 13] = [
        (1 << 1, "fixedtpm"),
        (1 << 2, "stclear"),
        (1 << 4, "fixedparent"),
        (1 << 5, "sensitivedataorigin"),
        (1 << 6, "userwithauth"),
        (1 << 7, "adminwithpolicy"),
        (1 << 10, "noda"),
        (1 << 11, "encryptedduplication"),
        (1 << 16, "restricted"),
        (1 << 17, "decrypt"),
        (1 << 18, "sign"),
        (1 << 19, "x509sign"),
        (1 << 8, "firmwarelimited"),
    ];
    bits(value, &NAMES)
}

/// Returns NV index attributes as text (`TPMA_NV`; Part 2, section 13.4).
pub(super) fn nv_attributes(value: u32) -> String {
    const NAMES: [(u32, &str); 21] = [
        (1, "ppwrite"),
        (1 << 1, "ownerwrite"),
        (1 << 2, "authwrite"),
        (1 << 3, "policywrite"),
        (1 << 10, "policydelete"),
        (1 << 11, "writelocked"),
        (1 << 12, "writeall"),
        (1 << 13, "writedefine"),
        (1 << 14, "write_stclear"),
        (1 << 15, "globallock"),
        (1 << 16, "ppread"),
        (1 << 17, "ownerread"),
        (1 << 18, "authread"),
        (1 << 19, "policyread"),
        (1 << 25, "no_da"),
        (1 << 26, "orderly"),
        (1 << 27, "clear_stclear"),
        (1 << 28, "readlocked"),
        (1 << 29, "written"),
        (1 << 30, "platformcreate"),
        (1 << 31, "read_stclear"),
    ];
    let kind = match value >> 4 & 0xf {
        0 => String::new(),
        1 => "nt=counter|".to_owned(),
        2 => "nt=bits|".to_owned(),
        4 => "nt=extend|".to_owned(),
        8 => "nt=pinfail|".to_owned(),
        9 => "nt=pinpass|".to_owned(),
        other => format!("nt=0x{other:x}|"),
    };
    kind + &bits(value & !0xf0, &NAMES)
}

/// Returns attributes of an algorithm as text (`TPMA_ALGORITHM`; Part 2, section 8.2).
pub(super) fn algorithm_attributes(value: u32) -> String {
    const NAMES: [(u32, &str); 7] = [
        (1, "asymmetric"),
        (1 << 1, "symmetric"),
        (1 << 2, "hash"),
        (1 << 3, "object"),
        (1 << 8, "signing"),
        (1 << 9, "encrypting"),
        (1 << 10, "method"),
    ];
    bits(value, &NAMES)
}

/// Returns a locality as text (`TPMA_LOCALITY`; Part 2, section 8.5).
pub(super) fn locality(value: u8) -> String {
    if value >= 32 {
        return value.to_string();
    }
    let set = (0..5).filter(|bit| value >> bit & 1 == 1);
    let names: Vec<&str> = set
        .map(|bit| ["zero", "one", "two", "three", "four"][bit])
        .collect();
    names.join("|")
}

/// Returns the name of a session type (`TPM_SE`; Part 2, section 6.11).
pub(super) fn session_type(value: u8) -> String {
    match value {
        0 => "hmac".to_owned(),
        1 => "policy".to_owned(),
        3 => "trial".to_owned(),
        other => format!("0x{other:02x}"),
    }
}

/// Returns the name of a startup type (`TPM_SU`; Part 2, section 6.10).
pub(super) fn startup_type(value: u16) -> String {
    match value {
        0 => "clear".to_owned(),
        1 => "state".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

/// Returns the name of an arithmetic operation (`TPM_EO`; Part 2, section 6.8).
pub(super) fn operation(value: u16) -> String {
    const NAMES: [&str; 12] = [
        "eq", "neq", "sgt", "ugt", "slt", "ult", "sge", "uge", "sle", "ule", "bs", "bc",
    ];
    match NAMES.get(usize::from(value)) {
        Some(name) => (*name).to_owned(),
        None => format!("0x{value:04x}"),
    }
}

/// Returns the name of a capability (`TPM_CAP`; Part 2, section 6.12).
pub(super) fn capability(value: u32) -> String {
    const NAMES: [&str; 11] = [
        "algorithms",
        "handles",
        "commands",
        "pp-commands",
        "audit-commands",
        "pcrs",
        "properties",
        "pcr-properties",
        "ecc-curves",
        "auth-policies",
        "act",
    ];
    match NAMES.get(value as usize) {
        Some(name) => (*name).to_owned(),
        None if value == 0x100 => "vendor".to_owned(),
        None => format!("0x{value:x}"),
    }
}

/// Returns the name of a structure tag (`TPM_ST`; Part 2, section 6.9) of
/// attestations and tickets.
pub(super) fn structure(value: u16) -> String {
    let name = match value {
        0x8014 => "attest_nv",
        0x8015 => "attest_command_audit",
        0x8016 => "attest_session_audit",
        0x8017 => "attest_certify",
        0x8018 => "attest_quote",
        0x8019 => "attest_time",
        0x801a => "attest_creation",
        0x801c => "attest_nv_digest",
        0x8021 => "creation",
        0x8022 => "verified",
        0x8023 => "auth_secret",
        0x8024 => "hashcheck",
        0x8025 => "auth_signed",
        _ => return format!("0x{value:04x}"),
    };
    name.to_owned()
}

/// Returns the name of a property of a TPM (`TPM_PT`; Part 2, section 6.13).
pub(super) fn property(value: u32) -> String {
    let name = match value {
        0x100 => "FAMILY_INDICATOR",
        0x101 => "LEVEL",
        0x102 => "REVISION",
        0x103 => "DAY_OF_YEAR",
        0x104 => "YEAR",
        0x105 => "MANUFACTURER",
        0x106 => "VENDOR_STRING_1",
        0x107 => "VENDOR_STRING_2",
        0x108 => "VENDOR_STRING_3",
        0x109 => "VENDOR_STRING_4",
        0x10a => "VENDOR_TPM_TYPE",
        0x10b => "FIRMWARE_VERSION_1",
        0x10c => "FIRMWARE_VERSION_2",
        0x10d => "INPUT_BUFFER",
        0x10e => "HR_TRANSIENT_MIN",
        0x10f => "HR_PERSISTENT_MIN",
        0x110 => "HR_LOADED_MIN",
        0x111 => "ACTIVE_SESSIONS_MAX",
        0x112 => "PCR_COUNT",
        0x113 => "PCR_SELECT_MIN",
        0x114 => "CONTEXT_GAP_MAX",
        0x116 => "NV_COUNTERS_MAX",
        0x117 => "NV_INDEX_MAX",
        0x118 => "MEMORY",
        0x119 => "CLOCK_UPDATE",
        0x11a => "CONTEXT_HASH",
        0x11b => "CONTEXT_SYM",
        0x11c => "CONTEXT_SYM_SIZE",
        0x11d => "ORDERLY_COUNT",
        0x11e => "MAX_COMMAND_SIZE",
        0x11f => "MAX_RESPONSE_SIZE",
        0x120 => "MAX_DIGEST",
        0x121 => "MAX_OBJECT_CONTEXT",
        0x122 => "MAX_SESSION_CONTEXT",
        0x12c => "NV_BUFFER_MAX",
        0x12d => "MODES",
        0x200 => "PERMANENT",
        0x201 => "STARTUP_CLEAR",
        0x202 => "HR_NV_INDEX",
        0x203 => "HR_LOADED",
        0x204 => "HR_LOADED_AVAIL",
        0x205 => "HR_ACTIVE",
        0x206 => "HR_ACTIVE_AVAIL",
        0x207 => "HR_TRANSIENT_AVAIL",
        0x208 => "HR_PERSISTENT",
        0x209 => "HR_PERSISTENT_AVAIL",
        0x20a => "NV_COUNTERS",
        0x20b => "NV_COUNTERS_AVAIL",
        0x20c => "ALGORITHM_SET",
        0x20d => "LOADED_CURVES",
        0x20e => "LOCKOUT_COUNTER",
        0x20f => "MAX_AUTH_FAIL",
        0x210 => "LOCKOUT_INTERVAL",
        0x211 => "LOCKOUT_RECOVERY",
        0x212 => "NV_WRITE_RECOVERY",
        0x213 => "AUDIT_COUNTER_0",
        0x214 => "AUDIT_COUNTER_1",
        _ => return format!("0x{value:x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_named_as_tpm2_tools_name_them() {
        assert_eq!(
            object_attributes(0x0003_0072),
            "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt"
        );
        assert_eq!(
            nv_attributes(0x0002_0012),
            "nt=counter|ownerwrite|ownerread"
        );
        assert_eq!(locality(0b1_0001), "zero|four");
        assert_eq!(object_attributes(0), "0x0");
    }
}
