// SPDX-License-Identifier: BSD-2-Clause
//! The bridge's checks before it calls a transport, and its use of the caller's
//! memory.

use std::ptr;
use std::time::Duration;

use rusttcti::header::Header;
use rusttcti::{Context, ErrorKind, Magic, PollHandle};
use rusttcti_kit::commands::get_random;
use rusttcti_kit::scripted::{Scripted, answer, put};
use rusttcti_kit::vtable::{Vtable, rc};
use tss_esapi_sys::{TSS2_TCTI_CONTEXT_COMMON_V1, TSS2_TCTI_CONTEXT_COMMON_V2, size_t};

fn context(scripted: Scripted) -> (Context<Scripted>, Vtable) {
    let context = Context::new(scripted);
    let vtable = Vtable(context.as_ptr());
    (context, vtable)
}

#[test]
fn a_null_context_is_a_bad_reference_everywhere() {
    let (_context, c) = context(Scripted::default());
    let v1 = c.common().v1;
    let command = get_random(16);
    let null = ptr::null_mut();
    // SAFETY: NULL is what each function checks first.
    unsafe {
        let size = command.len() as size_t;
        assert_eq!(
            v1.transmit.unwrap()(null, size, command.as_ptr()),
            rc::BAD_REFERENCE
        );
        assert_eq!(
            v1.receive.unwrap()(null, &mut 0, ptr::null_mut(), 0),
            rc::BAD_REFERENCE
        );
        assert_eq!(v1.cancel.unwrap()(null), rc::BAD_REFERENCE);
        let handles = v1.getPollHandles.unwrap();
        assert_eq!(handles(null, ptr::null_mut(), &mut 0), rc::BAD_REFERENCE);
        assert_eq!(v1.setLocality.unwrap()(null, 0), rc::BAD_REFERENCE);
        assert_eq!(
            c.common().makeSticky.unwrap()(null, &mut 0, 0),
            rc::BAD_REFERENCE
        );
        v1.finalize.unwrap()(null);
    }
}

#[test]
fn null_arguments_are_bad_references_and_change_nothing() {
    let (_context, c) = context(Scripted::default());
    assert_eq!(c.transmit_raw(12, ptr::null()), rc::BAD_REFERENCE);
    assert_eq!(c.make_sticky(ptr::null_mut(), 1), rc::BAD_REFERENCE);
    assert_eq!(
        c.poll_handles_raw(ptr::null_mut(), ptr::null_mut()),
        rc::BAD_REFERENCE
    );
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(
        c.receive_raw(ptr::null_mut(), [0; 64].as_mut_ptr(), -1),
        rc::BAD_REFERENCE
    );
    assert_eq!(
        c.receive_raw(ptr::null_mut(), ptr::null_mut(), -1),
        rc::BAD_REFERENCE
    );
    assert_eq!(c.receive(-1), (rc::SUCCESS, answer(28)));
}

#[test]
fn a_wrong_magic_is_a_bad_context_everywhere() {
    let (_context, c) = context(Scripted::default());
    let magic = c.0.cast::<u64>();
    // SAFETY: the magic is the first field of every context.
    let right = unsafe { *magic };
    for wrong in [0, right + 1, !right, u64::MAX] {
        // SAFETY: as above.
        unsafe { *magic = wrong };
        assert_eq!(c.transmit(&get_random(16)), rc::BAD_CONTEXT);
        assert_eq!(c.receive(0).0, rc::BAD_CONTEXT);
        assert_eq!(c.cancel(), rc::BAD_CONTEXT);
        assert_eq!(c.poll_handles(0).0, rc::BAD_CONTEXT);
        assert_eq!(c.set_locality(0), rc::BAD_CONTEXT);
        assert_eq!(c.make_sticky(&mut 0, 0), rc::BAD_CONTEXT);
        c.finalize();
    }
    // SAFETY: as above.
    unsafe { *magic = right };
    assert_eq!(
        c.transmit(&get_random(16)),
        rc::SUCCESS,
        "the finalizes did nothing"
    );
}

#[test]
fn a_foreign_struct_of_the_smallest_size_is_not_read_beyond() {
    let (_context, c) = context(Scripted::default());
    // One allocation of a V1's size, so that reading more is out of bounds.
    let mut foreign = Box::new(TSS2_TCTI_CONTEXT_COMMON_V1 {
        magic: 1,
        ..c.common().v1
    });
    let f = ptr::from_mut(&mut *foreign).cast();
    // SAFETY: a V1 context, as the functions may be given.
    unsafe {
        assert_eq!(foreign.cancel.unwrap()(f), rc::BAD_CONTEXT);
        assert_eq!(foreign.setLocality.unwrap()(f, 0), rc::BAD_CONTEXT);
        foreign.finalize.unwrap()(f);
    }
}

#[test]
fn the_magic_of_another_of_our_contexts_is_wrong_here() {
    let _other = Context::builder()
        .magic(Magic::new(b"OTHER"))
        .build(Scripted::default());
    let (_context, c) = context(Scripted::default());
    // SAFETY: the magic is the first field of every context.
    unsafe { *c.0.cast::<u64>() = Magic::new(b"OTHER").number() };
    assert_eq!(c.transmit(&get_random(16)), rc::BAD_CONTEXT);
}

#[test]
fn more_magics_than_are_remembered_still_work() {
    let contexts: Vec<_> = (0..100u64)
        .map(|n| {
            let magic = Magic::try_from(&n.to_be_bytes()[..]).expect("eight bytes");
            Context::builder().magic(magic).build(Scripted::default())
        })
        .collect();
    for context in &contexts {
        assert_eq!(
            Vtable(context.as_ptr()).transmit(&get_random(4)),
            rc::SUCCESS
        );
    }
}

#[test]
fn a_context_shows_its_magic_and_version_2() {
    let (_context, c) = context(Scripted::default());
    assert_eq!(c.common().v1.magic, u64::from_be_bytes(*b"RUSTTCTI"));
    assert_eq!(c.common().v1.version, 2);
    let cool = Context::builder()
        .magic(Magic::new(b"COOL"))
        .build(Scripted::default());
    assert_eq!(Vtable(cool.as_ptr()).common().v1.magic, 0x434f_4f4c);
}

#[test]
fn a_command_shorter_than_a_header_or_other_than_its_size_is_a_bad_value() {
    let (context, c) = context(Scripted::default());
    let command = get_random(16);
    for length in 0..Header::SIZE {
        assert_eq!(
            c.transmit(&command[..length]),
            rc::BAD_VALUE,
            "{length} bytes"
        );
    }
    for claimed in [0, 1, 9, 10, 11, 13, 4096, u32::MAX] {
        let mut lying = command.clone();
        lying[2..6].copy_from_slice(&claimed.to_be_bytes());
        assert_eq!(c.transmit(&lying), rc::BAD_VALUE, "claims {claimed}");
    }
    assert_eq!(c.transmit_raw(usize::MAX, command.as_ptr()), rc::BAD_VALUE);
    let scripted = context.into_inner().expect("the transport");
    assert_eq!(
        scripted.log.calls(),
        [""; 0],
        "none of them reached the transport"
    );
}

#[test]
fn a_timeout_below_minus_one_is_a_bad_value_and_the_others_reach_the_transport() {
    let (sender, timeouts) = std::sync::mpsc::channel();
    let (_context, c) = context(Scripted {
        receive: Box::new(move |_, timeout| {
            sender.send(timeout).expect("the test listens");
            Err(ErrorKind::TryAgain.into())
        }),
        ..Scripted::default()
    });
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    for bad in [-2, -3, -1000, i32::MIN] {
        assert_eq!(c.receive(bad).0, rc::BAD_VALUE);
    }
    for (timeout, duration) in [
        (-1, None),
        (0, Some(Duration::ZERO)),
        (1, Some(Duration::from_millis(1))),
        (i32::MAX, Some(Duration::from_millis(i32::MAX as u64))),
    ] {
        assert_eq!(c.receive(timeout).0, rc::TRY_AGAIN);
        assert_eq!(timeouts.recv(), Ok(duration));
    }
    assert!(timeouts.try_recv().is_err(), "the bad ones did not");
}

#[test]
fn localities_that_no_tpm_has_are_bad_values() {
    let (context, c) = context(Scripted::default());
    for locality in 0..=255u8 {
        let possible = locality <= 4 || locality >= 32;
        let expected = if possible { rc::SUCCESS } else { rc::BAD_VALUE };
        assert_eq!(c.set_locality(locality), expected, "locality {locality}");
    }
    let scripted = context.into_inner().expect("the transport");
    assert_eq!(scripted.log.count("set_locality"), 5 + 224);
}

#[test]
fn a_null_buffer_asks_for_the_size_and_waits_for_nothing() {
    let (context, c) = context(Scripted::default());
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(
        c.response_size(),
        (rc::SUCCESS, 4096),
        "not here yet: the most it can be"
    );
    assert_eq!(
        c.receive_into(&mut [0; 10], -1),
        (rc::INSUFFICIENT_BUFFER, 28)
    );
    assert_eq!(c.response_size(), (rc::SUCCESS, 28), "here: what it has");
    assert_eq!(c.receive(-1), (rc::SUCCESS, answer(28)));
    let scripted = context.into_inner().expect("the transport");
    assert_eq!(scripted.log.calls(), ["transmit", "receive"]);
}

#[test]
fn the_largest_size_is_the_builder_s() {
    let context = Context::builder().max_size(1024).build(Scripted {
        receive: Box::new(|response, _| {
            assert_eq!(response.len(), 1024);
            put(response, &answer(1024))
        }),
        ..Scripted::default()
    });
    let c = Vtable(context.as_ptr());
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.response_size(), (rc::SUCCESS, 1024));
    assert_eq!(c.receive(-1), (rc::SUCCESS, answer(1024)));
}

/// Memory whose end is the end of what may be touched.
struct Guarded {
    start: *mut u8,
    length: usize,
}

impl Guarded {
    const PAGE: usize = 4096;

    fn new(length: usize) -> Self {
        // SAFETY: a fresh mapping of two pages, the second made inaccessible.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let pages = libc::mmap(ptr::null_mut(), 2 * Self::PAGE, protection, flags, -1, 0);
            assert_ne!(pages, libc::MAP_FAILED);
            let end = pages.cast::<u8>().add(Self::PAGE);
            assert_eq!(libc::mprotect(end.cast(), Self::PAGE, libc::PROT_NONE), 0);
            Self {
                start: end.sub(length),
                length,
            }
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `length` bytes before the guard page.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`.
        unsafe {
            let pages = self.start.add(self.length).sub(Self::PAGE);
            libc::munmap(pages.cast(), 2 * Self::PAGE);
        }
    }
}

#[test]
fn a_too_small_buffer_keeps_the_response_and_nothing_beyond_it_is_touched() {
    let (context, c) = context(Scripted::default());
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    for length in 0..28 {
        let mut buffer = Guarded::new(length);
        buffer.bytes().fill(0xa5);
        assert_eq!(
            c.receive_into(buffer.bytes(), -1),
            (rc::INSUFFICIENT_BUFFER, 28)
        );
        assert!(
            buffer.bytes().iter().all(|byte| *byte == 0xa5),
            "{length} bytes were given"
        );
    }
    let mut buffer = Guarded::new(28);
    assert_eq!(c.receive_into(buffer.bytes(), -1), (rc::SUCCESS, 28));
    assert_eq!(buffer.bytes(), answer(28));
    let scripted = context.into_inner().expect("the transport");
    assert_eq!(
        scripted.log.count("receive"),
        1,
        "the transport was asked once"
    );
}

#[test]
fn a_large_buffer_is_filled_no_further_than_the_response_goes() {
    let (_context, c) = context(Scripted::default());
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    let mut buffer = vec![0xa5; 10_000];
    assert_eq!(c.receive_into(&mut buffer, -1), (rc::SUCCESS, 28));
    assert_eq!(buffer[..28], answer(28));
    assert!(buffer[28..].iter().all(|byte| *byte == 0xa5));
}

#[test]
fn a_size_beyond_all_memory_is_no_harm() {
    let (_context, c) = context(Scripted::default());
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    let mut buffer = vec![0; 4096];
    let mut size = size_t::MAX;
    assert_eq!(
        c.receive_raw(&mut size, buffer.as_mut_ptr(), -1),
        rc::SUCCESS
    );
    assert_eq!((size, &buffer[..28]), (28, &answer(28)[..]));
}

#[test]
fn a_response_that_lies_about_itself_is_malformed() {
    let header = |size: u32| {
        Header {
            tag: 0x8001,
            size,
            code: 0,
        }
        .to_bytes()
        .to_vec()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("nine bytes", header(9)[..9].to_vec()),
        ("claims less", [header(10), vec![0; 2]].concat()),
        ("claims more", header(11)),
        ("claims none", header(0)),
        ("claims all", header(u32::MAX)),
    ];
    for (case, bytes) in cases {
        let (_context, c) = context(Scripted {
            receive: Box::new(move |response, _| put(response, &bytes)),
            ..Scripted::default()
        });
        assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
        assert_eq!(c.receive(-1).0, rc::MALFORMED_RESPONSE, "{case}");
        assert_eq!(
            c.transmit(&get_random(16)),
            rc::SUCCESS,
            "{case}: a new command may be sent"
        );
    }
}

#[test]
fn a_transport_that_claims_more_than_its_buffer_is_found_out() {
    for claim in [4097, usize::MAX] {
        let (_context, c) = context(Scripted {
            receive: Box::new(move |_, _| Ok(claim)),
            ..Scripted::default()
        });
        assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
        assert_eq!(c.receive(-1).0, rc::MALFORMED_RESPONSE);
    }
}

#[test]
fn poll_handles_are_counted_then_copied() {
    let handles = vec![PollHandle::readable(7), PollHandle { fd: 9, events: 4 }];
    let (_context, c) = context(Scripted {
        poll_handles: Box::new(move |()| Ok(handles.clone())),
        ..Scripted::default()
    });
    for state in ["transmit", "receive"] {
        let (code, count, _) = c.poll_handles(0);
        assert_eq!((code, count), (rc::SUCCESS, 2));
        let (code, count, untouched) = c.poll_handles(1);
        assert_eq!(
            (code, count, untouched[0].fd),
            (rc::INSUFFICIENT_BUFFER, 2, -7)
        );
        let (code, count, found) = c.poll_handles(3);
        assert_eq!((code, count), (rc::SUCCESS, 2));
        assert_eq!((found[0].fd, found[0].events), (7, libc::POLLIN));
        assert_eq!((found[1].fd, found[1].events, found[1].revents), (9, 4, 0));
        assert_eq!(found[2].fd, -7, "what lies behind is left alone");
        if state == "transmit" {
            assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
        }
    }
}

#[test]
fn poll_handles_that_are_not_there_leave_the_count_alone() {
    let (_context, c) = context(Scripted::default());
    let (code, count, _) = c.poll_handles(5);
    assert_eq!((code, count), (rc::NOT_IMPLEMENTED, 5));
}

#[test]
fn a_v2_context_begins_with_the_public_struct() {
    let (_context, c) = context(Scripted::default());
    assert!(c.0.cast::<TSS2_TCTI_CONTEXT_COMMON_V2>().is_aligned());
    assert!(c.common().makeSticky.is_some());
}
