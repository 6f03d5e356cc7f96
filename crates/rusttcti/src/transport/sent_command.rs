// SPDX-License-Identifier: BSD-2-Clause
//! The command that a transport sent last. It shows whether the received bytes are an
//! echo of that command, and names the command in the log if the response takes long. A
//! wait without a timeout is logged after 1 s at the level info, and after 5 s and
//! after a minute at the level warning.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::sys::log;
use crate::wire::{CommandCode, Header};
use crate::{Error, ErrorKind, Result};

/// How long one receive of the transport waits if the program set no timeout.
pub(super) const SLICE: Duration = Duration::from_secs(1);
/// The numbers of slices after which a wait is logged.
const TOLD: [u32; 3] = [1, 5, 60];
/// The last of them that is logged at the level info.
const STILL_SHORT: u32 = 1;

/// The command whose response is awaited.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SentCommand {
    command: Option<Header>,
}

impl SentCommand {
    /// Notes the command that is sent.
    pub(super) fn note(&mut self, command: &[u8]) {
        self.command = Header::parse(command);
    }

    /// Returns the code of the command that was sent.
    pub(super) fn command(self) -> Option<CommandCode> {
        self.command.map(|header| CommandCode(header.code))
    }

    /// Fails if the response begins as the command does: then a terminal or a program
    /// like cat(1) has sent the command back.
    pub(super) fn check_echo(self, response: &[u8]) -> Result<()> {
        let header = Header::parse(response);
        match header.is_some() && header == self.command {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::MalformedResponse,
                "the command itself came back: the other end echoes it (a terminal that is not \
                 in raw mode, or a program like cat)",
            )),
        }
    }

    /// Calls the transport's `receive` with this timeout. If there is no timeout, a
    /// long wait is logged; `peer` names the peer in that message.
    ///
    /// Without a timeout, `receive` gets a timeout of one [`SLICE`], and is called
    /// again after each [`ErrorKind::TryAgain`].
    pub(super) fn receive<T>(
        self,
        transport: &mut T,
        timeout: Option<Duration>,
        mut receive: impl FnMut(&mut T, Option<Duration>) -> Result<usize>,
        peer: impl Fn(&T) -> String,
    ) -> Result<usize> {
        let mut slices = 0;
        loop {
            match receive(transport, timeout) {
                Err(error) if timeout.is_none() && error.kind() == ErrorKind::TryAgain => {}
                received => return received,
            }
            slices += 1;
            if TOLD.contains(&slices) {
                self.log_wait(&peer(transport), slices);
            }
        }
    }

    #[cold]
    fn log_wait(self, peer: &str, slices: u32) {
        let seconds = (slices * SLICE).as_secs();
        let text = match self.command() {
            Some(code) => format!(
                "{peer} has not answered {code} for {seconds} s; the program set no timeout, \
                 and the wait goes on"
            ),
            None => format!("{peer} has sent nothing for {seconds} s, and the wait goes on"),
        };
        match slices > STILL_SHORT {
            true => log::warning!("{text}"),
            false => log::info!("{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::CommandBuilder;

    /// Returns how often a receive is called that runs out of time `silent` times.
    fn calls(timeout: Option<Duration>, silent: u32) -> (u32, Result<usize>) {
        let mut calls = 0;
        let receive = |calls: &mut u32, _| {
            *calls += 1;
            match *calls > silent {
                false => Err(ErrorKind::TryAgain.into()),
                true => Ok(12),
            }
        };
        let named = |_: &u32| "it".to_owned();
        let received = SentCommand::default().receive(&mut calls, timeout, receive, named);
        (calls, received)
    }

    #[test]
    fn a_wait_without_end_goes_on_after_each_slice() {
        let (calls, received) = calls(None, 100);
        assert_eq!((calls, received.ok()), (101, Some(12)));
    }

    #[test]
    fn a_timeout_of_the_program_s_own_is_left_alone() {
        for timeout in [Duration::ZERO, Duration::from_secs(600)] {
            let (calls, received) = calls(Some(timeout), 100);
            let error = received.expect_err("no response");
            assert_eq!((calls, error.kind()), (1, ErrorKind::TryAgain));
        }
    }

    #[test]
    fn an_echo_of_the_command_is_called_an_echo_and_a_response_is_not() {
        let mut sent_command = SentCommand::default();
        let command = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
        sent_command.note(&command);
        let error = sent_command.check_echo(&command).expect_err("an echo");
        assert!(error.to_string().contains("echoes"));
        let response = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0];
        sent_command.check_echo(&response).expect("a response");
        sent_command.check_echo(&[]).expect("nothing yet");
    }

    #[test]
    fn a_response_or_a_failure_ends_the_wait_at_once() {
        let sent_command = SentCommand::default();
        let named = |_: &()| "it".to_owned();
        let received = sent_command.receive(&mut (), None, |(), _| Ok(12), named);
        assert_eq!(received.ok(), Some(12));
        let lost = |(): &mut (), _| Err(ErrorKind::IoError.into());
        let failed = sent_command.receive(&mut (), None, lost, named);
        assert_eq!(failed.expect_err("lost").kind(), ErrorKind::IoError);
    }
}
