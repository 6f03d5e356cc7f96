// SPDX-License-Identifier: BSD-2-Clause
//! What commands make a TPM do: which take long, and which next to nothing.

#![forbid(unsafe_code)]

use crate::wire::{Command, CommandCode, CommandView, DurationClass, Handle, Header, tag};

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
        let Some(header) = Header::parse(command) else {
            return Self::Short;
        };
        let code = CommandCode(header.code);
        if header.tag == tag::NO_SESSIONS && is_plain(code) {
            return Self::Plain;
        }
        match is_long(code, command) {
            true => Self::Long,
            false => Self::Short,
        }
    }
}

fn is_plain(code: CommandCode) -> bool {
    matches!(
        code,
        CommandCode::GET_CAPABILITY
            | CommandCode::GET_RANDOM
            | CommandCode::PCR_READ
            | CommandCode::READ_CLOCK
    )
}

fn is_long(code: CommandCode, command: &[u8]) -> bool {
    if code == CommandCode::START_AUTH_SESSION {
        // Where a key is to decrypt the salt.
        let key = CommandView::parse(command)
            .ok()
            .and_then(|view| view.handle(0));
        return key.is_some_and(|key| key != Handle::NULL);
    }
    Command::of(code).is_some_and(|command| command.duration == DurationClass::Long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::CommandBuilder;

    fn start_auth_session(key: Handle) -> Work {
        let command = CommandBuilder::new(CommandCode::START_AUTH_SESSION);
        Work::of(&command.handle(key).handle(Handle::NULL).build())
    }

    #[test]
    fn a_session_takes_long_only_if_it_is_salted() {
        assert_eq!(start_auth_session(Handle::NULL), Work::Short);
        assert_eq!(start_auth_session(Handle::TRANSIENT_FIRST), Work::Long);
    }

    #[test]
    fn random_bytes_take_no_time_and_keys_do() {
        let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16);
        assert_eq!(Work::of(&get_random.build()), Work::Plain);
        let create_primary = CommandBuilder::new(CommandCode::CREATE_PRIMARY);
        assert_eq!(Work::of(&create_primary.build()), Work::Long);
        assert_eq!(Work::of(&[]), Work::Short);
    }

    #[test]
    fn a_session_may_have_a_command_decrypted() {
        let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).empty_password();
        assert_eq!(Work::of(&get_random.u16(16).build()), Work::Short);
    }
}
