// SPDX-License-Identifier: BSD-2-Clause
//! A shell command that does anything with its pipes. The fuzzer itself holds the other
//! ends; for a few inputs, a real process writes the same bytes.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rusttcti::fuzzing::stand_in::{StandIn, clear, put};
use rusttcti::{Tcti, open};

use crate::client::Client;
use crate::input::Input;

/// One input in so many is given to a real process as well; the first is.
const RARELY: usize = 512;

pub(crate) fn run(input: &[u8]) {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    attack(&mut Input::new(input));
    if RUNS.fetch_add(1, Ordering::Relaxed) % RARELY == 0 {
        real(&mut Input::new(input));
    }
}

/// The command's ends.
struct Command {
    stdin: Option<File>,
    stdout: Option<File>,
    said: Vec<u8>,
    taken: usize,
}

impl Command {
    /// What the transport starts next.
    fn next(ended: bool) -> Self {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let ((their_stdin, stdin), (stdout, their_stdout)) = (pipe(), pipe());
        // A long command shall fill it.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, 4096);
        for fd in [&their_stdin, &their_stdout] {
            rustix::io::ioctl_fionbio(fd, true).expect("a pipe");
        }
        let copy = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3).expect("a descriptor");
        put(StandIn {
            stdin,
            their_stdin: copy(&their_stdin),
            stdout,
            ended: ended.then(|| "ended with exit status 3".to_owned()),
        });
        Self {
            stdin: Some(their_stdin.into()),
            stdout: Some(their_stdout.into()),
            said: Vec::new(),
            taken: 0,
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        // A write to a pipe without a reader would raise SIGPIPE.
        if self.is_left() {
            return;
        }
        let Some(stdout) = &mut self.stdout else {
            return;
        };
        if let Ok(count) = stdout.write(bytes) {
            self.said.extend_from_slice(&bytes[..count]);
        }
    }

    fn hear(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            while matches!(stdin.read(&mut [0; 4096]), Ok(1..)) {}
        }
    }

    fn check(&mut self, response: &[u8]) {
        let said = self.said.get(self.taken..self.taken + response.len());
        assert_eq!(said, Some(response), "no response that was given");
        self.taken += response.len();
    }

    /// True where the transport has closed its end.
    fn is_left(&self) -> bool {
        let Some(stdout) = &self.stdout else {
            return true;
        };
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(
            stdout.as_fd(),
            rustix::event::PollFlags::OUT,
        )];
        let polled = rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default()));
        polled.is_ok() && fds[0].revents().contains(rustix::event::PollFlags::ERR)
    }
}

fn attack(input: &mut Input<'_>) {
    clear();
    let ended = input.flag();
    let mut command = Command::next(ended);
    let mut client = Client::new(open("cmd:stand-in").expect("it was started"));
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        step(&mut client, &mut command, input);
    }
    recover(&mut client, &mut command);
    drop(client);
    assert!(command.is_left(), "the context keeps a pipe");
    clear();
}

fn step(client: &mut Client<Box<dyn Tcti>>, command: &mut Command, input: &mut Input<'_>) {
    match input.byte() & 31 {
        0..6 => send(client, command, input.byte().into()),
        6..10 => receive(client, command, 4096, 0),
        10 => receive(client, command, 4096, 1),
        11 => receive(client, command, input.byte().into(), 0),
        12 if command.stdout.is_none() || !client.is_waiting() => {
            receive(client, command, 4096, -1);
        }
        12 => receive(client, command, 4096, -2),
        13 => client.size(),
        14..17 => command.send(input.string()),
        17..20 => {
            let size = usize::from(input.byte());
            command.send(&response(size as u32, size));
        }
        20 => {
            let size = input.number::<2>() as usize % 4200;
            command.send(&response(size as u32, size));
        }
        21 => {
            let claimed = input.number::<4>() as u32;
            command.send(&response(claimed, input.byte().into()));
        }
        22 | 23 => command.stdout = None,
        24 => command.stdin = None,
        25 => client.cancel(),
        26 => client.set_locality(input.byte()),
        27 => client.poll_handles(usize::from(input.byte() & 1)),
        28 => client.reset(),
        29 | 30 => command.hear(),
        _ => send(client, command, usize::from(input.byte()) << 6),
    }
}

/// Sends a command; if that one is gone, another is started for it.
fn send(client: &mut Client<Box<dyn Tcti>>, command: &mut Command, more: usize) {
    if !command.is_left() || client.is_waiting() {
        client.send(more);
        return;
    }
    *command = Command::next(true);
    client.send(more);
}

fn receive(
    client: &mut Client<Box<dyn Tcti>>,
    command: &mut Command,
    capacity: usize,
    timeout: i32,
) {
    if let Some(response) = client.receive(capacity, timeout) {
        command.check(&response);
    }
}

/// So many bytes, whose header claims as many as it likes.
fn response(claimed: u32, size: usize) -> Vec<u8> {
    let mut response = vec![0x80, 0x01];
    response.extend_from_slice(&claimed.to_be_bytes());
    response.resize(size.max(10), 0);
    response.truncate(size);
    response
}

/// The command does what it should from now on, or a new one does.
fn recover(client: &mut Client<Box<dyn Tcti>>, command: &mut Command) {
    command.stdout = None;
    while client.is_waiting() {
        // The end of its output is an answer, too.
        client.receive(4096, -1);
    }
    for _ in 0..3 {
        // Whichever it asks for: the one that it has is at its end.
        clear();
        let mut next = Command::next(true);
        if !client.send(2) {
            continue;
        }
        next.send(&response(12, 12));
        if let Some(response) = client.receive(4096, 0) {
            assert_eq!(response.len(), 12);
            *command = next;
            return;
        }
        drop(next);
        while client.is_waiting() {
            client.receive(4096, -1);
        }
    }
    panic!(
        "the context is of no use any more: {}",
        crate::client::last_error()
    );
}

/// A process that reads twelve bytes, says the input's, and ends somehow.
fn real(input: &mut Input<'_>) {
    clear();
    let how = input.byte();
    let end = match how & 3 {
        0 => "exit 0",
        1 => "exit 7",
        2 => "kill -9 $$",
        _ => "echo 'cannot go on' >&2; exit 1",
    };
    let said: String = input
        .rest()
        .iter()
        .take(200)
        .map(|byte| format!("\\{byte:03o}"))
        .collect();
    let chain = format!("cmd:head -c 12 >/dev/null; printf '{said}'; {end}");
    let mut client = Client::new(open(&chain).expect("there is a shell"));
    client.send(2);
    for _ in 0..3 {
        // To its end at the latest.
        client.receive(4096, -1);
    }
    assert!(!client.is_waiting());
}
