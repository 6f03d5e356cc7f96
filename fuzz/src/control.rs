// SPDX-License-Identifier: BSD-2-Clause
//! The control channel of a peer. It must answer while the client waits, so it has a
//! thread, and a list of prepared answers.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rusttcti::wire::frame::mssim::Signal;

use crate::wire::{Conn, Listener};

/// The answers to requests. After the last one, the answer is success.
pub(crate) enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, and the end of the connection.
    Last(Vec<u8>),
    /// Nothing, for as long as the client likes.
    Silence,
}

/// A server for one client after the other.
#[derive(Clone, Default)]
pub(crate) struct Control(Arc<Mutex<VecDeque<Answer>>>);

impl Control {
    /// Serves this listener until the process ends.
    pub(crate) fn serve(listener: Listener) -> Self {
        let control = Self::default();
        let answers = control.clone();
        std::thread::spawn(move || {
            while let Ok(conn) = listener.accept() {
                answers.answer(conn);
            }
        });
        control
    }

    fn answer(&self, mut conn: Conn) {
        let mut request = [0; 64];
        while let Ok(length @ 1..) = conn.read(&mut request) {
            // The one request that has no answer.
            if request[..length] == Signal::SessionEnd.encode() {
                continue;
            }
            let next = self.answers(VecDeque::pop_front);
            let done = match next.unwrap_or(Answer::Bytes(vec![0; 4])) {
                Answer::Bytes(bytes) => conn.write(&bytes).is_err(),
                Answer::Last(bytes) => {
                    let _ = conn.write(&bytes);
                    true
                }
                Answer::Silence => false,
            };
            if done {
                return;
            }
        }
    }

    fn answers<T>(&self, change: impl FnOnce(&mut VecDeque<Answer>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lays out one more answer.
    pub(crate) fn push(&self, answer: Answer) {
        self.answers(|answers| answers.push_back(answer));
    }

    /// From now on, everything is granted.
    pub(crate) fn consent(&self) {
        self.answers(VecDeque::clear);
    }
}
