// SPDX-License-Identifier: BSD-2-Clause
//! The state machine: localities, commands, responses, cancel and abort.

mod access;
mod receive;
mod send;

use core::time::Duration;

use crate::bus::Bus;
use crate::error::Error;
use crate::registers::{
    ACCESS_ACTIVE_LOCALITY, ACCESS_REQUEST_USE, ACCESS_VALID, ACCESS_ZERO, Register,
    STS_COMMAND_CANCEL, STS_COMMAND_READY,
};
use crate::time::{Clock, Timeouts, delay, since};
use receive::Reading;

/// The result of a function that uses a chip over the bus `B`.
pub type Result<T, B> = core::result::Result<T, Error<<B as Bus>::Error>>;

/// The highest locality that the register space has.
pub const LAST_LOCALITY: u8 = 4;
/// The first pause between two looks at a register.
const FIRST_PAUSE: Duration = Duration::from_micros(20);
/// The longest pause between two looks at a register, but for a command's end.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// What ACCESS shows of the active locality.
const GRANTED: u8 = ACCESS_VALID | ACCESS_ACTIVE_LOCALITY;

/// The identity of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The vendor's number (TPM_VID, as the PCI-SIG gives it).
    pub vendor: u16,
    /// The device's number (TPM_DID).
    pub device: u16,
    /// The revision (TPM_RID).
    pub revision: u8,
}

/// What the chip has of a command.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// No command is under way.
    Idle,
    /// A command is being executed since then.
    Running { begun: Duration },
    /// A response is being read.
    Reading(Reading),
}

/// A TPM behind the registers of a bus.
///
/// `start` sends a command, `step` checks once for its response, `wait` checks until a
/// time is over, and `execute` does all of this. Each wait ends by the caller's timeout
/// or by those of [`Timeouts`]. After a time is over, the chip is checked once more,
/// because the program may not have run meanwhile.
#[derive(Debug)]
pub struct Tis<B, C> {
    bus: B,
    clock: C,
    timeouts: Timeouts,
    locality: u8,
    /// Whether that locality is the active one, as far as is known.
    claimed: bool,
    /// Whether the chip computes checksums; `None` until it was asked, which
    /// follows each claim and may fail.
    checksum: Option<bool>,
    /// Whether the chip may have something of an earlier command.
    unsettled: bool,
    /// Whether the chip is idle after a command, rather than ready.
    goes_idle: bool,
    phase: Phase,
    /// When the chip was first busy without an answer since.
    busy_since: Option<Duration>,
}

impl<B: Bus, C: Clock> Tis<B, C> {
    /// Returns a TPM, without an access to the chip. Call [`open`](Self::open) next.
    pub const fn new(bus: B, clock: C) -> Self {
        Self {
            bus,
            clock,
            timeouts: Timeouts::PROFILE,
            locality: 0,
            claimed: false,
            checksum: None,
            unsettled: true,
            goes_idle: false,
            phase: Phase::Idle,
            busy_since: None,
        }
    }

    /// Replaces the timeouts of the profile by others.
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Returns the bus.
    pub const fn bus_mut(&mut self) -> &mut B {
        &mut self.bus
    }

    /// Returns the bus and the clock.
    pub fn into_parts(self) -> (B, C) {
        (self.bus, self.clock)
    }

    /// Identifies the chip, claims the locality, and aborts what an earlier program
    /// left: half a command, an unread response, or a running command. Localities that
    /// an earlier program left active are released, so no other program may use the
    /// bus.
    ///
    /// # Errors
    /// [`Error::NoChip`], and those of [`start`](Self::start).
    pub fn open(&mut self) -> Result<Identity, B> {
        self.claimed = false;
        self.unsettled = true;
        self.phase = Phase::Idle;
        self.access(Register::I2cInterfaceCapability, |bus, clock| {
            bus.open(clock)
        })?;
        let value = self.identify()?;
        let mut revision = [0];
        self.read(Register::Revision, &mut revision)?;
        self.release_others()?;
        self.claim()?;
        self.make_ready()?;
        let [v0, v1, d0, d1] = value.to_le_bytes();
        Ok(Identity {
            vendor: u16::from_le_bytes([v0, v1]),
            device: u16::from_le_bytes([d0, d1]),
            revision: revision[0],
        })
    }

    /// Reads TPM_DID_VID. A chip that was just powered has TIMEOUT_D to show it.
    fn identify(&mut self) -> Result<u32, B> {
        let begun = self.clock.now();
        loop {
            let waited = since(&mut self.clock, begun);
            let mut value = [0; 4];
            self.read(Register::DeviceVendor, &mut value)?;
            let value = u32::from_le_bytes(value);
            if value != 0 && value != u32::MAX {
                return Ok(value);
            }
            if waited >= self.timeouts.d {
                return Err(Error::NoChip { value });
            }
            delay(&mut self.clock, LONGEST_PAUSE);
        }
    }

    /// Releases the localities, other than this one, that are active.
    fn release_others(&mut self) -> Result<(), B> {
        let own = self.locality;
        let mut released = Ok(());
        for locality in (0..=LAST_LOCALITY).filter(|other| *other != own) {
            self.locality = locality;
            released = match self.look_at_access() {
                Ok(access) if access & GRANTED == GRANTED => {
                    self.write(Register::Access, &[ACCESS_ACTIVE_LOCALITY])
                }
                // What a chip shows of a locality that it does not have is no fault.
                Ok(_) | Err(Error::Garbage { .. }) => Ok(()),
                Err(error) => Err(error),
            };
            if released.is_err() {
                break;
            }
        }
        self.locality = own;
        released
    }

    /// Returns the locality of later commands.
    pub const fn locality(&self) -> u8 {
        self.locality
    }

    /// Sets the locality, 0 to 4, of later commands. The old one is released at once,
    /// and the next command claims the new one.
    ///
    /// # Errors
    /// [`Error::Locality`], and those of [`release`](Self::release).
    pub fn set_locality(&mut self, locality: u8) -> Result<(), B> {
        if locality > LAST_LOCALITY {
            return Err(Error::Locality(locality));
        }
        if locality != self.locality {
            self.release()?;
            self.locality = locality;
        }
        Ok(())
    }

    /// Releases the locality, so that another program or the platform may claim one. A
    /// command under way is aborted. The next command claims the locality again.
    ///
    /// # Errors
    /// What an access fails with.
    pub fn release(&mut self) -> Result<(), B> {
        if !self.claimed {
            return Ok(());
        }
        let aborted = self.abort();
        self.claimed = false;
        let released = self.write(Register::Access, &[ACCESS_ACTIVE_LOCALITY]);
        aborted.and(released)
    }

    /// Asks the chip to cancel the command under way. The response is then
    /// TPM_RC_CANCELED, or the command's own if it was done before. It does nothing if
    /// no command is being executed.
    ///
    /// # Errors
    /// What an access fails with.
    pub fn cancel(&mut self) -> Result<(), B> {
        match self.phase {
            Phase::Running { .. } => {
                self.write(Register::Status, &STS_COMMAND_CANCEL.to_le_bytes())
            }
            _ => Ok(()),
        }
    }

    /// Ends the command under way without a response.
    ///
    /// # Errors
    /// What an access fails with; the next command tries again.
    pub fn abort(&mut self) -> Result<(), B> {
        if matches!(self.phase, Phase::Idle) && !self.unsettled {
            return Ok(());
        }
        self.phase = Phase::Idle;
        self.unsettled = true;
        if self.claimed {
            self.write(Register::Status, &[STS_COMMAND_READY as u8])?;
        }
        Ok(())
    }

    /// Claims the locality, for which the chip has TIMEOUT_A.
    fn claim(&mut self) -> Result<(), B> {
        self.bus.forget();
        self.unsettled = true;
        let begun = self.clock.now();
        let mut pause = FIRST_PAUSE;
        let mut asked = false;
        loop {
            let waited = since(&mut self.clock, begun);
            let access = self.look_at_access()?;
            if access & GRANTED == GRANTED {
                break;
            }
            if waited >= self.timeouts.a {
                if asked {
                    // Otherwise the request would stay, and be granted when no user
                    // waits for it.
                    let _ = self.write(Register::Access, &[ACCESS_ACTIVE_LOCALITY]);
                }
                return Err(Error::Timeout {
                    register: Register::Access,
                    value: access.into(),
                    mask: GRANTED.into(),
                    wanted: GRANTED.into(),
                    waited,
                });
            }
            if !asked && access & ACCESS_VALID != 0 {
                self.write(Register::Access, &[ACCESS_REQUEST_USE])?;
                asked = true;
            } else {
                self.pause(&mut pause);
            }
        }
        self.claimed = true;
        self.enable_checksum()
    }

    /// Makes the chip compute checksums, if the bus has them.
    fn enable_checksum(&mut self) -> Result<(), B> {
        self.checksum = None;
        let mut enabled = [0];
        if B::CHECKSUM {
            self.write(Register::ChecksumEnable, &[1])?;
            self.read(Register::ChecksumEnable, &mut enabled)?;
        }
        self.checksum = Some(enabled[0] == 1);
        Ok(())
    }

    /// Returns whether the chip computes checksums.
    fn has_checksum(&self) -> bool {
        self.checksum == Some(true)
    }

    /// Reads ACCESS.
    fn look_at_access(&mut self) -> Result<u8, B> {
        let mut value = [0];
        self.read(Register::Access, &mut value)?;
        if value[0] & ACCESS_ZERO != 0 {
            return Err(Error::Garbage {
                register: Register::Access,
                value: value[0].into(),
                zero: ACCESS_ZERO.into(),
            });
        }
        Ok(value[0])
    }

    /// Ends a command that failed. The next command cleans up.
    fn fail<T>(&mut self, error: Error<B::Error>) -> Result<T, B> {
        self.phase = Phase::Idle;
        self.unsettled = true;
        self.busy_since = None;
        self.bus.forget();
        Err(error)
    }
}
