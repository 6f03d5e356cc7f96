// SPDX-License-Identifier: BSD-2-Clause
//! TCP ports for the tests' servers.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Listens on two neighbouring ports of 127.0.0.1, for a server with two channels. The
/// ports are below the kernel's ephemeral range: there, closed connections may occupy
/// every second port for a minute.
pub fn neighbours() -> [TcpListener; 2] {
    const FIRST: u32 = 20_000;
    const PAIRS: u32 = 5_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PAIRS {
        // Another process starts its search at another port.
        let tried = std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + tried % PAIRS * 2) as u16;
        let listen = |port| TcpListener::bind(("127.0.0.1", port));
        if let (Ok(first), Ok(second)) = (listen(port), listen(port + 1)) {
            return [first, second];
        }
    }
    panic!("there are no two free ports of 127.0.0.1 from {FIRST} on");
}

/// Returns a port that was free a moment ago, as was the next one.
pub fn free() -> u16 {
    port(&neighbours()[0])
}

/// Returns the port of a listener.
pub fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("a TCP socket").port()
}
