// SPDX-License-Identifier: BSD-2-Clause
//! A server with two channels, like swtpm and the simulator, that behaves as a test
//! specifies.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rusttcti::wire::frame::{Decoded, raw};
use tempfile::TempDir;

use super::ports;

/// The size of the largest command that a peer reads.
const LARGEST: usize = 1 << 20;

/// A connection that a client made.
#[derive(Debug)]
pub enum Conn {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection of a unix socket.
    Unix(UnixStream),
}

impl Conn {
    /// Returns a second handle of the connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    fn shutdown(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// Reads one TPM command; `None` if the client closed instead.
    pub fn command(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Decoded::Needs(size) = raw::decode(&bytes, LARGEST).ok()? {
            self.read_on(&mut bytes, size)?;
        }
        Some(bytes)
    }

    /// Reads until `bytes` holds `size` bytes; `None` if the client closed instead.
    pub fn read_on(&mut self, bytes: &mut Vec<u8>, size: usize) -> Option<()> {
        let have = bytes.len();
        bytes.resize(size, 0);
        self.read_exact(&mut bytes[have..]).ok()
    }

    /// Writes, and returns whether the client is still there.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.write_all(bytes).is_ok()
    }

    /// Writes byte by byte, each as a separate packet.
    pub fn send_slowly(&mut self, bytes: &[u8], pause: Duration) -> bool {
        if let Self::Tcp(stream) = self {
            stream.set_nodelay(true).unwrap();
        }
        bytes.iter().all(|byte| {
            std::thread::sleep(pause);
            self.send(&[*byte])
        })
    }

    /// Waits until the client closes, and ignores all bytes until then.
    pub fn wait_for_close(&mut self) {
        let mut buffer = [0; 4096];
        while matches!(self.read(&mut buffer), Ok(1..)) {}
    }

    /// Makes the later close send a RST rather than a FIN, on TCP.
    pub fn reset(&self) {
        rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO)).unwrap();
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Conn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Conn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            // The standard library writes without SIGPIPE.
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The address of a server.
#[derive(Clone, Debug)]
pub enum Address {
    /// The main channel's port; the other channel's is the next one.
    Tcp(u16),
    /// The main channel's socket; the other channel's name has `.ctrl` appended.
    Unix(PathBuf),
}

impl Address {
    /// Returns the configuration of a transport to this server.
    pub fn conf(&self) -> String {
        match self {
            Self::Tcp(port) => format!("host=127.0.0.1,port={port}"),
            Self::Unix(path) => format!("path={}", path.display()),
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Conn> {
        Ok(match self {
            Self::Tcp(listener) => Conn::Tcp(listener.accept()?.0),
            Self::Unix(listener) => Conn::Unix(listener.accept()?.0),
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// The function that serves each connection, one after the other.
pub type Handler = Box<dyn FnMut(Conn) + Send>;

/// A server on two channels, stopped when this is dropped.
pub struct Server {
    /// The server's address.
    pub address: Address,
    open: Arc<Mutex<Vec<Weak<Conn>>>>,
    /// The stop signal: closing it ends the threads.
    stop: Option<UnixStream>,
    threads: Vec<JoinHandle<()>>,
    _folder: Option<TempDir>,
}

impl Server {
    /// Starts a server on two neighbouring TCP ports.
    pub fn tcp(main: Handler, other: Handler) -> Self {
        let listeners = ports::neighbours();
        let address = Address::Tcp(ports::port(&listeners[0]));
        Self::serve(address, listeners.map(Listener::Tcp), [main, other], None)
    }

    /// Starts a server on two unix sockets.
    pub fn unix(main: Handler, other: Handler) -> Self {
        let folder = TempDir::new().expect("a folder for sockets");
        let address = Address::Unix(folder.path().join("tpm"));
        let mut server = Self::at(&address, main, other);
        server._folder = Some(folder);
        server
    }

    /// Starts a server at the address of an earlier one.
    pub fn at(address: &Address, main: Handler, other: Handler) -> Self {
        let listeners = match address {
            Address::Tcp(port) => [*port, port + 1]
                .map(|port| Listener::Tcp(TcpListener::bind(("127.0.0.1", port)).expect("free"))),
            Address::Unix(path) => {
                let mut beside = path.clone().into_os_string();
                beside.push(".ctrl");
                [path.clone(), beside.into()].map(|path| {
                    let _ = std::fs::remove_file(&path);
                    Listener::Unix(UnixListener::bind(path).expect("a path for a socket"))
                })
            }
        };
        Self::serve(address.clone(), listeners, [main, other], None)
    }

    fn serve(
        address: Address,
        listeners: [Listener; 2],
        handlers: [Handler; 2],
        folder: Option<TempDir>,
    ) -> Self {
        let (stop, stopped) = UnixStream::pair().expect("a pair");
        let open = Arc::new(Mutex::new(Vec::new()));
        let threads = listeners
            .into_iter()
            .zip(handlers)
            .map(|(listener, handler)| {
                let (open, stopped) = (open.clone(), stopped.try_clone().unwrap());
                std::thread::spawn(move || serve(&listener, &stopped, &open, handler))
            })
            .collect();
        Self {
            address,
            open,
            stop: Some(stop),
            threads,
            _folder: folder,
        }
    }

    /// Returns the configuration of a transport to it.
    pub fn conf(&self) -> String {
        self.address.conf()
    }
}

fn serve(
    listener: &Listener,
    stopped: &UnixStream,
    open: &Mutex<Vec<Weak<Conn>>>,
    mut handler: Handler,
) {
    loop {
        let mut fds = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result.expect("poll"),
        };
        if !fds[1].revents().is_empty() {
            return;
        }
        let Ok(conn) = listener.accept() else {
            continue;
        };
        // The server keeps a copy to end the connection. The copy goes with the
        // handler, so the client sees the connection close when the handler returns.
        let copy = Arc::new(conn.try_clone().expect("a descriptor"));
        open.lock().unwrap().push(Arc::downgrade(&copy));
        handler(conn);
        drop(copy);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        for conn in self.open.lock().unwrap().drain(..) {
            if let Some(conn) = conn.upgrade() {
                conn.shutdown();
            }
        }
        for thread in self.threads.drain(..) {
            let result = thread.join();
            if !std::thread::panicking() {
                result.expect("the peer's thread did not panic");
            }
        }
    }
}
