// SPDX-License-Identifier: BSD-2-Clause
//! Threads: one after the other on one context, and each with its own.

use super::support::{checks, exchange, receive, send};
use crate::conformance::{NotPassed, Subject, Verdict};

checks! {
    "a-context-moves-between-threads": "A context that one thread opened is used by another." => moves,
    "a-response-on-another-thread": "A response may be received on another thread than the one that sent the command." => response_elsewhere,
    "contexts-in-two-threads": "Two threads, each with its own context, do not affect each other." => in_two_threads,
}

fn moves(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let c = opened.c;
    exchange(c, 4)?;
    joined(std::thread::spawn(move || exchange(c, 8)))?;
    exchange(c, 12)
}

fn response_elsewhere(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let c = opened.c;
    send(c, 8)?;
    joined(std::thread::spawn(move || receive(c, 8)))?;
    exchange(c, 4)
}

fn in_two_threads(subject: &Subject) -> Verdict {
    let (one, other) = subject.open_beside(subject.open()?)?;
    let threads = [(one.c, 4), (other.c, 24)].map(|(c, bytes)| {
        std::thread::spawn(move || -> Verdict {
            for _ in 0..100 {
                exchange(c, bytes)?;
            }
            Ok(())
        })
    });
    threads.into_iter().try_for_each(joined)
}

fn joined(thread: std::thread::JoinHandle<Verdict>) -> Verdict {
    let panicked = |_| Err(NotPassed::Broken("a panic".to_owned()));
    thread.join().unwrap_or_else(panicked)
}
