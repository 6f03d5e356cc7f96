// SPDX-License-Identifier: BSD-2-Clause
//! The list of all response codes (Part 2, section 6.6.3), to revision 1.85.

#![forbid(unsafe_code)]

use super::ResponseCode;

macro_rules! codes {
    ($($constant:ident = $value:literal, $sentence:literal;)*) => {
        /// Response codes, without the number of what they blame (Part 2,
        /// section 6.6.3).
        impl ResponseCode {
            $(
                #[doc = concat!("`TPM_RC_", stringify!($constant), "`: ", $sentence, ".")]
                pub const $constant: Self = Self($value);
            )*

            /// Returns the name and the sentence of a code without a number.
            pub(super) const fn words(self) -> Option<(&'static str, &'static str)> {
                match self.0 {
                    $($value => Some((concat!("TPM_RC_", stringify!($constant)), $sentence)),)*
                    _ => None,
                }
            }

            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$constant),*];
        }
    };
}

codes! {
    SUCCESS = 0x000, "the command succeeded";
    BAD_TAG = 0x01e, "the tag of the command is wrong";

    // Format zero, errors.
    INITIALIZE = 0x100, "the TPM has had no TPM2_Startup, or has had it already";
    FAILURE = 0x101, "the TPM failed and accepts no commands until it is reset";
    SEQUENCE = 0x103, "a sequence handle is used wrongly";
    PRIVATE = 0x10b, "not in use (private)";
    HMAC = 0x119, "not in use (HMAC)";
    DISABLED = 0x120, "the command is disabled";
    EXCLUSIVE = 0x121, "the audit session is not exclusive any more";
    AUTH_TYPE = 0x124, "the handle wants another type of authorization";
    AUTH_MISSING = 0x125, "a handle needs an authorization, and the command has none for it";
    POLICY = 0x126, "a policy is not satisfied, or its digest is not valid";
    PCR = 0x127, "a PCR does not have the value that it should have";
    PCR_CHANGED = 0x128, "PCRs have changed since they were checked";
    UPGRADE = 0x12d, "the TPM is in field upgrade mode, or, for field upgrade data, is not";
    TOO_MANY_CONTEXTS = 0x12e, "the counter of saved contexts is at its maximum";
    AUTH_UNAVAILABLE = 0x12f, "the entity has no authorization value or policy to be used";
    REBOOT = 0x130, "the TPM must be reset and started with TPM2_Startup(CLEAR) first";
    UNBALANCED = 0x131, "the hash algorithm is too weak for the symmetric key, or the reverse";
    COMMAND_SIZE = 0x142, "the size of the command does not fit its contents";
    COMMAND_CODE = 0x143, "the TPM does not have this command";
    AUTHSIZE = 0x144, "the size of the authorization area is wrong";
    AUTH_CONTEXT = 0x145, "the command cannot have sessions";
    NV_RANGE = 0x146, "the offset and size are outside of the NV index";
    NV_SIZE = 0x147, "the NV index is larger than is allowed";
    NV_LOCKED = 0x148, "the NV index is locked";
    NV_AUTHORIZATION = 0x149, "this authorization does not give access to the NV index";
    NV_UNINITIALIZED = 0x14a, "the NV index was never written, or its state could not be restored";
    NV_SPACE = 0x14b, "the NV memory has no room for this";
    NV_DEFINED = 0x14c, "the NV index or persistent object exists already";
    BAD_CONTEXT = 0x150, "the saved context is not valid";
    CPHASH = 0x151, "the cpHash is set already, or is not that of the command";
    PARENT = 0x152, "the parent's handle is not that of a parent";
    NEEDS_TEST = 0x153, "a function must be tested first";
    NO_RESULT = 0x154, "a function could not process the request";
    SENSITIVE = 0x155, "the sensitive area is malformed after its decryption";
    READ_ONLY = 0x156, "the TPM is in read-only mode";

    // Format one.
    ASYMMETRIC = 0x081, "the asymmetric algorithm is not supported or not correct";
    ATTRIBUTES = 0x082, "attributes are inconsistent";
    HASH = 0x083, "the hash algorithm is not supported or not appropriate";
    VALUE = 0x084, "a value is out of range or not correct here";
    HIERARCHY = 0x085, "the hierarchy is not enabled or not correct here";
    KEY_SIZE = 0x087, "the size of the key is not supported";
    MGF = 0x088, "the mask generation function is not supported";
    MODE = 0x089, "the mode of operation is not supported";
    TYPE = 0x08a, "the type is not appropriate here";
    HANDLE = 0x08b, "the handle is not correct here";
    KDF = 0x08c, "the key derivation function is not supported or not appropriate";
    RANGE = 0x08d, "a value is outside of the range that is allowed";
    AUTH_FAIL = 0x08e, "the authorization is wrong, and the attempt was counted";
    NONCE = 0x08f, "the nonce has a wrong size or value";
    PP = 0x090, "physical presence is needed";
    SCHEME = 0x092, "the scheme is not supported or does not fit";
    SIZE = 0x095, "a structure has the wrong size";
    SYMMETRIC = 0x096, "the symmetric algorithm or key size is not supported or not appropriate";
    TAG = 0x097, "the tag of a structure is wrong";
    SELECTOR = 0x098, "the selector of a union is wrong";
    INSUFFICIENT = 0x09a, "the command ends before all of its parts";
    SIGNATURE = 0x09b, "the signature is not valid";
    KEY = 0x09c, "the key does not fit this use";
    POLICY_FAIL = 0x09d, "a check of the policy failed";
    INTEGRITY = 0x09f, "a check of integrity failed";
    TICKET = 0x0a0, "the ticket is not valid";
    RESERVED_BITS = 0x0a1, "bits that must be zero are not";
    BAD_AUTH = 0x0a2, "the authorization is wrong; the attempt was not counted";
    EXPIRED = 0x0a3, "the policy has expired";
    POLICY_CC = 0x0a4, "the policy is for another command";
    BINDING = 0x0a5, "the public and the sensitive area do not belong together";
    CURVE = 0x0a6, "the curve is not supported";
    ECC_POINT = 0x0a7, "the point is not on the curve";
    FW_LIMITED = 0x0a8, "the hierarchy is limited to a firmware whose secret is not available";
    SVN_LIMITED = 0x0a9, "the hierarchy is limited to a security version whose secret is not available";
    PARMS = 0x0aa, "the parameter set is not supported";
    EXT_MU = 0x0ab, "an external mu is not supported";
    ONE_SHOT_SIGNATURE = 0x0ac, "the message to be signed must come in one piece";
    SIGN_CONTEXT_KEY = 0x0ad, "the sequence was started with another key";
    CHANNEL = 0x0b0, "the command needs a secure channel";
    CHANNEL_KEY = 0x0b1, "the secure channel was made with other keys";

    // Format zero, warnings.
    CONTEXT_GAP = 0x901, "the oldest saved session is too old: it must be loaded first";
    OBJECT_MEMORY = 0x902, "there is no room for another object";
    SESSION_MEMORY = 0x903, "there is no room for another session";
    MEMORY = 0x904, "there is no room left for objects, sessions or computations";
    SESSION_HANDLES = 0x905, "there are no session handles left: a session must be flushed";
    OBJECT_HANDLES = 0x906, "there are no object handles left: the TPM must be reset";
    LOCALITY = 0x907, "the locality is wrong for this";
    YIELDED = 0x908, "the TPM paused the command: it can be sent again";
    CANCELED = 0x909, "the command was cancelled";
    TESTING = 0x90a, "the TPM is testing itself";
    REFERENCE_H0 = 0x910, "the first handle names nothing that is loaded";
    REFERENCE_H1 = 0x911, "the second handle names nothing that is loaded";
    REFERENCE_H2 = 0x912, "the third handle names nothing that is loaded";
    REFERENCE_H3 = 0x913, "the fourth handle names nothing that is loaded";
    REFERENCE_H4 = 0x914, "the fifth handle names nothing that is loaded";
    REFERENCE_H5 = 0x915, "the sixth handle names nothing that is loaded";
    REFERENCE_H6 = 0x916, "the seventh handle names nothing that is loaded";
    REFERENCE_S0 = 0x918, "the first session is not loaded";
    REFERENCE_S1 = 0x919, "the second session is not loaded";
    REFERENCE_S2 = 0x91a, "the third session is not loaded";
    REFERENCE_S3 = 0x91b, "the fourth session is not loaded";
    REFERENCE_S4 = 0x91c, "the fifth session is not loaded";
    REFERENCE_S5 = 0x91d, "the sixth session is not loaded";
    REFERENCE_S6 = 0x91e, "the seventh session is not loaded";
    NV_RATE = 0x920, "the TPM slows writing down, so that NV memory does not wear out";
    LOCKOUT = 0x921, "the TPM is in lockout after too many wrong authorizations";
    RETRY = 0x922, "the TPM could not start the command: it can be sent again";
    NV_UNAVAILABLE = 0x923, "the command may write NV memory, which is not available now";
    NOT_USED = 0x97f, "no TPM answers this";
}
