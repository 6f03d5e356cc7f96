// SPDX-License-Identifier: BSD-2-Clause
//! Which commands take long.

#![forbid(unsafe_code)]

use crate::wire::{Command, CommandCode, CommandView, DurationClass, Handle, Header};

/// Returns whether a command makes keys, tests the TPM, or computes with private
/// keys: the command table calls its duration long. All other commands are done
/// in microseconds.
pub(super) fn takes_long(command: &[u8]) -> bool {
    let Some(header) = Header::parse(command) else {
        return false;
    };
    let code = CommandCode(header.code);
    if code == CommandCode::START_AUTH_SESSION {
        // If a key must decrypt the salt.
        let view = CommandView::parse(command).ok();
        let key = view.and_then(|view| view.handle(0));
        return key.is_some_and(|key| key != Handle::NULL);
    }
    Command::of(code).is_some_and(|command| command.duration == DurationClass::Long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::CommandBuilder;

    fn start_auth_session(key: Handle) -> bool {
        let command = CommandBuilder::new(CommandCode::START_AUTH_SESSION);
        takes_long(&command.handle(key).handle(Handle::NULL).build())
    }

    #[test]
    fn a_session_takes_long_only_if_it_is_salted() {
        assert!(!start_auth_session(Handle::NULL));
        assert!(start_auth_session(Handle::TRANSIENT_FIRST));
    }

    #[test]
    fn random_bytes_take_no_time_and_keys_do() {
        let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16);
        assert!(!takes_long(&get_random.build()));
        let create_primary = CommandBuilder::new(CommandCode::CREATE_PRIMARY);
        assert!(takes_long(&create_primary.build()));
        assert!(!takes_long(&[]));
    }
}
