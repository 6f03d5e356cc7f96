// SPDX-License-Identifier: BSD-2-Clause
//! Handles: 32-bit numbers that name the entities of a TPM.

#![forbid(unsafe_code)]

use std::fmt;

/// A handle (`TPM_HANDLE`; Part 2, section 7).
///
/// ```
/// use rusttcti::wire::{Handle, HandleType};
///
/// assert_eq!(Handle::OWNER.to_string(), "owner");
/// assert_eq!(Handle(16).to_string(), "PCR 16");
/// assert_eq!(Handle(0x8100_0001).to_string(), "0x81000001");
/// assert_eq!(Handle(0x8000_0000).handle_type(), HandleType::Transient);
/// assert!(Handle(0x0300_0001).is_session());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u32);

/// The type of a handle, by its highest byte (`TPM_HT`; Part 2, section 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandleType {
    /// A PCR (0x00).
    Pcr,
    /// An NV index (0x01).
    NvIndex,
    /// An HMAC session (0x02); in lists of handles, a loaded session.
    HmacSession,
    /// A policy session (0x03); in lists of handles, a saved session.
    PolicySession,
    /// An external NV index (0x11, since revision 1.83).
    ExternalNv,
    /// A permanent NV index (0x12, since revision 1.83).
    PermanentNv,
    /// A hierarchy or another permanent resource (0x40).
    Permanent,
    /// A transient object, sequences included (0x80).
    Transient,
    /// A persistent object (0x81).
    Persistent,
    /// An attached component (0x90).
    AttachedComponent,
    /// A type that the specification doesn't have: the highest byte.
    Unknown(u8),
}

impl HandleType {
    /// Returns the type of a handle, which is its highest byte.
    pub const fn of(byte: u8) -> Self {
        match byte {
            0x00 => Self::Pcr,
            0x01 => Self::NvIndex,
            0x02 => Self::HmacSession,
            0x03 => Self::PolicySession,
            0x11 => Self::ExternalNv,
            0x12 => Self::PermanentNv,
            0x40 => Self::Permanent,
            0x80 => Self::Transient,
            0x81 => Self::Persistent,
            0x90 => Self::AttachedComponent,
            other => Self::Unknown(other),
        }
    }
}

macro_rules! permanent {
    ($($(#[$doc:meta])* $constant:ident = $value:literal, $name:literal;)*) => {
        /// Permanent handles (`TPM_RH`; Part 2, section 7.4).
        impl Handle {
            $($(#[$doc])* pub const $constant: Self = Self($value);)*

            /// Returns the name of a permanent handle, such as `owner`.
            pub const fn permanent_name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

permanent! {
    /// The owner, and the storage hierarchy (`TPM_RH_OWNER`).
    OWNER = 0x4000_0001, "owner";
    /// The null hierarchy, or no handle at all (`TPM_RH_NULL`).
    NULL = 0x4000_0007, "null";
    /// A handle not yet assigned (`TPM_RH_UNASSIGNED`).
    UNASSIGNED = 0x4000_0008, "unassigned";
    /// The session of a password authorization (`TPM_RS_PW`).
    RS_PW = 0x4000_0009, "password";
    /// The dictionary attack lockout (`TPM_RH_LOCKOUT`).
    LOCKOUT = 0x4000_000a, "lockout";
    /// The endorsement hierarchy (`TPM_RH_ENDORSEMENT`).
    ENDORSEMENT = 0x4000_000b, "endorsement";
    /// The platform hierarchy (`TPM_RH_PLATFORM`).
    PLATFORM = 0x4000_000c, "platform";
    /// The enable of the platform's NV indices (`TPM_RH_PLATFORM_NV`).
    PLATFORM_NV = 0x4000_000d, "platform NV";
    /// The owner hierarchy limited to this firmware (`TPM_RH_FW_OWNER`).
    FW_OWNER = 0x4000_0140, "firmware owner";
    /// The endorsement hierarchy limited to this firmware (`TPM_RH_FW_ENDORSEMENT`).
    FW_ENDORSEMENT = 0x4000_0141, "firmware endorsement";
    /// The platform hierarchy limited to this firmware (`TPM_RH_FW_PLATFORM`).
    FW_PLATFORM = 0x4000_0142, "firmware platform";
    /// The null hierarchy limited to this firmware (`TPM_RH_FW_NULL`).
    FW_NULL = 0x4000_0143, "firmware null";
}

/// The first handles of ranges (`TPM_HC`; Part 2, section 7.5).
impl Handle {
    /// The first PCR.
    pub const PCR_FIRST: Self = Self(0);
    /// The lowest NV index.
    pub const NV_INDEX_FIRST: Self = Self(0x0100_0000);
    /// The first HMAC session.
    pub const HMAC_SESSION_FIRST: Self = Self(0x0200_0000);
    /// The first handle of TPM2_GetCapability's list of loaded sessions.
    pub const LOADED_SESSION_FIRST: Self = Self(0x0200_0000);
    /// The first policy session.
    pub const POLICY_SESSION_FIRST: Self = Self(0x0300_0000);
    /// The first handle of TPM2_GetCapability's list of saved sessions
    /// (`ACTIVE_SESSION_FIRST`).
    pub const SAVED_SESSION_FIRST: Self = Self(0x0300_0000);
    /// The first permanent handle.
    pub const PERMANENT_FIRST: Self = Self(0x4000_0000);
    /// The first authenticated countdown timer (`TPM_RH_ACT_0`), of sixteen.
    pub const ACT_0: Self = Self(0x4000_0110);
    /// The first transient object.
    pub const TRANSIENT_FIRST: Self = Self(0x8000_0000);
    /// The first persistent object of the owner.
    pub const PERSISTENT_FIRST: Self = Self(0x8100_0000);
    /// The first persistent object of the platform.
    pub const PLATFORM_PERSISTENT: Self = Self(0x8180_0000);
    /// The first attached component.
    pub const AC_FIRST: Self = Self(0x9000_0000);

    /// Returns what this handle names.
    pub const fn handle_type(self) -> HandleType {
        HandleType::of((self.0 >> 24) as u8)
    }

    /// Returns whether this names a transient object.
    pub const fn is_transient(self) -> bool {
        matches!(self.handle_type(), HandleType::Transient)
    }

    /// Returns whether this names a persistent object.
    pub const fn is_persistent(self) -> bool {
        matches!(self.handle_type(), HandleType::Persistent)
    }

    /// Returns whether this names an HMAC or policy session. `TPM_RS_PW` does not.
    pub const fn is_session(self) -> bool {
        matches!(
            self.handle_type(),
            HandleType::HmacSession | HandleType::PolicySession
        )
    }
}

impl fmt::Display for Handle {
    /// Writes the name of a permanent handle, the number of a PCR, and others
    /// as eight hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.permanent_name(), self.handle_type()) {
            (Some(name), _) => f.write_str(name),
            (None, HandleType::Pcr) => write!(f, "PCR {}", self.0),
            (None, HandleType::Permanent) if (0x110..0x120).contains(&(self.0 & 0xff_ffff)) => {
                write!(f, "ACT {:x}", self.0 & 0xf)
            }
            _ => write!(f, "0x{:08x}", self.0),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle(0x{:08x})", self.0)
    }
}

impl From<u32> for Handle {
    fn from(value: u32) -> Self {
        Self(value)
    }
}

impl From<Handle> for u32 {
    fn from(handle: Handle) -> Self {
        handle.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permanent_handles_have_names_and_others_numbers() {
        for (handle, text) in [
            (Handle::NULL, "null"),
            (Handle::RS_PW, "password"),
            (Handle::LOCKOUT, "lockout"),
            (Handle(0x4000_0113), "ACT 3"),
            (Handle(0x4000_0010), "0x40000010"),
            (Handle(23), "PCR 23"),
            (Handle(0x0150_0000), "0x01500000"),
        ] {
            assert_eq!(handle.to_string(), text);
        }
    }

    #[test]
    fn the_first_of_each_range_has_the_type_of_its_range() {
        for (handle, kind) in [
            (Handle::PCR_FIRST, HandleType::Pcr),
            (Handle::NV_INDEX_FIRST, HandleType::NvIndex),
            (Handle::HMAC_SESSION_FIRST, HandleType::HmacSession),
            (Handle::POLICY_SESSION_FIRST, HandleType::PolicySession),
            (Handle::PERMANENT_FIRST, HandleType::Permanent),
            (Handle::TRANSIENT_FIRST, HandleType::Transient),
            (Handle::PLATFORM_PERSISTENT, HandleType::Persistent),
            (Handle::AC_FIRST, HandleType::AttachedComponent),
            (Handle(0x7700_0000), HandleType::Unknown(0x77)),
        ] {
            assert_eq!(handle.handle_type(), kind, "{handle}");
        }
    }

    #[test]
    fn a_password_is_no_session_that_a_tpm_has() {
        assert!(!Handle::RS_PW.is_session());
        assert!(Handle::HMAC_SESSION_FIRST.is_session());
        assert!(Handle::POLICY_SESSION_FIRST.is_session());
        assert!(!Handle::TRANSIENT_FIRST.is_session());
    }
}
