// SPDX-License-Identifier: BSD-2-Clause
//! A server that speaks the protocol of Microsoft's TPM simulator over the embedded
//! TPM of rusttcti, as the simulator does it: one client at a time on each channel, an
//! answer in three writes with Nagle's algorithm on, no answer but an empty
//! one without power, no NV memory until it is switched on with power, a cancel
//! that stays until it is taken back, a deaf ear for signals without power, and
//! the end of the connection for what it doesn't know.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rusttcti::transport::libtpms::{Libtpms, Startup};
use rusttcti::wire::frame::Decoded;
use rusttcti::wire::frame::mssim::{self as frame, Request, Signal};
use rusttcti::wire::{ResponseBuilder, ResponseCode};
use rusttcti::{Cancel, Tcti};

use super::peer::{Address, Conn, Pair};
use super::tpm::{STARTUP, ok};

/// The longest command that the simulator takes.
const MAX_BUFFER: usize = 1 << 20;

/// What the server was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    PowerOn,
    PowerOff,
    NvOn,
    CancelOn,
    CancelOff,
    /// A command, in this locality.
    Command(u8),
    CommandSessionEnd,
    PlatformSessionEnd,
}

/// A running simulator, gone with this value.
pub struct Simulator {
    pair: Option<Pair>,
    state: Arc<State>,
}

struct State {
    tpm: Mutex<Libtpms>,
    /// Cancels the command that runs.
    canceller: Mutex<Option<Arc<dyn Cancel>>>,
    powered: AtomicBool,
    nv: AtomicBool,
    cancel: AtomicBool,
    events: Mutex<Vec<Event>>,
}

impl Simulator {
    pub fn tcp() -> Self {
        let state = State::new();
        let pair = Pair::tcp(commands(&state), platform(&state));
        let pair = Some(pair);
        Self { pair, state }
    }

    pub fn unix() -> Self {
        let state = State::new();
        let pair = Pair::unix(commands(&state), platform(&state));
        let pair = Some(pair);
        Self { pair, state }
    }

    /// One whose TPM has had its TPM2_Startup.
    pub fn started() -> Self {
        let simulator = Self::tcp();
        simulator.start();
        simulator
    }

    /// TPM2_Startup, by our own transport.
    pub fn start(&self) {
        let chain = format!("mssim:{}", self.conf());
        let mut tcti = rusttcti::open(&chain).expect("a simulator");
        ok(&mut *tcti, STARTUP);
    }

    pub fn conf(&self) -> String {
        self.pair.as_ref().expect("it runs").conf()
    }

    /// Ends all connections and the TPM's power, and is there again.
    pub fn restart(&mut self) {
        let pair = self.pair.take().expect("it runs");
        let Address::Tcp(_) = pair.address else {
            panic!("only over TCP: the folder of the sockets goes with the server")
        };
        let address = pair.address.clone();
        drop(pair);
        self.state.power_off();
        self.state.nv.store(false, Ordering::SeqCst);
        self.pair = Some(Pair::at(
            &address,
            commands(&self.state),
            platform(&self.state),
        ));
    }

    /// Takes the power away, and the NV memory with it, behind the client's back.
    pub fn lose_power(&self) {
        self.state.power_off();
        self.state.nv.store(false, Ordering::SeqCst);
    }

    /// What has happened since the last call of this.
    pub fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.state.events.lock().unwrap())
    }
}

impl State {
    fn new() -> Arc<Self> {
        let tpm = Libtpms::builder().startup(Startup::None).open();
        Arc::new(Self {
            tpm: Mutex::new(tpm.expect("libtpms.so.0 (Debian's package libtpms0)")),
            canceller: Mutex::new(None),
            powered: AtomicBool::new(false),
            nv: AtomicBool::new(false),
            cancel: AtomicBool::new(false),
            events: Mutex::new(Vec::new()),
        })
    }

    fn note(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    fn power_on(&self) {
        if !self.powered.swap(true, Ordering::SeqCst) {
            self.tpm.lock().unwrap().reset().expect("a power cycle");
        }
    }

    fn power_off(&self) {
        self.powered.store(false, Ordering::SeqCst);
        self.cancel.store(false, Ordering::SeqCst);
    }

    /// Does what a signal says: without power, none but the one that gives it.
    fn signal(&self, signal: Signal) {
        let powered = self.powered.load(Ordering::SeqCst);
        match signal {
            Signal::PowerOn => self.power_on(),
            Signal::PowerOff => self.power_off(),
            _ if !powered => {}
            Signal::NvOn => self.nv.store(true, Ordering::SeqCst),
            Signal::CancelOn => {
                self.cancel.store(true, Ordering::SeqCst);
                self.cancel_running();
            }
            Signal::CancelOff => self.cancel.store(false, Ordering::SeqCst),
            _ => {}
        }
    }

    fn execute(&self, locality: u8, command: &[u8]) -> Vec<u8> {
        if !self.powered.load(Ordering::SeqCst) {
            return Vec::new();
        }
        if !self.nv.load(Ordering::SeqCst) {
            // A real one gives it where it would write.
            return ResponseBuilder::new(ResponseCode::NV_UNAVAILABLE).build();
        }
        if self.cancel.load(Ordering::SeqCst) {
            // A real one finds out in the middle.
            return ResponseBuilder::new(ResponseCode::CANCELED).build();
        }
        let mut tpm = self.tpm.lock().unwrap();
        tpm.set_locality(locality).expect("a locality");
        tpm.transmit(command).expect("sent");
        *self.canceller.lock().unwrap() = tpm.canceller();
        if self.cancel.load(Ordering::SeqCst) {
            // It came before there was a canceller.
            self.cancel_running();
        }
        let mut response = vec![0; 4096];
        let length = tpm.receive(&mut response, None).expect("a response");
        *self.canceller.lock().unwrap() = None;
        response.truncate(length);
        response
    }

    fn cancel_running(&self) {
        if let Some(canceller) = &*self.canceller.lock().unwrap() {
            canceller.cancel().expect("cancelled");
        }
    }
}

/// Reads one request; `None` where the client closed, or what it sent is none.
fn request<'a>(conn: &mut Conn, bytes: &'a mut Vec<u8>) -> Option<Request<'a>> {
    bytes.clear();
    while let Decoded::Needs(size) = Request::decode(bytes, MAX_BUFFER).ok()? {
        conn.read_on(bytes, size)?;
    }
    match Request::decode(bytes, MAX_BUFFER).ok()? {
        Decoded::Message(request, _) => Some(request),
        Decoded::Needs(_) => None,
    }
}

fn commands(state: &Arc<State>) -> super::peer::Handler {
    let state = state.clone();
    Box::new(move |mut conn| {
        let mut bytes = Vec::new();
        while let Some(request) = request(&mut conn, &mut bytes) {
            let (locality, command) = match request {
                Request::SendCommand { locality, command } => (locality, command),
                Request::SessionEnd => return state.note(Event::CommandSessionEnd),
                _ => return,
            };
            state.note(Event::Command(locality));
            let response = state.execute(locality, command);
            let head = frame::response_head(response.len() as u32);
            for part in [&head[..], &response, &frame::DONE] {
                if conn.write_all(part).is_err() {
                    return;
                }
            }
        }
    })
}

fn platform(state: &Arc<State>) -> super::peer::Handler {
    let state = state.clone();
    Box::new(move |mut conn| {
        let mut code = [0; 4];
        while conn.read_exact(&mut code).is_ok() {
            let (signal, event) = match Signal::decode(code) {
                Ok(Signal::PowerOn) => (Signal::PowerOn, Event::PowerOn),
                Ok(Signal::PowerOff) => (Signal::PowerOff, Event::PowerOff),
                Ok(Signal::CancelOn) => (Signal::CancelOn, Event::CancelOn),
                Ok(Signal::CancelOff) => (Signal::CancelOff, Event::CancelOff),
                Ok(Signal::NvOn) => (Signal::NvOn, Event::NvOn),
                Ok(Signal::SessionEnd) => return state.note(Event::PlatformSessionEnd),
                _ => {
                    let _ = conn.write_all(&[0, 0, 0, 1]);
                    return;
                }
            };
            state.note(event);
            state.signal(signal);
            if conn.write_all(&frame::DONE).is_err() {
                return;
            }
        }
    })
}
