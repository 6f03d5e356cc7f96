// SPDX-License-Identifier: BSD-2-Clause
//! A layer with only `transmit`, `receive` and `below`: every other method reaches the
//! transport.

use std::sync::Arc;
use std::time::Duration;

use rusttcti::{Cancel, ErrorKind, PollHandle, Result, Tcti};
use rusttcti_kit::scripted::{Log, Scripted};

/// A layer of two methods and `below`.
struct Thin(Box<dyn Tcti>);

impl Tcti for Thin {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.0.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.0.receive(response, timeout)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.0)
    }
}

/// A layer as 0.1's documentation showed it, which forwards by hand and knows
/// nothing of `below`; only its canceller's receiver is 0.2's.
struct Forwarding<T: Tcti>(T);

impl<T: Tcti> Tcti for Forwarding<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.0.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.0.receive(response, timeout)
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        self.0.canceller()
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.0.poll_handles()
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.0.set_locality(locality)
    }

    fn make_sticky(&mut self, handle: u32, sticky: bool) -> Result<u32> {
        self.0.make_sticky(handle, sticky)
    }

    fn reset(&mut self) -> Result<()> {
        self.0.reset()
    }

    fn finalize(&mut self) -> Result<()> {
        self.0.finalize()
    }
}

struct Nothing;

impl Cancel for Nothing {
    fn cancel(&self) -> Result<()> {
        Ok(())
    }
}

/// A transport in which every optional method does something.
struct Able(Scripted);

impl Tcti for Able {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.0.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.0.receive(response, timeout)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.0)
    }

    fn after_fork(&mut self) -> Result<()> {
        self.0.log.add("after_fork");
        Ok(())
    }
}

fn able() -> (Able, Log) {
    let scripted = Scripted {
        canceller: Some(Arc::new(Nothing)),
        poll_handles: Box::new(|()| Ok(vec![PollHandle { fd: 7, events: 1 }])),
        ..Scripted::default()
    };
    let log = scripted.log.clone();
    (Able(scripted), log)
}

#[test]
fn each_optional_method_of_a_thin_layer_reaches_the_transport() {
    let (able, log) = able();
    let mut tcti: Box<dyn Tcti> = Box::new(Thin(Box::new(Thin(Box::new(able)))));
    assert!(tcti.canceller().is_some());
    assert_eq!(tcti.poll_handles().expect("handles")[0].fd, 7);
    tcti.set_locality(3).expect("a locality");
    assert_eq!(tcti.make_sticky(9, true).expect("a handle"), 9);
    tcti.reset().expect("a reset");
    tcti.after_fork().expect("a connection of the child's own");
    tcti.finalize().expect("the end");
    assert_eq!(
        log.calls(),
        [
            "poll_handles",
            "set_locality",
            "make_sticky",
            "reset",
            "after_fork",
            "finalize"
        ]
    );
}

#[test]
fn a_method_that_no_part_of_the_chain_has_is_told_as_such() {
    let mut tcti = Thin(rusttcti::open("null").expect("a transport without any"));
    assert!(tcti.canceller().is_none());
    let kinds = [
        tcti.poll_handles().map(drop),
        tcti.set_locality(1),
        tcti.make_sticky(1, true).map(drop),
        tcti.reset(),
    ]
    .map(|result| result.expect_err("there is none").kind());
    assert_eq!(kinds, [ErrorKind::NotImplemented; 4]);
    let error = tcti.after_fork().expect_err("it is the parent's");
    assert_eq!(error.kind(), ErrorKind::BadContext);
    tcti.finalize().expect("nothing to end");
}

#[test]
fn a_layer_of_0_1_that_forwards_by_hand_works_as_before() {
    let (able, log) = able();
    let mut tcti = Forwarding(able);
    assert!(tcti.canceller().is_some());
    tcti.set_locality(3).expect("a locality");
    tcti.finalize().expect("the end");
    assert_eq!(log.calls(), ["set_locality", "finalize"]);
    // A method that came later is not forwarded, and says so.
    assert!(tcti.after_fork().is_err());
}
