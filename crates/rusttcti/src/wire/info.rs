// SPDX-License-Identifier: BSD-2-Clause
//! The specification's description of a command: its handles, authorizations and
//! parameters, and its effects on objects and sessions.

#![forbid(unsafe_code)]

use super::code::CommandCode;

/// The description of a command, from Part 3 of the specification.
///
/// ```
/// use rusttcti::wire::{Command, CommandCode, HandleKind, Role};
///
/// let create = Command::of(CommandCode::CREATE).expect("a command that the table has");
/// assert_eq!(create.name, "Create");
/// assert_eq!(create.handles.len(), 1);
/// assert_eq!(create.handles[0].kind, HandleKind::Object);
/// assert_eq!(create.handles[0].role, Some(Role::User));
/// assert!(create.decrypt && create.encrypt);
/// assert!(Command::of(CommandCode(0x2000_0001)).is_none());
/// ```
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// The command code.
    pub code: CommandCode,
    /// The specification's name without `TPM2_`, such as `GetRandom`.
    pub name: &'static str,
    /// The handle area, in order. Handles that need an authorization come first.
    pub handles: &'static [HandleInfo],
    /// The handle that the response begins with, if it has one.
    pub response_handle: Option<HandleKind>,
    /// Whether the first parameter of the command is a sized buffer (TPM2B), so
    /// that a session may decrypt it (Part 1, section 21).
    pub decrypt: bool,
    /// Whether the first parameter of the response is a sized buffer (TPM2B), so
    /// that a session may encrypt it (Part 1, section 21).
    pub encrypt: bool,
    /// Whether the command refuses every session, with TPM_RC_AUTH_CONTEXT.
    pub no_sessions: bool,
    /// Whether the command may write NV memory (`TPMA_CC` nv).
    pub nv: bool,
    /// Whether the command may flush many objects (`TPMA_CC` extensive).
    pub extensive: bool,
    /// The objects or sessions that are gone when the command succeeded.
    pub flushes: Flushes,
    /// The time that a TPM takes for it.
    pub duration: DurationClass,
}

/// A handle in a command's handle area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandleInfo {
    /// The specification's name, such as `keyHandle`.
    pub name: &'static str,
    /// The kind of entity that it names.
    pub kind: HandleKind,
    /// The authorization that it needs, if it needs one.
    pub role: Option<Role>,
}

/// The kind of entity that a handle of a command or response names, by its
/// interface type in the specification (`TPMI_DH`, `TPMI_RH`, `TPMI_SH`; Part 2,
/// section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandleKind {
    /// A transient or persistent object; for some, `TPM_RH_NULL` (`TPMI_DH_OBJECT`).
    Object,
    /// A transient or persistent object or a hierarchy (`TPMI_DH_PARENT`).
    Parent,
    /// Whatever has an authorization: an object, a hierarchy, a PCR or an NV
    /// index (`TPMI_DH_ENTITY`).
    Entity,
    /// A transient object or a session (`TPMI_DH_CONTEXT`).
    Context,
    /// A PCR, or `TPM_RH_NULL` (`TPMI_DH_PCR`).
    Pcr,
    /// A hierarchy or another permanent handle (`TPMI_RH_HIERARCHY` and others).
    Hierarchy,
    /// The owner, the platform or an NV index (`TPMI_RH_NV_AUTH`).
    NvAuth,
    /// An NV index (`TPMI_RH_NV_INDEX`).
    NvIndex,
    /// An HMAC session (`TPMI_SH_HMAC`).
    HmacSession,
    /// A policy session (`TPMI_SH_POLICY`).
    PolicySession,
    /// An HMAC or policy session (`TPMI_SH_AUTH_SESSION`).
    Session,
    /// An authenticated countdown timer (`TPMI_RH_ACT`).
    Act,
    /// An attached component (`TPMI_RH_AC`).
    AttachedComponent,
}

impl HandleKind {
    /// Returns whether the handle may be that of a transient object.
    pub const fn may_be_object(self) -> bool {
        matches!(
            self,
            Self::Object | Self::Parent | Self::Entity | Self::Context
        )
    }

    /// Returns whether the handle may be that of an HMAC or policy session.
    pub const fn may_be_session(self) -> bool {
        matches!(
            self,
            Self::Context | Self::HmacSession | Self::PolicySession | Self::Session
        )
    }
}

/// The role of an authorization (Part 1, section 19.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// USER: to use what the handle names.
    User,
    /// ADMIN: to control it.
    Admin,
    /// DUP: to duplicate it, by a policy only.
    Dup,
}

/// The objects or sessions that are gone when a command succeeded.
///
/// A session whose attribute continueSession is clear is gone after every
/// command besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flushes {
    /// None.
    Nothing,
    /// The sequence object of the handle with this number, from 0.
    Handle(usize),
    /// The object or session whose handle is the first parameter
    /// (TPM2_FlushContext).
    Parameter,
    /// The session of the first handle, if it is one: it is saved, and loaded
    /// no more (TPM2_ContextSave).
    SavedSession,
    /// The persistent object of the second handle, if it is one
    /// (TPM2_EvictControl).
    Persistent,
    /// Objects of a hierarchy, the persistent ones included.
    Hierarchy,
    /// All that is loaded, if the TPM was reset: TPM2_Startup follows a reset,
    /// and TPM2_Shutdown is what comes before one.
    Loaded,
}

/// The time that a TPM takes for a command.
///
/// For chips it is the time that the kernel's driver waits (`tpm2-cmd.c`, after the
/// TCG's PC Client Platform TPM Profile): 20 ms to 120 s. No class is a limit,
/// because a chip may test itself first. TPM2_StartAuthSession is short, except
/// with a salt, which a key must decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DurationClass {
    /// The TPM looks up or copies what it has. In software: microseconds.
    Short,
    /// The TPM hashes, waits for random bits, or writes NV memory: up to two
    /// seconds on a chip. In software: microseconds.
    Medium,
    /// The TPM makes a key, computes with one, or tests itself: seconds, or
    /// minutes on a chip. In software: milliseconds or seconds.
    Long,
}

impl Command {
    pub(super) const fn new(
        code: CommandCode,
        name: &'static str,
        handles: &'static [HandleInfo],
        response_handle: Option<HandleKind>,
    ) -> Self {
        Self {
            code,
            name,
            handles,
            response_handle,
            decrypt: false,
            encrypt: false,
            no_sessions: false,
            nv: false,
            extensive: false,
            flushes: Flushes::Nothing,
            duration: DurationClass::Short,
        }
    }

    /// Returns how many of the handles need an authorization; they come first.
    pub const fn authorizations(&self) -> usize {
        let mut count = 0;
        while count < self.handles.len() && self.handles[count].role.is_some() {
            count += 1;
        }
        count
    }

    /// Returns the attributes as TPM2_GetCapability lists them for
    /// `TPM_CAP_COMMANDS` (`TPMA_CC`; Part 2, section 8.9).
    pub const fn attributes(&self) -> u32 {
        let flushed = matches!(self.flushes, Flushes::Handle(_));
        self.code.0 & 0x2000_ffff
            | (self.nv as u32) << 22
            | (self.extensive as u32) << 23
            | (flushed as u32) << 24
            | (self.handles.len() as u32) << 25
            | (self.response_handle.is_some() as u32) << 28
    }
}
