// SPDX-License-Identifier: BSD-2-Clause
//! A wait for a busy peer is logged at the level info after a second.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::channel;

use rusttcti::open;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::hostile::{Reaction, Route};
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::vtable::{Vtable, rc};

use crate::scene::{CHAIN, Scene};

/// One command, without a timeout. The outcome is the test's.
#[test]
#[ignore = "a scene of other tests"]
fn scene_command() {
    let Ok(mut tcti) = open(&std::env::var(CHAIN).expect("a chain")) else {
        return;
    };
    tcti.transmit(&get_random(8)).expect("sent");
    tcti.receive(&mut [0; 4096], None).expect("a response");
}

/// Two contexts on one connection, whose peer stays silent.
#[test]
#[ignore = "a scene of other tests"]
fn scene_shared() {
    const SHARED: Route = Route {
        transport: "swtpm",
        tcp: true,
        persistent: true,
    };
    let (closed, _) = channel();
    let peer = SHARED.peer(vec![Reaction::Silence(closed)]);
    let (first, second) = (SHARED.open(&peer), SHARED.open(&peer));
    assert_eq!(Vtable(first.as_ptr()).transmit(&get_random(1)), rc::SUCCESS);
    let busy = Vtable(second.as_ptr()).transmit(&get_random(2));
    assert_eq!(busy, rc::TRY_AGAIN);
}

fn start(name: &str, chain: &str) -> Scene {
    Scene::start(module_path!(), name, chain)
}

/// Returns the scene's next line that tells of a wait.
fn wait_of(scene: &mut Scene) -> String {
    let line = scene.line(|line| line.contains("waiting ") || line.contains(" not answered "));
    assert!(line.starts_with("INFO:tcti:"), "{line}");
    line
}

#[test]
fn a_swtpm_that_does_not_answer_when_opened_is_told_until_it_does() {
    let swtpm = Swtpm::tcp();
    swtpm.pause();
    let mut scene = start("scene_command", &format!("swtpm:{}", swtpm.conf()));
    let line = wait_of(&mut scene);
    let expected = format!(
        "waiting up to 5 s for swtpm at localhost:{}, which is busy, to answer SET_LOCALITY",
        swtpm.port() + 1
    );
    assert!(line.contains(&expected), "{line}");
    swtpm.resume();
    scene.ends();
}

#[test]
fn a_swtpm_that_serves_another_s_connection_is_told_until_that_ends() {
    let swtpm = Swtpm::tcp();
    let kept = open(&format!("swtpm:{},persistent=1", swtpm.conf())).expect("swtpm");
    let mut scene = start("scene_command", &format!("swtpm:{}", swtpm.conf()));
    let line = wait_of(&mut scene);
    let expected = format!(
        "swtpm at localhost:{} has not answered GetRandom for 1 s; the program set no \
         timeout, and the wait goes on",
        swtpm.port()
    );
    assert!(line.contains(&expected), "{line}");
    drop(kept);
    scene.ends();
}

#[test]
fn a_peer_with_too_many_clients_is_told_until_it_has_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tpm");
    let listener = UnixListener::bind(&path).expect("a socket");
    rustix::net::listen(&listener, 0).expect("a backlog of none");
    let _first = UnixStream::connect(&path).expect("a place");
    let mut scene = start("scene_command", &format!("swtpm:path={}", path.display()));
    let line = wait_of(&mut scene);
    let expected = format!(
        "waiting for room in the queue of the peer at {}, which is busy with other clients",
        path.display()
    );
    assert!(line.contains(&expected), "{line}");
    drop(listener);
    scene.ends();
}

#[test]
fn a_connection_that_another_context_uses_is_told() {
    let mut scene = start("scene_shared", "");
    let line = wait_of(&mut scene);
    let expected = "waiting up to 5 s for another context of this process to receive its response";
    assert!(line.contains(expected), "{line}");
    scene.ends();
}
