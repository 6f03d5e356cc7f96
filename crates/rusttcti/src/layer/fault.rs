// SPDX-License-Identifier: BSD-2-Clause
//! Makes commands fail, to test how a program handles failures:
//! `fault,KEY=VALUE...:CHILD`.
//!
//! `on=`, `nth=`, `every=` and `chance=` select the commands, one more key is the
//! fault, and `side=` selects the command or its response.
//! `fault,on=GetRandom,nth=2,rc=0x922:libtpms` answers the second TPM2_GetRandom
//! with `TPM_RC_RETRY`. For several faults, stack several of these layers; each
//! counts on its own.
//!
//! | | `side=response`: the TPM has run the command | `side=command`: it has not |
//! | --- | --- | --- |
//! | `rc=CODE` | its response is replaced by this code | this code is the response |
//! | `delay=MS` | its response comes later | the command is sent later |
//! | `drop` | its response is lost | the command is lost |
//! | `cut=N`, `grow=N` | bytes are missing behind, or zeros added; the header stays as it is | likewise; the header's size agrees |
//! | `flip=BIT` | a bit is inverted | a bit is inverted |
//! | `close` | the connection is lost with the response | it is lost before |
//! | `reset` | the TPM is power-cycled afterwards | it is power-cycled before |
//!
//! Equal options make equal faults each time: the random numbers of `chance=`
//! depend on `seed=` alone. A dropped message makes the caller wait until its
//! timeout; a cancel ends the wait with an error. After `close` no command works
//! until the program opens a new context.

#![forbid(unsafe_code)]

mod effect;
mod rule;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use self::effect::{Effect, Side, flip};
use self::rule::Rule;
pub(crate) use self::settings::SETTINGS;
use super::pause::{End, Pause};
use super::response::{ended, failure, put};
use crate::config::{OpenLayer, Options};
use crate::sys::deadline::Deadline;
use crate::wire::{CommandCode, Header, ResponseCode};
use crate::{Cancel, Error, ErrorKind, PollHandle, Result, Tcti};

/// Reads the options.
pub(crate) fn parse(options: &mut Options) -> Result<OpenLayer> {
    let fault = Plan::parse(options)?;
    Ok(Box::new(move |below| {
        Ok(Box::new(Fault::over(below, fault.clone())))
    }))
}

/// The parsed options.
#[derive(Clone, Debug)]
struct Plan {
    rule: Rule,
    effect: Effect,
    side: Side,
}

impl Plan {
    fn parse(options: &mut Options) -> Result<Self> {
        let rule = Rule::parse(options)?;
        let effect = Effect::parse(options)?;
        let side = Side::parse(options)?;
        Ok(Self { rule, effect, side })
    }
}

/// A [`Tcti`] whose commands fail as planned.
///
/// ```
/// use rusttcti::Tcti;
/// use rusttcti::layer::fault::Fault;
/// use rusttcti::transport::libtpms::Libtpms;
/// use rusttcti::wire::{CommandBuilder, CommandCode};
///
/// let tpm = Libtpms::builder().open()?;
/// let mut tpm = Fault::new(tpm, "on=GetRandom,nth=1,rc=0x922")?;
/// tpm.transmit(&CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build())?;
/// let mut response = [0; 4096];
/// assert_eq!(tpm.receive(&mut response, None)?, 10);
/// assert_eq!(response[6..10], [0, 0, 0x09, 0x22]); // TPM_RC_RETRY
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct Fault<T: Tcti = Box<dyn Tcti>> {
    inner: T,
    plan: Plan,
    step: Step,
    /// The command or response that a pause keeps back.
    held: Vec<u8>,
    pause: Arc<Pause>,
    /// Whether the connection was lost.
    closed: bool,
}

/// The progress of the command under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is no command, or it was sent and will not fail.
    Passing,
    /// The command was sent, and its response will be changed.
    Struck,
    /// The command is kept back, and sent after the pause.
    Unsent,
    /// The response is kept back until the pause is over.
    Answered,
    /// The command or response is lost: only a cancel ends the pause.
    Lost,
}

impl<T: Tcti> Fault<T> {
    /// Puts a fault on `inner`, by the options of a chain: `KEY=VALUE,...`.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for options that cannot be read.
    pub fn new(inner: T, options: &str) -> Result<Self> {
        let comma = if options.is_empty() { "" } else { "," };
        let (mut options, _) = Options::parse("fault", &format!("{comma}{options}"))?;
        let plan = Plan::parse(&mut options)?;
        options.finish()?;
        Ok(Self::over(inner, plan))
    }

    fn over(inner: T, plan: Plan) -> Self {
        Self {
            inner,
            plan,
            step: Step::Passing,
            held: Vec::new(),
            pause: Pause::new(),
            closed: false,
        }
    }

    fn change_command(&mut self, command: &[u8]) -> Result<()> {
        self.held.clear();
        self.held.extend_from_slice(command);
        self.pause.start();
        match self.plan.effect {
            Effect::Rc(code) => self.answer(&failure(code), Duration::ZERO),
            Effect::Delay(time) => self.enter(Step::Unsent, Some(time)),
            Effect::Drop => self.enter(Step::Lost, None),
            Effect::Close => Err(self.close()),
            Effect::Reset => {
                self.reset_below()?;
                self.inner.transmit(command)
            }
            effect @ (Effect::Cut(_) | Effect::Flip(_) | Effect::Grow(_)) => {
                effect.change(&mut self.held);
                self.inner.transmit(&self.held)
            }
        }
    }

    /// Applies the fault to the response; `None` if that drops or delays it.
    fn change_response(&mut self, response: &mut [u8], length: usize) -> Result<Option<usize>> {
        let came = response.get_mut(..length).unwrap_or_default();
        match self.plan.effect {
            Effect::Rc(code) => return put("fault", &failure(code), response).map(Some),
            Effect::Delay(time) => {
                self.answer(came, time)?;
                return Ok(None);
            }
            Effect::Drop => {
                self.enter(Step::Lost, None)?;
                return Ok(None);
            }
            Effect::Cut(count) => return Ok(Some(length.saturating_sub(count))),
            Effect::Flip(bit) => flip(came, bit),
            Effect::Grow(count) => {
                let grown = [came, &vec![0; count][..]].concat();
                return put("fault", &grown, response).map(Some);
            }
            Effect::Close => return Err(self.close()),
            Effect::Reset => self.reset_below()?,
        }
        Ok(Some(length))
    }

    /// Keeps a response back for this time.
    fn answer(&mut self, response: &[u8], time: Duration) -> Result<()> {
        self.held.clear();
        self.held.extend_from_slice(response);
        self.enter(Step::Answered, Some(time))
    }

    fn enter(&mut self, step: Step, time: Option<Duration>) -> Result<()> {
        self.pause.begin(time)?;
        self.step = step;
        Ok(())
    }

    fn reset_below(&mut self) -> Result<()> {
        let reset = self.inner.reset();
        reset.map_err(|error| ended(error).context("fault: the TPM cannot be power-cycled"))
    }

    fn close(&mut self) -> Error {
        self.closed = true;
        if let Err(error) = self.inner.finalize() {
            crate::sys::log::debug!("fault: closing what is below: {}", error.report());
        }
        closed()
    }

    /// Waits until what is kept back may go on.
    fn go_on(&mut self, response: &mut [u8], deadline: Deadline) -> Result<Option<usize>> {
        let end = self.pause.wait(deadline)?;
        match std::mem::replace(&mut self.step, Step::Passing) {
            Step::Unsent if end == End::Over => {
                let sent = self.pause.send_again(&mut self.inner, &self.held);
                let sent = sent.map_err(ended)?;
                if sent == End::Cancelled {
                    return put("fault", &failure(ResponseCode::CANCELED), response).map(Some);
                }
                Ok(None)
            }
            Step::Unsent => put("fault", &failure(ResponseCode::CANCELED), response).map(Some),
            Step::Lost => Err(Error::new(
                ErrorKind::IoError,
                format!(
                    "fault: the {} was dropped, and then cancelled",
                    self.plan.side
                ),
            )),
            _ => put("fault", &self.held, response).map(Some),
        }
    }
}

fn closed() -> Error {
    Error::new(
        ErrorKind::NoConnection,
        "fault: the connection was closed (open a new context)",
    )
}

impl<T: Tcti> Tcti for Fault<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        if self.closed {
            return Err(closed());
        }
        self.step = Step::Passing;
        if !self.plan.rule.strikes(command) {
            return self.inner.transmit(command);
        }
        let code = Header::parse(command).map_or(0, |header| header.code);
        crate::sys::log::debug!(
            "fault: {} is applied to the {} of {}",
            self.plan.effect,
            self.plan.side,
            CommandCode(code)
        );
        if self.plan.side == Side::Command {
            return self.change_command(command);
        }
        self.pause.send(&mut self.inner, command)?;
        self.step = Step::Struck;
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        if self.step == Step::Passing && !self.closed {
            return self.inner.receive(response, timeout);
        }
        let deadline = Deadline::after(timeout);
        loop {
            let done = match self.step {
                _ if self.closed => return Err(closed()),
                Step::Passing => Some(self.inner.receive(response, deadline.remaining())?),
                Step::Struck => {
                    let length = self.inner.receive(response, deadline.remaining())?;
                    self.step = Step::Passing;
                    self.change_response(response, length)?
                }
                _ => self.go_on(response, deadline)?,
            };
            if let Some(length) = done {
                return Ok(length);
            }
        }
    }

    /// Returns `None` once the connection was lost.
    fn below(&mut self) -> Option<&mut dyn Tcti> {
        (!self.closed).then_some(&mut self.inner as &mut dyn Tcti)
    }

    /// Cancels the command below, or ends the pause that it is in.
    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        match self.step {
            Step::Passing => self.below()?.canceller(),
            _ => Some(self.pause.clone()),
        }
    }

    /// Returns the handles from below, and one for the pauses.
    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        let Some(below) = self.below() else {
            return Err(closed());
        };
        let mut handles = below.poll_handles()?;
        handles.push(self.pause.poll_handle()?);
        Ok(handles)
    }

    fn after_fork(&mut self) -> Result<()> {
        // The timer is shared with the parent.
        self.pause = Pause::new();
        self.step = Step::Passing;
        match self.below() {
            Some(below) => below.after_fork(),
            None => Err(closed()),
        }
    }

    fn finalize(&mut self) -> Result<()> {
        match self.below() {
            Some(below) => below.finalize(),
            None => Ok(()),
        }
    }
}
