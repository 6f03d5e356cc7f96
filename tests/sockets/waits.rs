// SPDX-License-Identifier: BSD-2-Clause
//! A wait for a busy peer is told at the level info after a second.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::mpsc::channel;

use rusttcti::open;
use rusttcti_kit::again;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::hostile::{Reaction, Route};
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::vtable::{Vtable, rc};

const CHAIN: &str = "RUSTTCTI_TEST_CHAIN";

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

/// A scene that runs, and its log.
struct Scene(Child, BufReader<ChildStderr>);

impl Scene {
    fn start(name: &str, chain: &str) -> Self {
        let mut child = again::command(module_path!(), name, true)
            .env(CHAIN, chain)
            .env("TSS2_LOG", "tcti+info")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Self(child, log)
    }

    /// The next line that tells of a wait, as soon as it is there.
    fn wait(&mut self) -> String {
        let mut lines = self.1.by_ref().lines().map(|line| line.expect("UTF-8"));
        let told = |line: &String| line.contains("waiting ") || line.contains(" not answered ");
        let line = lines.find(told).expect("a line");
        assert!(line.starts_with("INFO:tcti:"), "{line}");
        line
    }

    fn ends(mut self) {
        let status = self.0.wait().expect("ours");
        assert!(status.success(), "{status}");
    }
}

#[test]
fn a_swtpm_that_does_not_answer_when_opened_is_told_until_it_does() {
    let swtpm = Swtpm::tcp();
    swtpm.pause();
    let mut scene = Scene::start("scene_command", &format!("swtpm:{}", swtpm.conf()));
    let line = scene.wait();
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
    let mut scene = Scene::start("scene_command", &format!("swtpm:{}", swtpm.conf()));
    let line = scene.wait();
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
    let mut scene = Scene::start("scene_command", &format!("swtpm:path={}", path.display()));
    let line = scene.wait();
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
    let mut scene = Scene::start("scene_shared", "");
    let line = scene.wait();
    let expected = "waiting up to 5 s for another context of this process to receive its response";
    assert!(line.contains(expected), "{line}");
    scene.ends();
}
