// SPDX-License-Identifier: BSD-2-Clause
//! Constants of the specification for commands and responses: tags, capabilities,
//! properties, session types and startup types.

#![forbid(unsafe_code)]

/// Structure tags of commands and responses (`TPM_ST`; Part 2, section 6.9).
pub mod tag {
    /// A response to a command whose tag is wrong (`TPM_ST_RSP_COMMAND`).
    pub const RSP_COMMAND: u16 = 0x00c4;
    /// A command or response without an authorization area (`TPM_ST_NO_SESSIONS`).
    pub const NO_SESSIONS: u16 = 0x8001;
    /// A command or response with an authorization area (`TPM_ST_SESSIONS`).
    pub const SESSIONS: u16 = 0x8002;
}

/// The capabilities that TPM2_GetCapability returns (`TPM_CAP`; Part 2, section
/// 6.12).
pub mod capability {
    /// Algorithms (`TPM_CAP_ALGS`).
    pub const ALGS: u32 = 0;
    /// Handles from a given one on (`TPM_CAP_HANDLES`).
    pub const HANDLES: u32 = 1;
    /// Attributes of the commands that the TPM has (`TPM_CAP_COMMANDS`).
    pub const COMMANDS: u32 = 2;
    /// Commands that want physical presence (`TPM_CAP_PP_COMMANDS`).
    pub const PP_COMMANDS: u32 = 3;
    /// Commands that are audited (`TPM_CAP_AUDIT_COMMANDS`).
    pub const AUDIT_COMMANDS: u32 = 4;
    /// The PCRs of each bank (`TPM_CAP_PCRS`).
    pub const PCRS: u32 = 5;
    /// Properties of the TPM, by number (`TPM_CAP_TPM_PROPERTIES`).
    pub const TPM_PROPERTIES: u32 = 6;
    /// Properties of PCRs (`TPM_CAP_PCR_PROPERTIES`).
    pub const PCR_PROPERTIES: u32 = 7;
    /// Elliptic curves (`TPM_CAP_ECC_CURVES`).
    pub const ECC_CURVES: u32 = 8;
    /// Policies of permanent handles (`TPM_CAP_AUTH_POLICIES`).
    pub const AUTH_POLICIES: u32 = 9;
    /// Authenticated countdown timers (`TPM_CAP_ACT`).
    pub const ACT: u32 = 10;
    /// Properties that the vendor chose (`TPM_CAP_VENDOR_PROPERTY`).
    pub const VENDOR_PROPERTY: u32 = 0x100;
}

/// Properties of a TPM, a 32-bit value each (`TPM_PT`; Part 2, section 6.13).
pub mod property {
    /// The first fixed property (`TPM_PT_FIXED`).
    pub const FIXED: u32 = 0x100;
    /// The family, four letters (`TPM_PT_FAMILY_INDICATOR`).
    pub const FAMILY_INDICATOR: u32 = FIXED;
    /// The revision of the specification, times 100 (`TPM_PT_REVISION`).
    pub const REVISION: u32 = FIXED + 2;
    /// The vendor, four letters (`TPM_PT_MANUFACTURER`).
    pub const MANUFACTURER: u32 = FIXED + 5;
    /// The longest buffer parameter (`TPM_PT_INPUT_BUFFER`).
    pub const INPUT_BUFFER: u32 = FIXED + 13;
    /// How many transient objects there is room for at least (`TPM_PT_HR_TRANSIENT_MIN`).
    pub const HR_TRANSIENT_MIN: u32 = FIXED + 14;
    /// How many persistent objects there is room for at least (`TPM_PT_HR_PERSISTENT_MIN`).
    pub const HR_PERSISTENT_MIN: u32 = FIXED + 15;
    /// How many loaded sessions there is room for at least (`TPM_PT_HR_LOADED_MIN`).
    pub const HR_LOADED_MIN: u32 = FIXED + 16;
    /// How many sessions may be loaded or saved (`TPM_PT_ACTIVE_SESSIONS_MAX`).
    pub const ACTIVE_SESSIONS_MAX: u32 = FIXED + 17;
    /// How many PCRs there are (`TPM_PT_PCR_COUNT`).
    pub const PCR_COUNT: u32 = FIXED + 18;
    /// How far the context IDs of saved sessions may be apart (`TPM_PT_CONTEXT_GAP_MAX`).
    pub const CONTEXT_GAP_MAX: u32 = FIXED + 20;
    /// How objects and sessions share memory, a `TPMA_MEMORY` (`TPM_PT_MEMORY`).
    pub const MEMORY: u32 = FIXED + 24;
    /// The hash algorithm of saved contexts (`TPM_PT_CONTEXT_HASH`).
    pub const CONTEXT_HASH: u32 = FIXED + 26;
    /// The longest command (`TPM_PT_MAX_COMMAND_SIZE`).
    pub const MAX_COMMAND_SIZE: u32 = FIXED + 30;
    /// The longest response (`TPM_PT_MAX_RESPONSE_SIZE`).
    pub const MAX_RESPONSE_SIZE: u32 = FIXED + 31;
    /// The longest digest (`TPM_PT_MAX_DIGEST`).
    pub const MAX_DIGEST: u32 = FIXED + 32;
    /// The longest saved context of an object (`TPM_PT_MAX_OBJECT_CONTEXT`).
    pub const MAX_OBJECT_CONTEXT: u32 = FIXED + 33;
    /// The longest saved context of a session (`TPM_PT_MAX_SESSION_CONTEXT`).
    pub const MAX_SESSION_CONTEXT: u32 = FIXED + 34;
    /// How many commands the TPM has (`TPM_PT_TOTAL_COMMANDS`).
    pub const TOTAL_COMMANDS: u32 = FIXED + 41;
    /// How many of the specification's commands the TPM has (`TPM_PT_LIBRARY_COMMANDS`).
    pub const LIBRARY_COMMANDS: u32 = FIXED + 42;
    /// How many commands of the vendor's the TPM has (`TPM_PT_VENDOR_COMMANDS`).
    pub const VENDOR_COMMANDS: u32 = FIXED + 43;
    /// How much one command writes to an NV index (`TPM_PT_NV_BUFFER_MAX`).
    pub const NV_BUFFER_MAX: u32 = FIXED + 44;
    /// The longest list in a response of TPM2_GetCapability (`TPM_PT_MAX_CAP_BUFFER`).
    pub const MAX_CAP_BUFFER: u32 = FIXED + 46;

    /// The first variable property (`TPM_PT_VAR`).
    pub const VAR: u32 = 0x200;
    /// The authorizations that are set, a `TPMA_PERMANENT` (`TPM_PT_PERMANENT`).
    pub const PERMANENT: u32 = VAR;
    /// The hierarchies that are enabled, a `TPMA_STARTUP_CLEAR`
    /// (`TPM_PT_STARTUP_CLEAR`).
    pub const STARTUP_CLEAR: u32 = VAR + 1;
    /// How many NV indices are defined (`TPM_PT_HR_NV_INDEX`).
    pub const HR_NV_INDEX: u32 = VAR + 2;
    /// How many sessions are loaded (`TPM_PT_HR_LOADED`).
    pub const HR_LOADED: u32 = VAR + 3;
    /// How many more sessions could be loaded (`TPM_PT_HR_LOADED_AVAIL`).
    pub const HR_LOADED_AVAIL: u32 = VAR + 4;
    /// How many sessions are loaded or saved (`TPM_PT_HR_ACTIVE`).
    pub const HR_ACTIVE: u32 = VAR + 5;
    /// How many more sessions could be made (`TPM_PT_HR_ACTIVE_AVAIL`).
    pub const HR_ACTIVE_AVAIL: u32 = VAR + 6;
    /// How many more transient objects could be loaded (`TPM_PT_HR_TRANSIENT_AVAIL`).
    pub const HR_TRANSIENT_AVAIL: u32 = VAR + 7;
    /// How many persistent objects there are (`TPM_PT_HR_PERSISTENT`).
    pub const HR_PERSISTENT: u32 = VAR + 8;
    /// How many more persistent objects there could be (`TPM_PT_HR_PERSISTENT_AVAIL`).
    pub const HR_PERSISTENT_AVAIL: u32 = VAR + 9;
}

/// The types of sessions of TPM2_StartAuthSession (`TPM_SE`; Part 2, section 6.11).
pub mod session_type {
    /// An HMAC session (`TPM_SE_HMAC`).
    pub const HMAC: u8 = 0;
    /// A policy session (`TPM_SE_POLICY`).
    pub const POLICY: u8 = 1;
    /// A policy session that computes a digest and authorizes nothing (`TPM_SE_TRIAL`).
    pub const TRIAL: u8 = 3;
}

/// The types of TPM2_Startup and TPM2_Shutdown (`TPM_SU`; Part 2, section 6.10).
pub mod startup_type {
    /// Nothing volatile (`TPM_SU_CLEAR`).
    pub const CLEAR: u16 = 0;
    /// The state that was saved (`TPM_SU_STATE`).
    pub const STATE: u16 = 1;
}
