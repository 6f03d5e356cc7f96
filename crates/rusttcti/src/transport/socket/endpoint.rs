// SPDX-License-Identifier: BSD-2-Clause
//! The address of a peer, in the syntax of tpm2-tss's configuration strings, and
//! connections to it.

#![forbid(unsafe_code)]

use std::fmt;
use std::net::ToSocketAddrs;

use rustix::net::SocketAddrUnix;

use super::congestion::{Congestion, REDIAL, reach, reach_congested};
use super::stream::{Address, Fault, Stream};
use crate::config::setting::Setting;
use crate::sys::deadline::{Deadline, PATIENCE};
use crate::{Error, ErrorKind, Result, config};

/// The keys of a peer's address.
pub(in crate::transport) const HOST: Setting = Setting {
    key: "host",
    value: "HOST",
    default: "localhost",
    text: "A host name, or an IPv4 or IPv6 address. An IPv6 address may stand in brackets.",
};
pub(in crate::transport) const PORT: Setting = Setting {
    key: "port",
    value: "PORT",
    default: "2321",
    text: "The TCP port of the data channel, 1 to 65534. The control channel is at the next one.",
};
pub(in crate::transport) const PATH: Setting = Setting {
    key: "path",
    value: "PATH",
    default: "",
    text: "A unix socket instead of a host and a port. The path of the control channel is this \
           path with .ctrl appended, at most 107 bytes in all. If a host and a path are given, \
           the last one counts.",
};

/// How many bytes are sent ahead to a congested peer: less than the header of a
/// command, without which it executes nothing.
const AHEAD: usize = 9;

/// The address in a configuration: `host=HOST,port=PORT` or `path=PATH`. If both a host
/// and a path are given, or a key is given twice, the last one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerAddress {
    /// The host's name or IP address.
    pub host: String,
    /// The TCP port of the data channel, 1 to 65534; the control channel has the
    /// next one.
    pub port: u16,
    /// The path of a unix socket, which counts instead of host and port.
    pub path: Option<String>,
}

impl Default for PeerAddress {
    fn default() -> Self {
        Self {
            host: HOST.default.to_owned(),
            port: 2321,
            path: None,
        }
    }
}

impl PeerAddress {
    /// Takes one pair of the configuration of the peer `who`. Returns false for a key
    /// that is not about an address.
    pub(in crate::transport) fn take(&mut self, who: &str, key: &str, value: &str) -> Result<bool> {
        match key {
            "host" if value.is_empty() => {
                return Err(config::bad_value(
                    who,
                    key,
                    value,
                    "a host name or an IP address",
                ));
            }
            "host" => {
                self.host = value.to_owned();
                self.path = None;
            }
            "port" => self.port = config::port(who, value.trim())?,
            "path" if value.is_empty() => {
                return Err(config::bad_value(who, key, value, "a unix socket's path"));
            }
            "path" => self.path = Some(value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the addresses of the data channel and the control channel of the peer
    /// `who`.
    ///
    /// # Errors
    /// [`ErrorKind::NoConnection`] for a name that does not resolve,
    /// [`ErrorKind::BadValue`] for a path that no socket can have.
    pub(in crate::transport) fn resolve(&self, who: &'static str) -> Result<(Endpoint, Endpoint)> {
        Ok((self.endpoint(who, 0, "")?, self.endpoint(who, 1, ".ctrl")?))
    }

    fn endpoint(&self, who: &'static str, port_offset: u16, suffix: &str) -> Result<Endpoint> {
        if let Some(path) = &self.path {
            let path = format!("{path}{suffix}");
            let address = unix_address(&path).map_err(|_| {
                config::bad_value(
                    who,
                    "path",
                    &path,
                    "a unix socket's path: at most 107 bytes, .ctrl included",
                )
            })?;
            return Ok(Endpoint {
                who,
                name: path,
                addresses: vec![Address::Unix(address)],
                congestion: Congestion::default(),
            });
        }
        let port = self.port + port_offset;
        // An IPv6 address in brackets, as URLs have it, is welcome too.
        let host = self
            .host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = host.unwrap_or(&self.host);
        let addresses: Vec<_> = (host, port)
            .to_socket_addrs()
            .map_err(|error| {
                Error::with_source(
                    ErrorKind::NoConnection,
                    format!(
                        "{who}: host=\"{}\" does not resolve to an address",
                        self.host
                    ),
                    error,
                )
            })?
            .map(Address::Tcp)
            .collect();
        let name = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        Ok(Endpoint {
            who,
            name,
            addresses,
            congestion: Congestion::default(),
        })
    }
}

/// Returns the address of a socket by its absolute path, so that the program may change
/// its working directory; by the path as given if the absolute one is too long.
fn unix_address(path: &str) -> rustix::io::Result<SocketAddrUnix> {
    let absolute = std::path::absolute(path).map_err(|_| rustix::io::Errno::INVAL);
    absolute
        .and_then(SocketAddrUnix::new)
        .or_else(|_| SocketAddrUnix::new(path))
}

/// Returns the deadline for one of so many addresses.
fn share(deadline: Deadline, addresses: usize) -> Deadline {
    match (deadline.remaining(), addresses) {
        (Some(left), 2..) => deadline.or_after(left / addresses as u32),
        _ => deadline,
    }
}

/// A peer, resolved: the addresses it may have, the best one in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Endpoint {
    who: &'static str,
    name: String,
    addresses: Vec<Address>,
    congestion: Congestion,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.who, self.name)
    }
}

impl Endpoint {
    /// Returns whether both name the same peer, whichever address is in front.
    pub(in crate::transport) fn is(&self, other: &Self) -> bool {
        let known = |address| other.addresses.contains(address);
        (self.who, &self.name) == (other.who, &other.name) && self.addresses.iter().all(known)
    }

    /// Returns the configuration of the data channel whose control channel is at this
    /// address; `None` if the address does not tell.
    pub(in crate::transport) fn data_channel(&self) -> Option<String> {
        if let Some(Address::Unix(_)) = self.addresses.first() {
            let path = self.name.strip_suffix(".ctrl")?;
            return Some(format!("path={path}"));
        }
        let (_, port) = self.name.rsplit_once(':')?;
        let port = port.parse::<u16>().ok()?.checked_sub(1)?;
        Some(format!("port={port}"))
    }

    /// Returns an established connection. Its address is the first to be tried from
    /// then on.
    pub(in crate::transport) fn connect(&mut self, deadline: Deadline) -> Result<Stream> {
        self.connect_from(0, Fault::TimedOut, deadline)
    }

    /// Finds out whether the peer is there.
    ///
    /// The kernel may report a connection that the peer's backlog has no room for.
    /// The peer would serve it later, after we have left, until the kernel sends
    /// its end again: so it is taken back.
    pub(in crate::transport) fn probe(&mut self, deadline: Deadline) -> Result<()> {
        let stream = self.connect(deadline)?;
        if self.is_near() && !stream.leave(Deadline::after(Some(REDIAL))) {
            self.congestion.seen();
        }
        Ok(())
    }

    /// Returns whether the kernel answers for the peer at once (a unix socket, or
    /// loopback).
    fn is_near(&self) -> bool {
        self.addresses.first().is_some_and(Address::answers_at_once)
    }

    /// Connects as [`connect`](Self::connect) does, without the first `from` addresses,
    /// which failed with `last`.
    fn connect_from(&mut self, from: usize, last: Fault, deadline: Deadline) -> Result<Stream> {
        let mut last = last;
        for at in from..self.addresses.len() {
            let to = &self.addresses[at];
            let congestion = &mut self.congestion;
            let share = share(deadline, self.addresses.len() - at);
            let attempt = Stream::new(to).map(|stream| {
                reach(to, stream, true, congestion, share, |stream, answered| {
                    stream.established(answered)
                })
            });
            match attempt.and_then(|(stream, reached)| reached.map(|()| stream)) {
                Ok(stream) => {
                    self.addresses.swap(0, at);
                    return Ok(stream);
                }
                Err(fault) => last = fault,
            }
        }
        Err(self.unreachable(last))
    }

    /// Returns a socket for the best address, not connected.
    pub(in crate::transport) fn socket(&self) -> Result<Stream> {
        match self.addresses.first() {
            Some(to) => {
                Stream::new(to).map_err(|fault| fault.error("cannot make a socket".to_owned()))
            }
            None => Err(self.unreachable(Fault::TimedOut)),
        }
    }

    /// Returns a connection over which `head` and `body` were sent, in as few system
    /// calls as possible. `socket` is one that [`socket`](Self::socket)
    /// made, if one was.
    pub(in crate::transport) fn dial(
        &mut self,
        socket: Option<Stream>,
        head: &[u8],
        body: &[u8],
    ) -> Result<Stream> {
        let deadline = Deadline::after(Some(PATIENCE));
        // A caller may wait on the descriptor of a given socket: it is kept.
        let redial = socket.is_none();
        let Some(to) = self.addresses.first() else {
            return Err(self.unreachable(Fault::TimedOut));
        };
        let stream = match socket.map_or_else(|| Stream::new(to), Ok) {
            Ok(stream) => stream,
            Err(fault) => return self.dial_another(fault, head, body, deadline),
        };
        let share = share(deadline, self.addresses.len());
        // A longer one has more than one packet on an ethernet, of which the
        // last would wait for an answer to those before.
        let long = head.len() + body.len() > 1200;
        let whole_commands = head.is_empty() && body.len() > AHEAD;
        let (stream, attempt) = if redial && whole_commands && self.congestion.is_present() {
            let (ahead, rest) = body.split_at(AHEAD);
            let (stream, reached) = reach_congested(to, stream, share, ahead);
            let sent = reached.and_then(|()| {
                if long {
                    stream.set_nodelay();
                }
                stream.send(&[], rest, deadline)
            });
            (stream, sent)
        } else {
            let congestion = &mut self.congestion;
            reach(to, stream, redial, congestion, share, |stream, answered| {
                if long {
                    stream.set_nodelay();
                }
                stream.send_once_connected(head, body, answered, deadline)
            })
        };
        match attempt {
            Ok(()) => Ok(stream),
            // It was not executed: not all of it was sent.
            Err(fault) if fault.is_lost() || !stream.is_connected() => {
                drop(stream);
                self.dial_another(fault, head, body, deadline)
            }
            Err(fault) => Err(self.unsendable(fault)),
        }
    }

    /// Returns a connection over which a request was sent that may be sent twice.
    /// It has surely arrived.
    pub(in crate::transport) fn dial_surely(&mut self, head: &[u8], body: &[u8]) -> Result<Stream> {
        let deadline = Deadline::after(Some(PATIENCE));
        loop {
            let stream = self.dial(None, head, body)?;
            if !self.is_near()
                || deadline.is_over()
                || stream.arrived(deadline.or_after(REDIAL)).is_ok()
            {
                return Ok(stream);
            }
            self.congestion.seen();
            stream.discard();
        }
    }

    /// Takes over what is known of the congestion at the same peer's other channel.
    pub(in crate::transport) fn learn_from(&mut self, other: &Self) {
        self.congestion = self.congestion.or(other.congestion);
    }

    /// Sends over one of the other addresses, after the best one failed with `fault`.
    fn dial_another(
        &mut self,
        fault: Fault,
        head: &[u8],
        body: &[u8],
        deadline: Deadline,
    ) -> Result<Stream> {
        let stream = self.connect_from(1, fault, deadline)?;
        self.send(&stream, head, body, deadline)?;
        Ok(stream)
    }

    /// Sends over a connection that there is.
    pub(in crate::transport) fn send(
        &self,
        stream: &Stream,
        head: &[u8],
        body: &[u8],
        deadline: Deadline,
    ) -> Result<()> {
        stream
            .send(head, body, deadline)
            .map_err(|fault| self.unsendable(fault))
    }

    fn unsendable(&self, fault: Fault) -> Error {
        fault.error(format!("cannot send to {self}"))
    }

    fn unreachable(&self, fault: Fault) -> Error {
        let hint = match fault {
            Fault::TimedOut => format!("is {} stopped, or busy with others?", self.who),
            _ if fault.is_lost() => format!("is {} running there?", self.who),
            _ => return fault.error(format!("cannot connect to {self}")),
        };
        let error = fault.error(format!("cannot connect to {self}"));
        let text = format!("{error} ({hint})");
        match error.kind() {
            // No connection was made, whatever it waited for.
            ErrorKind::IoError => Error::new(ErrorKind::NoConnection, text),
            kind => Error::new(kind, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

    use super::*;

    /// One name for these places.
    fn endpoint(addresses: &[SocketAddr]) -> Endpoint {
        Endpoint {
            who: "peer",
            name: "somewhere".to_owned(),
            addresses: addresses.iter().copied().map(Address::Tcp).collect(),
            congestion: Congestion::default(),
        }
    }

    fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        (listener, address)
    }

    /// A port that is bound, but on which no socket listens.
    fn refusing() -> (OwnedFd, SocketAddr) {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        bind(&socket, &any).expect("a port");
        let address = getsockname(&socket).expect("its address");
        (socket, address.try_into().expect("of IPv4"))
    }

    fn assert_finds_the_peer(first: SocketAddr) {
        let (_peer, there) = listen();
        let deadline = || Deadline::after(Some(PATIENCE));
        let mut endpoint = endpoint(&[first, there]);
        let connected = endpoint.clone().connect(deadline());
        assert!(connected.is_ok(), "{first}: {connected:?}");
        // The first time, and once it is known which is the good one.
        for _ in 0..2 {
            let dialled = endpoint.dial(None, &[], b"command");
            assert!(dialled.is_ok(), "{first}: {dialled:?}");
            assert_eq!(endpoint.addresses[0], Address::Tcp(there));
        }
    }

    #[test]
    fn of_several_addresses_the_first_may_be_refused_unreachable_or_silent() {
        let (_deaf, refusing) = refusing();
        assert_finds_the_peer(refusing);
        // No TCP goes there, nor any packet.
        assert_finds_the_peer(([224, 0, 0, 1], 2321).into());
        // No process accepts, and the backlog is full.
        let (full, address) = listen();
        rustix::net::listen(&full, 0).expect("a backlog of none");
        let _waiting = TcpStream::connect(address).expect("a place");
        assert_finds_the_peer(address);
    }

    #[test]
    fn the_last_failure_is_told_where_no_address_is_a_peer_s() {
        let nowhere = [224, 0, 0, 1];
        let (_deaf, refusing) = refusing();
        let mut endpoint = endpoint(&[(nowhere, 1).into(), refusing]);
        let error = endpoint.dial(None, &[], b"command").expect_err("none");
        assert_eq!(error.kind(), ErrorKind::NoConnection);
        assert!(error.to_string().contains("connection refused"), "{error}");
    }
}
