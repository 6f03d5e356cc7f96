// SPDX-License-Identifier: BSD-2-Clause
//! TCP ports for servers of the tests' own.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Listens on two neighbouring ports of 127.0.0.1: those of a server with two
/// channels. They are below the ports that the kernel hands out, of which
/// closed connections may occupy every second one for a minute.
pub fn neighbours() -> [TcpListener; 2] {
    const FIRST: u32 = 20_000;
    const PAIRS: u32 = 5_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PAIRS {
        // Another process begins elsewhere.
        let tried = std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + tried % PAIRS * 2) as u16;
        let listen = |port| TcpListener::bind(("127.0.0.1", port));
        if let (Ok(first), Ok(second)) = (listen(port), listen(port + 1)) {
            return [first, second];
        }
    }
    panic!("there are no two free ports of 127.0.0.1 from {FIRST} on");
}

/// A port that was free a moment ago, as was the next one.
pub fn free() -> u16 {
    port(&neighbours()[0])
}

/// The port of a listener.
pub fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("a TCP socket").port()
}
