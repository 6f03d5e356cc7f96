// SPDX-License-Identifier: BSD-2-Clause
//! A server with the protocol of Microsoft's TPM simulator, over the embedded TPM of
//! rusttcti. It behaves as the simulator does. It serves one client at a time on each
//! channel, and answers in three writes with Nagle's algorithm on. Without power, it
//! answers commands with an empty response and ignores signals. NV memory is
//! unavailable until it is switched on while powered. A cancel lasts until it is
//! withdrawn. An unknown request ends the connection.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rusttcti::transport::libtpms::{Libtpms, Startup};
use rusttcti::wire::frame::Decoded;
use rusttcti::wire::frame::mssim::{self as frame, Request, Signal};
use rusttcti::wire::{ResponseBuilder, ResponseCode};
use rusttcti::{Cancel, Tcti};

use super::peer::{Address, Conn, Server};
use super::tpm::{STARTUP, ok};

/// The size of the longest command that the simulator takes.
const MAX_BUFFER: usize = 1 << 20;

/// A request that the server received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The signal that switches power on.
    PowerOn,
    /// The signal that switches power off.
    PowerOff,
    /// The signal that switches NV memory on.
    NvOn,
    /// The signal that requests a cancel.
    CancelOn,
    /// The signal that withdraws a cancel.
    CancelOff,
    /// A command, in this locality.
    Command(u8),
    /// The end of the session on the command channel.
    CommandSessionEnd,
    /// The end of the session on the platform channel.
    PlatformSessionEnd,
}

/// A running simulator, stopped when this is dropped.
pub struct Simulator {
    server: Option<Server>,
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
    /// Starts a simulator on two neighbouring TCP ports.
    pub fn tcp() -> Self {
        let state = State::new();
        let server = Server::tcp(commands(&state), platform(&state));
        let server = Some(server);
        Self { server, state }
    }

    /// Starts a simulator on two unix sockets.
    pub fn unix() -> Self {
        let state = State::new();
        let server = Server::unix(commands(&state), platform(&state));
        let server = Some(server);
        Self { server, state }
    }

    /// Starts a simulator whose TPM has had its TPM2_Startup.
    pub fn started() -> Self {
        let simulator = Self::tcp();
        simulator.start();
        simulator
    }

    /// Sends TPM2_Startup through rusttcti's own transport.
    pub fn start(&self) {
        let chain = format!("mssim:{}", self.conf());
        let mut tcti = rusttcti::open(&chain).expect("a simulator");
        ok(&mut *tcti, &STARTUP);
    }

    /// Returns the configuration of a transport to it.
    pub fn conf(&self) -> String {
        self.server.as_ref().expect("it runs").conf()
    }

    /// Ends all connections and the TPM's power, and starts again.
    pub fn restart(&mut self) {
        let address = self.stop();
        self.start_at(&address);
    }

    /// Ends all connections and the TPM's power, and returns the address, for
    /// [`start_at`](Self::start_at).
    pub fn stop(&mut self) -> Address {
        let server = self.server.take().expect("it runs");
        let Address::Tcp(_) = server.address else {
            panic!("only over TCP: the folder of the sockets goes with the server")
        };
        let address = server.address.clone();
        drop(server);
        self.state.power_off();
        self.state.nv.store(false, Ordering::SeqCst);
        address
    }

    /// Starts again after [`stop`](Self::stop).
    pub fn start_at(&mut self, address: &Address) {
        self.server = Some(Server::at(
            address,
            commands(&self.state),
            platform(&self.state),
        ));
    }

    /// Power-cycles the TPM and starts it, once the last client's connection has ended:
    /// nothing of before is left, and no cancel.
    pub fn renew(&self) {
        self.lose_power();
        self.start();
    }

    /// Switches power and NV memory off without the client's knowledge.
    pub fn lose_power(&self) {
        self.state.power_off();
        self.state.nv.store(false, Ordering::SeqCst);
    }

    /// Returns the requests since the last call of this function.
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

    /// Carries a signal out; without power, only the one that switches it on.
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
            // A real simulator returns it where it would write NV memory.
            return ResponseBuilder::new(ResponseCode::NV_UNAVAILABLE).build();
        }
        if self.cancel.load(Ordering::SeqCst) {
            // A real simulator notices the cancel in the middle of the command.
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

/// Reads one request; `None` if the client closed, or sent no valid request.
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
