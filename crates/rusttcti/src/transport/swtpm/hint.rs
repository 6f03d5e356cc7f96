// SPDX-License-Identifier: BSD-2-Clause
//! Hints in errors: the likely mistake in swtpm's options, or in the address of its
//! data channel.

#![forbid(unsafe_code)]

use crate::sys::log;
use crate::transport::sent_command::SentCommand;
use crate::transport::socket::Endpoint;
use crate::wire::{CommandCode, Header, ResponseCode};
use crate::{Error, ErrorKind};

/// The whole answer of swtpm's control channel to a TPM command: TPM_BAD_ORDINAL.
const BAD_ORDINAL: [u8; 4] = [0, 0, 0, 0x0a];

/// Returns the error for the control channel's answer to a TPM command; `None` for
/// any other bytes.
pub(super) fn for_control_channel(bytes: &[u8], who: &Endpoint) -> Option<Error> {
    if bytes != BAD_ORDINAL {
        return None;
    }
    let data = match who.data_channel() {
        Some(data) => format!("its data channel is probably \"{data}\""),
        None => "its data channel is what swtpm's --server says".to_owned(),
    };
    Some(Error::new(
        ErrorKind::MalformedResponse,
        format!("{who} is a control channel, which takes no TPM commands ({data})"),
    ))
}

/// Returns the error of a kept connection, with the likely cause if swtpm closed it.
pub(super) fn for_persistent(error: Error) -> Error {
    if error.kind() != ErrorKind::NoConnection {
        return error;
    }
    let text = format!(
        "{error} (a swtpm that was started with --server ...,disconnect closes the connection \
         after each command: leave persistent=1 out)"
    );
    Error::new(ErrorKind::NoConnection, text)
}

/// Whether the warning of a TPM that does not run was logged. It is logged once for a
/// context.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hint {
    warned: bool,
}

impl Hint {
    /// Checks a response, and warns of a TPM that swtpm has not initialized or not
    /// started. `sent` has the command: a second TPM2_Startup gets such a response too.
    #[inline]
    pub(super) fn look_at(&mut self, response: &[u8], sent: SentCommand, who: &Endpoint) {
        let code = Header::parse(response).map_or(0, |header| header.code);
        if code != 0 && !self.warned {
            self.warn(ResponseCode(code), sent, who);
        }
    }

    #[cold]
    fn warn(&mut self, code: ResponseCode, sent: SentCommand, who: &Endpoint) {
        const REMEDY: &str = "start swtpm with --flags not-need-init,startup-clear";
        match code {
            ResponseCode::FAILURE => log::warning!(
                "{who} answers with TPM_RC_FAILURE (0x101), as swtpm does that was not \
                 initialized ({REMEDY})"
            ),
            ResponseCode::INITIALIZE if sent.command() != Some(CommandCode::STARTUP) => {
                log::warning!(
                    "{who} answers with TPM_RC_INITIALIZE (0x100): its TPM has had no \
                     TPM2_Startup ({REMEDY}, or put the layer startup before it, as in \
                     rusttcti:startup:swtpm)"
                );
            }
            _ => return,
        }
        self.warned = true;
    }
}
