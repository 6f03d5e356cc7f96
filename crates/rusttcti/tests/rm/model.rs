// SPDX-License-Identifier: BSD-2-Clause
//! Any interleaving of clients on a small TPM: each client gets the answers that it
//! would get from its own TPM with unlimited room.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rusttcti::Peer;
use rusttcti::layer::rm::Rm;
use rusttcti::wire::{CommandCode, SessionAttributes};
use rusttcti_kit::model_tpm::{ModelTpm, Sizes};

use crate::tpm::{Answer, NULL, OWNER, PASSWORD, User, WRONG_TYPE, authorized, command};

const CLIENTS: usize = 3;
const TRANSIENT: u32 = 0x8000_0000;
const LOADED: u32 = 0x0200_0000;
const SAVED: u32 = 0x0300_0000;

#[derive(Clone, Debug)]
enum Op {
    Create {
        seed: u8,
        owner: bool,
    },
    Read(usize),
    Flush(usize),
    Hash,
    Update(usize, u8),
    Complete(usize),
    Save(usize),
    Load(usize),
    Start {
        policy: bool,
    },
    Mark(usize, u8),
    Digest(usize),
    FlushSession(usize),
    SaveSession(usize),
    LoadSession(usize),
    Use {
        session: usize,
        object: usize,
        goes_on: bool,
    },
    Handles,
    Clear,
    Disable,
    /// Whether the engine hears of it.
    Restart {
        told: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let n = 0..64usize;
    prop_oneof![
        6 => (any::<u8>(), any::<bool>()).prop_map(|(seed, owner)| Op::Create { seed, owner }),
        12 => n.clone().prop_map(Op::Read),
        3 => n.clone().prop_map(Op::Flush),
        2 => Just(Op::Hash),
        6 => (n.clone(), any::<u8>()).prop_map(|(at, byte)| Op::Update(at, byte)),
        1 => n.clone().prop_map(Op::Complete),
        3 => n.clone().prop_map(Op::Save),
        3 => n.clone().prop_map(Op::Load),
        4 => any::<bool>().prop_map(|policy| Op::Start { policy }),
        8 => (n.clone(), any::<u8>()).prop_map(|(at, byte)| Op::Mark(at, byte)),
        4 => n.clone().prop_map(Op::Digest),
        1 => n.clone().prop_map(Op::FlushSession),
        4 => n.clone().prop_map(Op::SaveSession),
        6 => n.clone().prop_map(Op::LoadSession),
        6 => (n.clone(), n, any::<bool>())
            .prop_map(|(session, object, goes_on)| Op::Use { session, object, goes_on }),
        4 => Just(Op::Handles),
        1 => Just(Op::Clear),
        1 => Just(Op::Disable),
        1 => any::<bool>().prop_map(|told| Op::Restart { told }),
    ]
}

/// A thing of a client's: its handle there, and with the unlimited TPM.
#[derive(Clone, Copy, Debug)]
struct Thing {
    ours: u32,
    theirs: u32,
    state: State,
}

impl Thing {
    /// The TPM's code for a session that is gone, where a policy session is wanted.
    fn refusal_as_policy(self) -> u32 {
        let is_policy = self.ours >> 24 == 3;
        if is_policy { 0x910 } else { WRONG_TYPE.0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Alive,
    /// Its client flushed it: the handle may be another's by now.
    Flushed,
    /// It was lost: the handle means nothing for ever.
    Lost,
}

struct Client {
    user: User<Rm>,
    unlimited: User<ModelTpm>,
    objects: Vec<Thing>,
    sessions: Vec<Thing>,
    /// Contexts of sessions, and whose.
    session_contexts: Vec<(Vec<u8>, Vec<u8>, usize)>,
}

struct World {
    tpm: ModelTpm,
    clients: Vec<Client>,
    contexts: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether all clients have one engine.
    together: bool,
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    share: bool,
    together: bool,
    slow: bool,
    fork: bool,
    objects: usize,
    sessions: usize,
}

fn setting() -> impl Strategy<Value = Setting> {
    (any::<[bool; 4]>(), 1..=4usize, 2..=4usize).prop_map(
        |([share, together, slow, fork], objects, sessions)| Setting {
            share: share || !together,
            together,
            slow,
            fork,
            objects,
            sessions,
        },
    )
}

fn world(setting: Setting) -> World {
    static WORLDS: AtomicUsize = AtomicUsize::new(0);
    let world = WORLDS.fetch_add(1, Ordering::Relaxed);
    let Setting {
        objects, sessions, ..
    } = setting;
    let tpm = ModelTpm::new(Sizes {
        objects,
        sessions,
        ..Sizes::SMALL
    });
    let peer = Peer {
        identity: setting.together.then(|| format!("model {world}")),
        is_exclusive: true,
        is_kernel_manager: false,
        has_view: false,
    };
    let client = |_| {
        let mut below = tpm.clone().with_peer(peer.clone());
        if setting.slow {
            below = below.slow();
        }
        let builder = Rm::builder().share(setting.share).fork(setting.fork);
        Client {
            user: User(builder.open(below).expect("it opens")),
            unlimited: User(ModelTpm::new(Sizes::UNLIMITED)),
            objects: Vec::new(),
            sessions: Vec::new(),
            session_contexts: Vec::new(),
        }
    };
    let clients = (0..CLIENTS).map(client).collect();
    World {
        tpm,
        clients,
        contexts: Vec::new(),
        together: setting.together,
    }
}

impl Client {
    fn object(&self, at: usize) -> Option<Thing> {
        (!self.objects.is_empty()).then(|| self.objects[at % self.objects.len()])
    }

    fn session(&self, at: usize) -> Option<(usize, Thing)> {
        let at = at.checked_rem(self.sessions.len())?;
        Some((at, self.sessions[at]))
    }

    /// Compares what a command on a thing is answered by both.
    fn compare(
        &mut self,
        thing: Thing,
        refusal: u32,
        mut run: impl FnMut(&mut dyn FnMut(&[u8]) -> Answer, u32) -> Answer,
    ) -> Option<Answer> {
        if thing.state == State::Flushed {
            return None;
        }
        let ours = run(&mut |bytes| self.user.run(bytes), thing.ours);
        if thing.state == State::Lost {
            assert_eq!(ours, Err(refusal), "{thing:x?} is gone");
            return None;
        }
        let theirs = run(&mut |bytes| self.unlimited.run(bytes), thing.theirs);
        assert_eq!(ours, theirs, "{thing:x?}");
        Some(ours)
    }

    /// Notes which objects the unlimited TPM has lost.
    fn find_lost(&mut self) {
        for thing in &mut self.objects {
            let is_gone = self.unlimited.save(thing.theirs).is_err();
            if thing.state == State::Alive && is_gone {
                thing.state = State::Lost;
            }
        }
    }

    fn check_handles(&mut self, together: bool) {
        let alive = |things: &[Thing]| {
            let alive = things.iter().filter(|thing| thing.state == State::Alive);
            alive
                .map(|thing| (thing.theirs, thing.ours))
                .collect::<Vec<_>>()
        };
        let mut objects: Vec<_> = alive(&self.objects).iter().map(|(_, ours)| *ours).collect();
        objects.sort_unstable();
        let (listed, _) = self.user.handles(TRANSIENT, 254);
        if together {
            assert_eq!(listed, objects);
        }
        let sessions = alive(&self.sessions);
        for range in [LOADED, SAVED] {
            let (theirs, _) = self.unlimited.handles(range, 254);
            let mut expected: Vec<_> = sessions
                .iter()
                .filter(|(handle, _)| theirs.iter().any(|t| t & 0xff_ffff == handle & 0xff_ffff))
                .map(|(_, ours)| {
                    if range == SAVED {
                        LOADED | ours & 0xff_ffff
                    } else {
                        *ours
                    }
                })
                .collect();
            expected.sort_unstable_by_key(|handle| handle & 0xff_ffff);
            let (ours, _) = self.user.handles(range, 254);
            assert_eq!(ours, expected, "{range:x}");
        }
    }
}

impl World {
    fn run(&mut self, client: usize, op: &Op) {
        let alive: usize = self
            .clients
            .iter()
            .map(|c| {
                c.sessions
                    .iter()
                    .filter(|s| s.state == State::Alive)
                    .count()
            })
            .sum();
        let together = self.together;
        let c = &mut self.clients[client];
        match *op {
            Op::Create { seed, owner } => {
                let hierarchy = if owner { OWNER } else { NULL };
                let ours = c.user.create_primary(hierarchy, seed);
                let theirs = c.unlimited.create_primary(hierarchy, seed);
                c.keep(ours, theirs);
            }
            Op::Hash => {
                let (ours, theirs) = (c.user.hash_start(), c.unlimited.hash_start());
                c.keep(ours, theirs);
            }
            Op::Read(at) => {
                let Some(thing) = c.object(at) else { return };
                c.compare(thing, 0x910, |run, handle| {
                    run(&command(CommandCode::READ_PUBLIC, &[&handle.to_be_bytes()]))
                });
            }
            Op::Update(at, byte) => {
                let Some(thing) = c.object(at) else { return };
                c.compare(thing, 0x910, |run, handle| run(&update(handle, byte)));
            }
            Op::Complete(at) => {
                let Some(thing) = c.object(at) else { return };
                let done = c.compare(thing, 0x910, |run, handle| run(&complete(handle)));
                if matches!(done, Some(Ok(_))) {
                    c.end_object(thing.ours);
                }
            }
            Op::Flush(at) => {
                let Some(thing) = c.object(at) else { return };
                if thing.state == State::Lost {
                    // An engine that didn't hear of the loss has nothing to flush.
                    let flushed = c.user.flush(thing.ours);
                    assert!(matches!(flushed, Ok(_) | Err(0x1cb)), "{flushed:x?}");
                    c.end_object(thing.ours);
                    return;
                }
                let done = c.compare(thing, 0x1cb, |run, handle| {
                    run(&command(
                        CommandCode::FLUSH_CONTEXT,
                        &[&handle.to_be_bytes()],
                    ))
                });
                if done.is_some() {
                    c.end_object(thing.ours);
                }
            }
            Op::Save(at) => {
                let Some(thing) = c.object(at).filter(|thing| thing.state == State::Alive) else {
                    return;
                };
                let (ours, theirs) = (c.user.save(thing.ours), c.unlimited.save(thing.theirs));
                self.contexts
                    .push((ours.expect("a context"), theirs.expect("a context")));
            }
            Op::Load(at) => {
                if self.contexts.is_empty() {
                    return;
                }
                let (ours, theirs) = &self.contexts[at % self.contexts.len()];
                let (ours, theirs) = (c.user.load(ours), c.unlimited.load(theirs));
                c.keep(ours, theirs);
            }
            Op::Start { policy } if alive < 50 => {
                let kind = u8::from(policy);
                let ours = c.user.start_session(kind).expect("a session");
                let theirs = c.unlimited.start_session(kind).expect("a session");
                c.sessions.push(Thing {
                    ours,
                    theirs,
                    state: State::Alive,
                });
            }
            Op::Start { .. } => {}
            Op::Mark(at, byte) => {
                let Some((_, thing)) = c.session(at) else {
                    return;
                };
                c.compare(thing, thing.refusal_as_policy(), |run, handle| {
                    run(&command(
                        CommandCode::POLICY_CP_HASH,
                        &[&handle.to_be_bytes(), &[0, 1, byte]],
                    ))
                });
            }
            Op::Digest(at) => {
                let Some((_, thing)) = c.session(at) else {
                    return;
                };
                c.compare(thing, thing.refusal_as_policy(), |run, handle| {
                    run(&command(
                        CommandCode::POLICY_GET_DIGEST,
                        &[&handle.to_be_bytes()],
                    ))
                });
            }
            Op::FlushSession(at) => {
                let Some((at, thing)) = c.session(at) else {
                    return;
                };
                if thing.state == State::Alive {
                    c.user.flush(thing.ours).expect("it goes");
                    c.unlimited.flush(thing.theirs).expect("it goes");
                    c.sessions[at].state = State::Flushed;
                }
            }
            Op::SaveSession(at) => {
                let Some((at, thing)) = c
                    .session(at)
                    .filter(|(_, thing)| thing.state == State::Alive)
                else {
                    return;
                };
                let (ours, theirs) = (c.user.save(thing.ours), c.unlimited.save(thing.theirs));
                assert_eq!(ours.is_ok(), theirs.is_ok(), "{ours:x?} {theirs:x?}");
                if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                    c.session_contexts.push((ours, theirs, at));
                }
            }
            Op::LoadSession(at) => {
                let Some(at) = at.checked_rem(c.session_contexts.len()) else {
                    return;
                };
                let (ours, theirs, session) = &c.session_contexts[at];
                let thing = c.sessions[*session];
                let (ours, theirs) = (c.user.load(ours), c.unlimited.load(theirs));
                if thing.state == State::Alive {
                    match (ours, theirs) {
                        (Ok(ours), Ok(_)) => assert_eq!(ours, thing.ours),
                        (Err(_), Err(_)) => {}
                        other => panic!("{other:x?}"),
                    }
                } else {
                    assert!(ours.is_err() && theirs.is_err(), "{ours:x?} {theirs:x?}");
                }
            }
            Op::Use {
                session,
                object,
                goes_on,
            } => {
                let (Some((at, session)), Some(object)) = (c.session(session), c.object(object))
                else {
                    return;
                };
                if session.state != State::Alive || object.state != State::Alive {
                    return;
                }
                let (ours, theirs) = (
                    c.user.run(&hmac(session.ours, object.ours, goes_on)),
                    c.unlimited
                        .run(&hmac(session.theirs, object.theirs, goes_on)),
                );
                assert_eq!(ours, theirs);
                if ours.is_ok() && !goes_on {
                    c.sessions[at].state = State::Flushed;
                }
            }
            Op::Handles => c.check_handles(together),
            Op::Clear => {
                let cleared = c.user.clear();
                for c in &mut self.clients {
                    assert_eq!(c.unlimited.clear(), cleared);
                    c.find_lost();
                }
            }
            Op::Disable if together => {
                c.user.hierarchy_control(OWNER, false).expect("off");
                c.user.hierarchy_control(OWNER, true).expect("on");
                for c in &mut self.clients {
                    c.unlimited.hierarchy_control(OWNER, false).expect("off");
                    c.unlimited.hierarchy_control(OWNER, true).expect("on");
                    c.find_lost();
                }
            }
            Op::Disable => {}
            Op::Restart { told } => {
                // An engine learns of a restart of the TPM when it uses something that
                // is gone.
                match together && told {
                    true => rusttcti::Tcti::reset(&mut c.user.0).expect("a power cycle"),
                    false => self.tpm.restart(),
                }
                for c in &mut self.clients {
                    c.unlimited.0.restart();
                    c.find_lost();
                    for session in &mut c.sessions {
                        session.state = State::Flushed;
                    }
                    // An engine also looks by itself for sessions that are gone, before
                    // the TPM gives their numbers to others.
                    c.user.handles(LOADED, 1);
                }
            }
        }
    }

    fn end(self) {
        let mut saved = 0;
        for mut client in self.clients {
            saved += client.user.handles(SAVED, 254).0.len();
            drop(client.user);
        }
        assert_eq!(self.tpm.loaded(), (0, 0), "nothing stays loaded");
        assert_eq!(
            self.tpm.active(),
            saved,
            "saved sessions are their client's"
        );
    }
}

impl Client {
    fn keep(&mut self, ours: Result<u32, u32>, theirs: Result<u32, u32>) {
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                let taken = self
                    .objects
                    .iter()
                    .find(|thing| thing.ours == ours && thing.state != State::Flushed);
                assert!(taken.is_none(), "{ours:x} is {taken:x?}");
                self.objects.push(Thing {
                    ours,
                    theirs,
                    state: State::Alive,
                });
            }
            (ours, theirs) => assert_eq!(ours, theirs),
        }
    }

    fn end_object(&mut self, ours: u32) {
        for thing in &mut self.objects {
            if thing.ours == ours {
                thing.state = State::Flushed;
            }
        }
    }
}

fn update(sequence: u32, byte: u8) -> Vec<u8> {
    authorized(
        CommandCode::SEQUENCE_UPDATE,
        sequence,
        PASSWORD,
        SessionAttributes::NONE,
        &[0, 1, byte],
    )
}

fn complete(sequence: u32) -> Vec<u8> {
    authorized(
        CommandCode::SEQUENCE_COMPLETE,
        sequence,
        PASSWORD,
        SessionAttributes::NONE,
        &[0, 0, 0x40, 0, 0, 7],
    )
}

fn hmac(session: u32, key: u32, goes_on: bool) -> Vec<u8> {
    let attributes = match goes_on {
        true => SessionAttributes::CONTINUE_SESSION,
        false => SessionAttributes::NONE,
    };
    authorized(
        CommandCode::HMAC,
        key,
        session,
        attributes,
        &[0, 1, 7, 0, 0x0b],
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_of_clients_is_answered_as_by_unlimited_tpms(
        setting in setting(),
        ops in prop::collection::vec((0..CLIENTS, op()), 1..250),
    ) {

        let mut world = world(setting);
        for (client, op) in &ops {
            world.run(*client, op);
        }
        world.end();
    }
}

#[test]
fn a_tpm_handle_that_comes_again_ends_what_it_meant_before() {
    for share in [false, true] {
        let tpm = ModelTpm::new(Sizes::SMALL);
        let peer = Peer {
            is_exclusive: true,
            ..Peer::default()
        };
        let below = tpm.clone().with_peer(peer);
        let mut user = User(Rm::builder().share(share).open(below).expect("it opens"));
        let read = |user: &mut User<Rm>, handle: u32| {
            user.run(&command(CommandCode::READ_PUBLIC, &[&handle.to_be_bytes()]))
        };
        let old: Vec<_> = (0..3)
            .map(|seed| user.create_primary(NULL, seed).expect("a key"))
            .collect();
        let session = user.start_session(1).expect("a session");
        // Behind the engine's back, and without a use of what is gone.
        tpm.restart();
        let new: Vec<_> = (10..13)
            .map(|seed| user.create_primary(NULL, seed).expect("a key"))
            .collect();
        let again = user.start_session(1).expect("a session");
        assert_eq!(again, session, "the TPM gives the same handle");
        for (handle, seed) in new.iter().zip(10..) {
            assert_eq!(read(&mut user, *handle), Ok(vec![seed]));
        }
        for handle in old {
            assert!(!new.contains(&handle));
            assert_eq!(read(&mut user, handle), Err(0x910), "share={share}");
        }
    }
}
