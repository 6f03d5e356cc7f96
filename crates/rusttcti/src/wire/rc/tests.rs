// SPDX-License-Identifier: BSD-2-Clause
//! Response codes in words.

#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::*;

#[test]
fn every_code_has_a_name_a_sentence_and_a_number_of_its_own() {
    for (index, code) in ResponseCode::ALL.iter().enumerate() {
        assert!(!ResponseCode::ALL[..index].contains(code), "{code:?}");
        let name = code.name().expect("a name");
        assert!(name.starts_with("TPM_RC_"), "{name}");
        let sentence = code.sentence().expect("a sentence");
        assert!(!sentence.ends_with('.'), "{sentence}");
    }
}

#[test]
fn codes_print_as_names_with_what_they_blame() {
    for (code, text) in [
        (0, "TPM_RC_SUCCESS"),
        (0x101, "TPM_RC_FAILURE"),
        (0x084, "TPM_RC_VALUE"),
        (0x184, "TPM_RC_VALUE, handle 1"),
        (0x784, "TPM_RC_VALUE, handle 7"),
        (0x2c4, "TPM_RC_VALUE, parameter 2"),
        (0xfc4, "TPM_RC_VALUE, parameter 15"),
        (0x98e, "TPM_RC_AUTH_FAIL, session 1"),
        (0xb8b, "TPM_RC_HANDLE, session 3"),
        (0x88b, "TPM_RC_HANDLE"),
        (0x0c4, "TPM_RC_VALUE"),
        (0x911, "TPM_RC_REFERENCE_H1"),
        (0x91a, "TPM_RC_REFERENCE_S2"),
        (0x922, "TPM_RC_RETRY"),
        // A vendor's, and an unknown one that blames.
        (0x501, "0x501"),
        (0x1ff, "0x1ff, parameter 1"),
        (0x000b_0902, "TPM_RC_OBJECT_MEMORY (resource manager)"),
        (0x000c_01d5, "TPM_RC_SIZE, parameter 1 (resource manager)"),
        (0x000b_0001, "0xb0001 (resource manager)"),
        (0x000a_000b, "TSS2_TCTI_RC_BAD_VALUE"),
        (0x000a_f801, "0xaf801 (TCTI)"),
        (0x0007_001b, "0x7001b (ESYS)"),
        (0x00ff_0001, "0xff0001"),
    ] {
        assert_eq!(ResponseCode(code).to_string(), text);
    }
}

#[test]
fn warnings_are_those_of_format_zero_with_the_severity_bit() {
    for code in ResponseCode::ALL {
        assert_eq!(code.is_warning(), code.0 & 0xf80 == 0x900, "{code:?}");
    }
    // Sessions are blamed by the same bit.
    assert!(!ResponseCode(0x98e).is_warning());
    assert!(!ResponseCode(0x000a_0922).is_warning());
    assert!(ResponseCode(0x000b_0922).is_warning());
}

#[test]
fn a_layer_that_moved_sessions_gives_them_their_numbers_back() {
    for (code, blamed, changed) in [
        (0xa8e, Blamed::Session(1), 0x98e),
        (0x91a, Blamed::Session(1), 0x918),
        (0x911, Blamed::Handle(3), 0x912),
        (0x1c4, Blamed::Parameter(15), 0xfc4),
        (0x18b, Blamed::Session(7), 0xf8b),
        (0x000b_0910, Blamed::Handle(2), 0x000b_0911),
        // None of these can say so.
        (0x101, Blamed::Session(1), 0x101),
        (0x911, Blamed::Session(1), 0x911),
        (0x1c4, Blamed::Parameter(16), 0x1c4),
        (0x98e, Blamed::Session(0), 0x98e),
        (0x000a_0009, Blamed::Handle(1), 0x000a_0009),
    ] {
        assert_eq!(ResponseCode(code).blaming(blamed).0, changed, "{code:x}");
    }
}

proptest! {
    #[test]
    fn a_code_is_its_base_and_what_it_blames(code in prop_oneof![0..0x1000u32, any::<u32>()]) {
        let code = ResponseCode(code);
        let _ = format!("{code:#} {code:?}");
        if let Some(blamed) = code.blamed() {
            prop_assert_eq!(code.blaming(blamed), code);
            prop_assert_eq!(code.base().blamed().is_none(), code.0 & FORMAT_ONE != 0);
        }
        prop_assert_eq!(code.base().base(), code.base());
    }
}
