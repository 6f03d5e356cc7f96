// SPDX-License-Identifier: BSD-2-Clause
//! A command as the engine reads it: its handles, sessions and effects.

#![forbid(unsafe_code)]

use crate::wire::{
    AuthCommand, CommandCode, CommandView, Flushes, Handle, HandleKind, HandleView,
    SessionAttributes,
};

/// The kind of thing that a command makes when it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Makes {
    Nothing,
    Object,
    Session,
}

/// A command, as far as the engine reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command<'a>(CommandView<'a>);

impl<'a> Command<'a> {
    /// Reads a command; `None` for one that cannot be read, which every TPM
    /// refuses.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        CommandView::parse(bytes).ok().map(Self)
    }

    pub(super) fn code(self) -> CommandCode {
        self.0.code()
    }

    /// Returns whether it has an authorization area.
    pub(super) fn has_sessions(self) -> bool {
        self.0.has_auths()
    }

    /// Returns its handles, in order.
    pub(super) fn handles(self) -> impl Iterator<Item = HandleView> + use<'a> {
        self.0.handles()
    }

    /// Returns its sessions, in order, and whether each lives on after a success.
    pub(super) fn sessions(self) -> impl Iterator<Item = (Handle, bool)> + use<'a> {
        let goes_on = |session: &AuthCommand<'_>| {
            session
                .attributes
                .contains(SessionAttributes::CONTINUE_SESSION)
        };
        self.0
            .auths()
            .map(move |session| (session.handle, goes_on(&session)))
    }

    /// Returns the parameter of FlushContext.
    pub(super) fn flushed_parameter(self) -> Option<Handle> {
        self.0.flushed_parameter()
    }

    /// Returns its parameters.
    pub(super) fn parameters(self) -> &'a [u8] {
        self.0.parameters()
    }

    /// Returns the hierarchy that HierarchyControl disables.
    pub(super) fn disables(self) -> Option<u32> {
        const NO: u8 = 0;
        let (hierarchy, state) = self.parameters().split_first_chunk()?;
        (state.first() == Some(&NO)).then(|| u32::from_be_bytes(*hierarchy))
    }

    /// Returns the kind of thing that the command makes.
    pub(super) fn makes(self) -> Makes {
        match self.0.info().and_then(|info| info.response_handle) {
            None => Makes::Nothing,
            Some(HandleKind::Context) => {
                match super::saved_context::is_session(self.parameters()) {
                    true => Makes::Session,
                    false => Makes::Object,
                }
            }
            Some(kind) if kind.may_be_object() => Makes::Object,
            Some(kind) if kind.may_be_session() => Makes::Session,
            Some(_) => Makes::Nothing,
        }
    }

    /// Returns the number of the handle that a success flushes.
    pub(super) fn flushes(self) -> Option<usize> {
        match self.0.info()?.flushes {
            Flushes::Handle(n) => Some(n),
            _ => None,
        }
    }

    /// Returns whether the object that it makes is a sequence.
    pub(super) fn makes_sequence(self) -> bool {
        match self.code() {
            CommandCode::HMAC_START | CommandCode::HASH_SEQUENCE_START => true,
            CommandCode::CONTEXT_LOAD => super::saved_context::is_sequence(self.parameters()),
            _ => false,
        }
    }
}
