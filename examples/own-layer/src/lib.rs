// SPDX-License-Identifier: BSD-2-Clause
//! Sends a command again if the TPM asks for it, after a pause that doubles each time:
//! `-T rusttcti:redo,times=5,wait=20:CHAIN`, or `-T redo:CHAIN`.
//!
//! A layer is a `Tcti` around another one. This one has options, a pause, and its own
//! canceller.

mod pause;

use std::ffi::CStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusttcti::wire::{Header, ResponseBuilder, ResponseCode};
use rusttcti::{Cancel, Error, ErrorKind, Module, Options, PollHandle, Result, Tcti};

use pause::Pause;

/// The responses by which a TPM asks for the command once more.
const AGAIN: [ResponseCode; 3] = [
    ResponseCode::RETRY,
    ResponseCode::YIELDED,
    ResponseCode::TESTING,
];

/// The layer.
struct Redo {
    below: Box<dyn Tcti>,
    /// How often a command is sent anew.
    times: u64,
    /// The length of the first pause.
    wait: Duration,
    /// The command under way.
    command: Vec<u8>,
    /// How often it was sent anew.
    done: u64,
    /// The pause between two tries, shared with the cancellers.
    pause: Arc<Pause>,
}

impl Redo {
    /// Puts the layer on `below`.
    fn over(mut below: Box<dyn Tcti>, times: u64, wait: Duration) -> Result<Self> {
        let pause = Arc::new(Pause::new(below.canceller())?);
        Ok(Self {
            below,
            times,
            wait,
            command: Vec::new(),
            done: 0,
            pause,
        })
    }

    /// Sends the command once more. The caller of `receive` sees a failure as one
    /// of the command, which is over then.
    fn send_anew(&mut self) -> Result<()> {
        self.done += 1;
        let sent = self.below.transmit(&self.command);
        sent.map_err(|error| match error.kind().leaves_command_pending() {
            true => Error::with_source(ErrorKind::IoError, "cannot send the command anew", error),
            false => error,
        })
    }
}

impl Tcti for Redo {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.below.transmit(command)?;
        self.command = command.to_vec();
        self.done = 0;
        self.pause.command_was_sent(self.below.canceller());
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let began = Instant::now();
        let left = || timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
        loop {
            if self.pause.is_on() {
                // At the timeout the pause goes on, for the next call to find.
                self.pause.wait(left())?;
                let pause = self.pause.clone();
                let sent = pause.end(|| {
                    self.send_anew()?;
                    Ok(self.below.canceller())
                })?;
                if !sent {
                    return canceled(response);
                }
            }
            let length = self.below.receive(response, left())?;
            let pause = self.wait.saturating_mul(1 << self.done.min(8));
            let again = asks_for_more(response) && self.done < self.times;
            if !again || !self.pause.begin(pause)? {
                return Ok(length);
            }
        }
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.below)
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        Some(self.pause.clone())
    }

    /// The timer is among them at any time: a program may ask before the pause.
    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        let mut handles = match self.below.poll_handles() {
            Ok(handles) => handles,
            // Nothing of what is below makes progress in a pause.
            Err(_) if self.pause.is_on() => Vec::new(),
            Err(error) => return Err(error),
        };
        handles.push(self.pause.poll_handle());
        Ok(handles)
    }

    /// A timer is shared with the parent: the child takes another.
    fn after_fork(&mut self) -> Result<()> {
        self.below.after_fork()?;
        self.pause = Arc::new(Pause::new(self.below.canceller())?);
        Ok(())
    }
}

/// Returns whether the TPM wants the command once more.
fn asks_for_more(response: &[u8]) -> bool {
    let header = Header::parse(response);
    header.is_some_and(|header| AGAIN.contains(&header.code.into()))
}

/// Puts the answer to a cancelled command into the caller's buffer.
fn canceled(response: &mut [u8]) -> Result<usize> {
    let answer = ResponseBuilder::new(ResponseCode::CANCELED).build();
    let room = response.get_mut(..answer.len());
    room.ok_or(ErrorKind::MalformedResponse)?
        .copy_from_slice(&answer);
    Ok(answer.len())
}

impl Module for Redo {
    const NAME: &'static CStr = c"redo";
    const DESCRIPTION: &'static CStr = c"sends a command anew when the TPM asks for it";
    const CONFIG_HELP: &'static CStr =
        c"[,times=NUMBER (default 5)][,wait=MILLISECONDS (default 20):]CHAIN of rusttcti's";

    fn init(conf: Option<&str>) -> Result<Self> {
        let (mut options, chain) = Options::split("redo", conf)?;
        let times = options.take_number("times", (0, 100), 5)?;
        let wait = options.take_number("wait", (1, 10_000), 20)?;
        options.finish()?; // names an option that nothing above has taken
        Self::over(rusttcti::open(chain)?, times, Duration::from_millis(wait))
    }
}

rusttcti::export!(Redo, Tss2_Tcti_Redo_Init);

#[cfg(test)]
mod tests;
