// SPDX-License-Identifier: BSD-2-Clause
//! Misbehaving socket peers: no bytes from them may cause a crash, a hang, or a false
//! response.

use std::ffi::CString;
use std::time::{Duration, Instant};

use super::support::{checks, name};
use crate::commands::get_random;
use crate::conformance::subject::Opened;
use crate::conformance::{NotPassed, Subject, Verdict, ensure};
use crate::hostile::{RESPONSE, Reaction, Route};
use crate::peer::Server;
use crate::vtable::rc;

checks! {
    "peer-that-is-silent": "A silent peer costs receive(200) about 200 ms." => silent,
    "peer-that-closes": "A peer that closes instead of answering is an error." => closes,
    "peer-that-resets": "A peer that resets the connection is an error." => resets,
    "peer-with-half-a-header": "A peer that closes within the header is an error." => half_a_header,
    "peer-with-half-a-response": "A peer that closes within the response is an error." => half_a_response,
    "peer-that-claims-too-little": "A response that claims under ten bytes is an error." => claims_too_little,
    "peer-that-claims-too-much": "A response that claims 4 GiB is an error, and costs no memory." => claims_too_much,
    "peer-that-says-more": "Bytes after a response are not taken for the next one." => says_more,
    "peer-byte-by-byte": "A response that comes byte by byte is whole." => byte_by_byte,
    "peer-that-is-gone": "Init without a peer fails with an error." => gone,
}

/// Starts a peer that performs `reactions`, and opens a context on it.
fn with_peer(subject: &Subject, reactions: Vec<Reaction>) -> Result<(Server, Opened), NotPassed> {
    let conf = subject.peer_conf.as_ref().ok_or_else(|| {
        NotPassed::NotApplicable("its peer cannot be taken the place of".to_owned())
    })?;
    let peer = ROUTE.peer(reactions);
    let conf = CString::new(conf.replace("{}", &peer.conf())).expect("no NUL");
    let opened = subject.as_module()?.open(Some(&conf));
    // A layer that asks the TPM as it opens, such as a resource manager, gets no
    // further with such a peer.
    let refused = |code| {
        let text = format!("Init talks to the peer, and answers {}", name(code));
        NotPassed::NotApplicable(text)
    };
    Ok((peer, opened.map_err(refused)?))
}

const ROUTE: Route = Route {
    transport: "swtpm",
    tcp: true,
    persistent: false,
};

/// Sends a command and receives within `timeout`; returns the code, the response and
/// the duration.
fn ask(opened: &Opened, timeout: i32) -> (u32, Vec<u8>, Duration) {
    let begun = Instant::now();
    let sent = opened.c.transmit(&get_random(2));
    if sent != rc::SUCCESS {
        return (sent, Vec::new(), begun.elapsed());
    }
    let (code, response) = opened.c.receive(timeout);
    (code, response, begun.elapsed())
}

fn refused(subject: &Subject, reaction: Reaction) -> Verdict {
    let (_peer, opened) = with_peer(subject, vec![reaction])?;
    let (code, response, took) = ask(&opened, 5000);
    ensure!(
        code != rc::SUCCESS,
        "it is taken for a response: {response:02x?}"
    );
    ensure!(
        code != rc::TRY_AGAIN,
        "it waits for the whole timeout, {took:?}"
    );
    Ok(())
}

fn silent(subject: &Subject) -> Verdict {
    let (told, _closed) = std::sync::mpsc::channel();
    let (_peer, opened) = with_peer(subject, vec![Reaction::Silence(told)])?;
    let (code, _, took) = ask(&opened, 200);
    ensure!(code == rc::TRY_AGAIN, "receive(200) answers {}", name(code));
    let right = Duration::from_millis(190)..Duration::from_secs(2);
    ensure!(right.contains(&took), "receive(200) takes {took:?}");
    Ok(())
}

fn closes(subject: &Subject) -> Verdict {
    refused(subject, Reaction::SendAndClose(Vec::new()))
}

fn resets(subject: &Subject) -> Verdict {
    refused(subject, Reaction::Reset)
}

fn half_a_header(subject: &Subject) -> Verdict {
    refused(subject, Reaction::SendAndClose(RESPONSE[..5].to_vec()))
}

fn half_a_response(subject: &Subject) -> Verdict {
    refused(subject, Reaction::SendAndClose(RESPONSE[..11].to_vec()))
}

fn claims_too_little(subject: &Subject) -> Verdict {
    refused(subject, Reaction::Send(ROUTE.claim(9)))
}

fn claims_too_much(subject: &Subject) -> Verdict {
    refused(subject, Reaction::SendAndClose(ROUTE.claim(u32::MAX)))
}

fn says_more(subject: &Subject) -> Verdict {
    let long = [&RESPONSE[..], &RESPONSE[..11], &[0xee]].concat();
    let (_peer, opened) = with_peer(subject, vec![Reaction::Send(long)])?;
    // The first command may be refused, or be answered correctly.
    ask(&opened, 2000);
    let (code, response, _) = ask(&opened, 2000);
    let stale = code == rc::SUCCESS && response.last() == Some(&0xee);
    ensure!(
        !stale,
        "bytes behind one response are the next: {response:02x?}"
    );
    Ok(())
}

fn byte_by_byte(subject: &Subject) -> Verdict {
    let slow = Reaction::SendSlowly(RESPONSE.to_vec(), Duration::from_millis(2));
    let (_peer, opened) = with_peer(subject, vec![slow])?;
    let (code, response, _) = ask(&opened, 5000);
    ensure!(code == rc::SUCCESS, "receive answers {}", name(code));
    ensure!(response == RESPONSE, "the response is {response:02x?}");
    Ok(())
}

fn gone(subject: &Subject) -> Verdict {
    let conf = subject.peer_conf.as_ref().ok_or_else(|| {
        NotPassed::NotApplicable("its peer cannot be taken the place of".to_owned())
    })?;
    let port = crate::ports::free();
    let conf = conf.replace("{}", &format!("host=127.0.0.1,port={port}"));
    let conf = CString::new(conf).expect("no NUL");
    let begun = Instant::now();
    let opened = subject.as_module()?.open(Some(&conf));
    // tpm2-tss's swtpm connects for each command, and fails only then.
    if let Ok(opened) = opened {
        let (code, _, _) = ask(&opened, 1000);
        ensure!(code != rc::SUCCESS, "a command succeeded without a peer");
    }
    let took = begun.elapsed();
    ensure!(
        took < Duration::from_secs(15),
        "it took {took:?} to find out"
    );
    Ok(())
}
