// SPDX-License-Identifier: BSD-2-Clause
//! The parameters of every command and response, by name and type, as Part 3 of
//! the specification has them.

#![forbid(unsafe_code)]

use crate::wire::CommandCode;

/// The type of a parameter, as far as it matters for showing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U16,
    U32,
    U64,
    /// `INT32`.
    I32,
    /// `TPMI_YES_NO`.
    YesNo,
    /// `TPM_ALG_ID`.
    Alg,
    /// `TPM_ECC_CURVE`.
    Curve,
    /// `TPM_CC`.
    Cc,
    /// `TPM_HANDLE`.
    Handle,
    /// `TPM_SU`.
    Startup,
    /// `TPM_SE`.
    SessionType,
    /// `TPM_CAP` and the property behind it.
    Capability,
    /// `TPM_EO`.
    Operation,
    /// `TPMA_LOCALITY`.
    Locality,
    /// `TPM_CLOCK_ADJUST`.
    ClockAdjust,
    /// `TPM_RC`.
    Rc,
    /// A sized buffer that is no secret: a digest, a nonce, a name.
    Bytes,
    /// A sized buffer with encrypted data, of which only the size is shown.
    Blob,
    /// A sized buffer that may be a secret.
    Secret,
    /// `TPM2B_SENSITIVE_CREATE`.
    SensitiveCreate,
    /// `TPM2B_PUBLIC`.
    Public,
    /// `TPM2B_TEMPLATE`.
    Template,
    /// `TPM2B_NV_PUBLIC`.
    NvPublic,
    /// `TPM2B_CREATION_DATA`.
    CreationData,
    /// `TPM2B_ATTEST`.
    Attest,
    /// `TPM2B_ECC_POINT`.
    Point,
    /// `TPM2B_ECC_POINT`, a shared secret.
    SecretPoint,
    /// `TPMS_CONTEXT`.
    Context,
    /// `TPML_PCR_SELECTION`.
    PcrSelection,
    /// `TPML_DIGEST`.
    Digests,
    /// `TPML_DIGEST_VALUES`.
    DigestValues,
    /// `TPML_ALG`.
    Algs,
    /// `TPML_CC`.
    Ccs,
    /// `TPMT_SYM_DEF`.
    SymDef,
    /// `TPMT_SYM_DEF_OBJECT`, a `TPMI_ALG_CIPHER_MODE` alike.
    SymDefObject,
    /// `TPMT_SIG_SCHEME`.
    SigScheme,
    /// `TPMT_RSA_DECRYPT`.
    RsaDecrypt,
    /// `TPMT_KDF_SCHEME`.
    Kdf,
    /// `TPMT_SIGNATURE`.
    Signature,
    /// A ticket (`TPMT_TK_*`).
    Ticket,
    /// `TPMS_CAPABILITY_DATA`.
    CapabilityData,
    /// `TPMS_TIME_INFO`.
    TimeInfo,
    /// `TPMS_ALGORITHM_DETAIL_ECC`.
    EccParameters,
}

/// A parameter.
pub(super) type Parameter = (&'static str, Kind);

/// Returns the parameters of a command and of its response; `None` for a command
/// that the table does not have.
pub(super) fn parameters(
    code: CommandCode,
) -> Option<(&'static [Parameter], &'static [Parameter])> {
    let row = TABLE.iter().find(|row| row.0 == code)?;
    Some((row.1, row.2))
}

macro_rules! parameters {
    ($($code:ident ( $($name:ident $kind:ident),* ) -> ( $($response:ident $type:ident),* );)*) => {
        static TABLE: &[(CommandCode, &[Parameter], &[Parameter])] = &[$((
            CommandCode::$code,
            &[$((stringify!($name), Kind::$kind)),*],
            &[$((stringify!($response), Kind::$type)),*],
        ),)*];
    };
}

parameters! {
    NV_UNDEFINE_SPACE_SPECIAL () -> ();
    EVICT_CONTROL (persistentHandle Handle) -> ();
    HIERARCHY_CONTROL (enable Handle, state YesNo) -> ();
    NV_UNDEFINE_SPACE () -> ();
    CHANGE_EPS () -> ();
    CHANGE_PPS () -> ();
    CLEAR () -> ();
    CLEAR_CONTROL (disable YesNo) -> ();
    CLOCK_SET (newTime U64) -> ();
    HIERARCHY_CHANGE_AUTH (newAuth Secret) -> ();
    NV_DEFINE_SPACE (auth Secret, publicInfo NvPublic) -> ();
    PCR_ALLOCATE (pcrAllocation PcrSelection) -> (allocationSuccess YesNo, maxPCR U32, sizeNeeded U32, sizeAvailable U32);
    PCR_SET_AUTH_POLICY (authPolicy Bytes, hashAlg Alg, pcrNum Handle) -> ();
    PP_COMMANDS (setList Ccs, clearList Ccs) -> ();
    SET_PRIMARY_POLICY (authPolicy Bytes, hashAlg Alg) -> ();
    FIELD_UPGRADE_START (fuDigest Bytes, manifestSignature Signature) -> ();
    CLOCK_RATE_ADJUST (rateAdjust ClockAdjust) -> ();
    CREATE_PRIMARY (inSensitive SensitiveCreate, inPublic Public, outsideInfo Bytes, creationPCR PcrSelection) -> (outPublic Public, creationData CreationData, creationHash Bytes, creationTicket Ticket, name Bytes);
    NV_GLOBAL_WRITE_LOCK () -> ();
    GET_COMMAND_AUDIT_DIGEST (qualifyingData Bytes, inScheme SigScheme) -> (auditInfo Attest, signature Signature);
    NV_INCREMENT () -> ();
    NV_SET_BITS (bits U64) -> ();
    NV_EXTEND (data Secret) -> ();
    NV_WRITE (data Secret, offset U16) -> ();
    NV_WRITE_LOCK () -> ();
    DICTIONARY_ATTACK_LOCK_RESET () -> ();
    DICTIONARY_ATTACK_PARAMETERS (newMaxTries U32, newRecoveryTime U32, lockoutRecovery U32) -> ();
    NV_CHANGE_AUTH (newAuth Secret) -> ();
    PCR_EVENT (eventData Secret) -> (digests DigestValues);
    PCR_RESET () -> ();
    SEQUENCE_COMPLETE (buffer Secret, hierarchy Handle) -> (result Bytes, validation Ticket);
    SET_ALGORITHM_SET (algorithmSet U32) -> ();
    SET_COMMAND_CODE_AUDIT_STATUS (auditAlg Alg, setList Ccs, clearList Ccs) -> ();
    FIELD_UPGRADE_DATA (fuData Blob) -> (nextDigest Bytes, firstDigest Bytes);
    INCREMENTAL_SELF_TEST (toTest Algs) -> (toDoList Algs);
    SELF_TEST (fullTest YesNo) -> ();
    STARTUP (startupType Startup) -> ();
    SHUTDOWN (shutdownType Startup) -> ();
    STIR_RANDOM (inData Secret) -> ();
    ACTIVATE_CREDENTIAL (credentialBlob Blob, secret Blob) -> (certInfo Secret);
    CERTIFY (qualifyingData Bytes, inScheme SigScheme) -> (certifyInfo Attest, signature Signature);
    POLICY_NV (operandB Secret, offset U16, operation Operation) -> ();
    CERTIFY_CREATION (qualifyingData Bytes, creationHash Bytes, inScheme SigScheme, creationTicket Ticket) -> (certifyInfo Attest, signature Signature);
    DUPLICATE (encryptionKeyIn Secret, symmetricAlg SymDefObject) -> (encryptionKeyOut Secret, duplicate Blob, outSymSeed Blob);
    GET_TIME (qualifyingData Bytes, inScheme SigScheme) -> (timeInfo Attest, signature Signature);
    GET_SESSION_AUDIT_DIGEST (qualifyingData Bytes, inScheme SigScheme) -> (auditInfo Attest, signature Signature);
    NV_READ (size U16, offset U16) -> (data Secret);
    NV_READ_LOCK () -> ();
    OBJECT_CHANGE_AUTH (newAuth Secret) -> (outPrivate Blob);
    POLICY_SECRET (nonceTPM Bytes, cpHashA Bytes, policyRef Bytes, expiration I32) -> (timeout Bytes, policyTicket Ticket);
    REWRAP (inDuplicate Blob, name Bytes, inSymSeed Blob) -> (outDuplicate Blob, outSymSeed Blob);
    CREATE (inSensitive SensitiveCreate, inPublic Public, outsideInfo Bytes, creationPCR PcrSelection) -> (outPrivate Blob, outPublic Public, creationData CreationData, creationHash Bytes, creationTicket Ticket);
    ECDH_ZGEN (inPoint Point) -> (outPoint SecretPoint);
    HMAC (buffer Secret, hashAlg Alg) -> (outHMAC Bytes);
    IMPORT (encryptionKey Secret, objectPublic Public, duplicate Blob, inSymSeed Blob, symmetricAlg SymDefObject) -> (outPrivate Blob);
    LOAD (inPrivate Blob, inPublic Public) -> (name Bytes);
    QUOTE (qualifyingData Bytes, inScheme SigScheme, PCRselect PcrSelection) -> (quoted Attest, signature Signature);
    RSA_DECRYPT (cipherText Blob, inScheme RsaDecrypt, label Bytes) -> (message Secret);
    HMAC_START (auth Secret, hashAlg Alg) -> ();
    SEQUENCE_UPDATE (buffer Secret) -> ();
    SIGN (digest Bytes, inScheme SigScheme, validation Ticket) -> (signature Signature);
    UNSEAL () -> (outData Secret);
    POLICY_SIGNED (nonceTPM Bytes, cpHashA Bytes, policyRef Bytes, expiration I32, auth Signature) -> (timeout Bytes, policyTicket Ticket);
    CONTEXT_LOAD (context Context) -> ();
    CONTEXT_SAVE () -> (context Context);
    ECDH_KEY_GEN () -> (zPoint SecretPoint, pubPoint Point);
    ENCRYPT_DECRYPT (decrypt YesNo, mode Alg, ivIn Bytes, inData Secret) -> (outData Secret, ivOut Bytes);
    FLUSH_CONTEXT (flushHandle Handle) -> ();
    LOAD_EXTERNAL (inPrivate Secret, inPublic Public, hierarchy Handle) -> (name Bytes);
    MAKE_CREDENTIAL (credential Secret, objectName Bytes) -> (credentialBlob Blob, secret Blob);
    NV_READ_PUBLIC () -> (nvPublic NvPublic, nvName Bytes);
    POLICY_AUTHORIZE (approvedPolicy Bytes, policyRef Bytes, keySign Bytes, checkTicket Ticket) -> ();
    POLICY_AUTH_VALUE () -> ();
    POLICY_COMMAND_CODE (code Cc) -> ();
    POLICY_COUNTER_TIMER (operandB Bytes, offset U16, operation Operation) -> ();
    POLICY_CP_HASH (cpHashA Bytes) -> ();
    POLICY_LOCALITY (locality Locality) -> ();
    POLICY_NAME_HASH (nameHash Bytes) -> ();
    POLICY_OR (pHashList Digests) -> ();
    POLICY_TICKET (timeout Bytes, cpHashA Bytes, policyRef Bytes, authName Bytes, ticket Ticket) -> ();
    READ_PUBLIC () -> (outPublic Public, name Bytes, qualifiedName Bytes);
    RSA_ENCRYPT (message Secret, inScheme RsaDecrypt, label Bytes) -> (outData Blob);
    START_AUTH_SESSION (nonceCaller Bytes, encryptedSalt Blob, sessionType SessionType, symmetric SymDef, authHash Alg) -> (nonceTPM Bytes);
    VERIFY_SIGNATURE (digest Bytes, signature Signature) -> (validation Ticket);
    ECC_PARAMETERS (curveID Curve) -> (parameters EccParameters);
    FIRMWARE_READ (sequenceNumber U32) -> (fuData Blob);
    GET_CAPABILITY (capability Capability, propertyCount U32) -> (moreData YesNo, capabilityData CapabilityData);
    GET_RANDOM (bytesRequested U16) -> (randomBytes Secret);
    GET_TEST_RESULT () -> (outData Blob, testResult Rc);
    HASH (data Secret, hashAlg Alg, hierarchy Handle) -> (outHash Bytes, validation Ticket);
    PCR_READ (pcrSelectionIn PcrSelection) -> (pcrUpdateCounter U32, pcrSelectionOut PcrSelection, pcrValues Digests);
    POLICY_PCR (pcrDigest Bytes, pcrs PcrSelection) -> ();
    POLICY_RESTART () -> ();
    READ_CLOCK () -> (currentTime TimeInfo);
    PCR_EXTEND (digests DigestValues) -> ();
    PCR_SET_AUTH_VALUE (auth Secret) -> ();
    NV_CERTIFY (qualifyingData Bytes, inScheme SigScheme, size U16, offset U16) -> (certifyInfo Attest, signature Signature);
    EVENT_SEQUENCE_COMPLETE (buffer Secret) -> (results DigestValues);
    HASH_SEQUENCE_START (auth Secret, hashAlg Alg) -> ();
    POLICY_PHYSICAL_PRESENCE () -> ();
    POLICY_DUPLICATION_SELECT (objectName Bytes, newParentName Bytes, includeObject YesNo) -> ();
    POLICY_GET_DIGEST () -> (policyDigest Bytes);
    TEST_PARMS () -> ();
    COMMIT (P1 Point, s2 Bytes, y2 Bytes) -> (K Point, L Point, E Point, counter U16);
    POLICY_PASSWORD () -> ();
    ZGEN_2PHASE (inQsB Point, inQeB Point, inScheme Alg, counter U16) -> (outZ1 SecretPoint, outZ2 SecretPoint);
    EC_EPHEMERAL (curveID Curve) -> (Q Point, counter U16);
    POLICY_NV_WRITTEN (writtenSet YesNo) -> ();
    POLICY_TEMPLATE (templateHash Bytes) -> ();
    CREATE_LOADED (inSensitive SensitiveCreate, inPublic Template) -> (outPrivate Blob, outPublic Public, name Bytes);
    POLICY_AUTHORIZE_NV () -> ();
    ENCRYPT_DECRYPT2 (inData Secret, decrypt YesNo, mode Alg, ivIn Bytes) -> (outData Secret, ivOut Bytes);
    AC_GET_CAPABILITY (capability U32, count U32) -> ();
    AC_SEND (acDataIn Secret) -> ();
    POLICY_AC_SEND_SELECT (objectName Bytes, authHandleName Bytes, acName Bytes, includeObject YesNo) -> ();
    CERTIFY_X509 (reserved Bytes, inScheme SigScheme, partialCertificate Bytes) -> (addedToCertificate Bytes, tbsDigest Bytes, signature Signature);
    ACT_SET_TIMEOUT (startTimeout U32) -> ();
    ECC_ENCRYPT (plainText Secret, inScheme Kdf) -> (C1 Point, C2 Blob, C3 Bytes);
    ECC_DECRYPT (C1 Point, C2 Blob, C3 Bytes, inScheme Kdf) -> (plainText Secret);
    POLICY_CAPABILITY (operandB Bytes, offset U16, operation Operation, capability Capability) -> ();
    POLICY_PARAMETERS (pHash Bytes) -> ();
    NV_DEFINE_SPACE2 (auth Secret, publicInfo Bytes) -> ();
    NV_READ_PUBLIC2 () -> (nvPublic Bytes, nvName Bytes);
    SET_CAPABILITY (setCapabilityData Bytes) -> ();
    READ_ONLY_CONTROL (state YesNo) -> ();
    POLICY_TRANSPORT_SPDM (reqKeyName Bytes, tpmKeyName Bytes) -> ();
    VERIFY_SEQUENCE_COMPLETE (signature Signature) -> (validation Ticket);
    SIGN_SEQUENCE_COMPLETE (buffer Secret) -> (signature Signature);
    VERIFY_DIGEST_SIGNATURE (context Bytes, digest Bytes, signature Signature) -> (validation Ticket);
    SIGN_DIGEST (context Bytes, digest Bytes, validation Ticket) -> (signature Signature);
    ENCAPSULATE () -> (sharedSecret Secret, ciphertext Blob);
    DECAPSULATE (ciphertext Blob) -> (sharedSecret Secret);
    VERIFY_SEQUENCE_START (auth Secret, hint Bytes, context Bytes) -> ();
    SIGN_SEQUENCE_START (auth Secret, context Bytes) -> ();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Command;

    #[test]
    fn every_command_of_the_table_has_its_parameters() {
        let specified = Command::all()
            .iter()
            .filter(|command| !command.code.is_vendor());
        for command in specified {
            assert!(parameters(command.code).is_some(), "{}", command.name);
        }
    }

    #[test]
    fn what_a_session_may_encrypt_is_a_sized_buffer_first() {
        for (code, command, response) in TABLE {
            let info = Command::of(*code).expect("a row of wire's table");
            let sized = |parameters: &[Parameter]| {
                parameters.first().is_some_and(|(_, kind)| {
                    matches!(
                        kind,
                        Kind::Bytes
                            | Kind::Blob
                            | Kind::Secret
                            | Kind::SensitiveCreate
                            | Kind::Public
                            | Kind::Template
                            | Kind::NvPublic
                            | Kind::Attest
                            | Kind::Point
                            | Kind::SecretPoint
                    )
                })
            };
            assert!(!info.decrypt || sized(command), "{}", info.name);
            let untyped = response.is_empty();
            assert!(!info.encrypt || sized(response) || untyped, "{}", info.name);
        }
    }
}
