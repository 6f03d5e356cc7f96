// SPDX-License-Identifier: BSD-2-Clause
//! Makes the model's calls through a context's functions.

use rusttcti::wire::CommandCode;
use tss_esapi_sys::{TSS2_TCTI_POLL_HANDLE, size_t};

use super::{Call, Command, Expected, Function, code};
use crate::commands::{command, get_random};
use crate::scripted::answer;
use crate::vtable::{Vtable, rc};

const CANARY: u8 = 0xa5;

pub(super) fn make(c: Vtable, call: &Call) -> Expected {
    match call {
        Call::Transmit(Command::Good(0)) => code(c.transmit(&get_random(16))),
        Call::Transmit(Command::Good(size)) => {
            code(c.transmit(&command(CommandCode::GET_RANDOM, &vec![0x5a; *size])))
        }
        Call::Transmit(Command::Null) => code(c.transmit_raw(12, std::ptr::null())),
        Call::Transmit(Command::Short(length)) => code(c.transmit(&get_random(16)[..*length])),
        Call::Transmit(Command::Lying(size)) => {
            let mut lying = get_random(16);
            lying[2..6].copy_from_slice(&size.to_be_bytes());
            code(c.transmit(&lying))
        }
        Call::Receive {
            null_size: true,
            timeout,
            ..
        } => code(c.receive_raw(std::ptr::null_mut(), [0; 64].as_mut_ptr(), *timeout)),
        Call::Receive {
            capacity, timeout, ..
        } => receive(c, *capacity, *timeout),
        Call::Cancel => code(c.cancel()),
        Call::SetLocality(locality) => code(c.set_locality(*locality)),
        Call::PollHandles {
            null_count: true,
            places,
        } => {
            let mut array = places.map(blank);
            let array = match &mut array {
                Some(array) => array.as_mut_ptr(),
                None => std::ptr::null_mut(),
            };
            code(c.poll_handles_raw(array, std::ptr::null_mut()))
        }
        Call::PollHandles { places, .. } => poll(c, *places),
        Call::MakeSticky {
            handle: None,
            sticky,
        } => code(c.make_sticky(std::ptr::null_mut(), *sticky)),
        Call::MakeSticky {
            handle: Some(handle),
            sticky,
        } => {
            let mut becomes = *handle;
            let code = c.make_sticky(&mut becomes, *sticky);
            let done = code == rc::SUCCESS;
            assert!(done || becomes == *handle, "a failure changed the handle");
            Expected {
                code,
                size: done.then_some(becomes as usize),
            }
        }
        Call::Finalize => {
            c.finalize();
            code(rc::SUCCESS)
        }
        Call::OnNull(which) => code(on_null(c, *which)),
        Call::OnOtherMagic(which, bits) => {
            let magic = c.0.cast::<u64>();
            // SAFETY: the magic is the first member of a context, which its owner keeps
            // during this call, and which only this thread uses.
            let before = unsafe { magic.read() };
            // SAFETY: as before.
            unsafe { magic.write(before ^ bits) };
            let answered = match which {
                Function::Transmit => c.transmit(&get_random(16)),
                Function::Receive => c.receive(0).0,
                Function::Cancel => c.cancel(),
                Function::SetLocality => c.set_locality(0),
                Function::PollHandles => c.poll_handles(1).0,
                Function::MakeSticky => c.make_sticky(&mut 0, 0),
                Function::Finalize => {
                    c.finalize();
                    rc::SUCCESS
                }
            };
            // SAFETY: as before.
            unsafe { magic.write(before) };
            code(answered)
        }
    }
}

fn receive(c: Vtable, capacity: Option<usize>, timeout: i32) -> Expected {
    // Canaries follow the capacity that the caller states.
    let given = capacity.unwrap_or(0);
    let mut buffer = vec![CANARY; given + 64];
    let pointer = match capacity {
        Some(_) => buffer.as_mut_ptr(),
        None => std::ptr::null_mut(),
    };
    let mut size = given as size_t;
    let code = c.receive_raw(&mut size, pointer, timeout);
    let beyond = &buffer[given..];
    assert!(
        beyond.iter().all(|byte| *byte == CANARY),
        "beyond the buffer"
    );
    if code == rc::SUCCESS && capacity.is_some() {
        assert_eq!(buffer[..size as usize], answer(size as usize));
    }
    let told = code == rc::SUCCESS || size != given as size_t;
    Expected {
        code,
        size: told.then_some(size as usize),
    }
}

fn poll(c: Vtable, places: Option<usize>) -> Expected {
    let given = places.unwrap_or(0) as size_t;
    let mut count = given;
    let told = |code, count| Expected {
        code,
        size: (code == rc::SUCCESS || count != given).then_some(count as usize),
    };
    let Some(places) = places else {
        let code = c.poll_handles_raw(std::ptr::null_mut(), &mut count);
        return told(code, count);
    };
    // One place more than the caller states, as a canary.
    let mut array = blank(places + 1);
    let code = c.poll_handles_raw(array.as_mut_ptr(), &mut count);
    let written = if code == rc::SUCCESS {
        count as usize
    } else {
        0
    };
    for (at, handle) in array.iter().enumerate() {
        let expected = if at < written { at as i32 } else { UNTOUCHED };
        assert_eq!(handle.fd, expected, "handle {at} of {written}");
    }
    told(code, count)
}

const UNTOUCHED: i32 = -7;

fn blank(places: usize) -> Vec<TSS2_TCTI_POLL_HANDLE> {
    let handle = TSS2_TCTI_POLL_HANDLE {
        fd: UNTOUCHED,
        events: 0,
        revents: 0,
    };
    vec![handle; places]
}

fn on_null(c: Vtable, which: Function) -> u32 {
    let (v1, sticky) = (c.common().v1, c.common().makeSticky.unwrap());
    let null = std::ptr::null_mut();
    let (command, mut response) = (get_random(16), [0; 64]);
    let mut size = response.len() as size_t;
    // SAFETY: all pointers except the context's are valid, and these functions have a
    // defined answer for a NULL context.
    unsafe {
        match which {
            Function::Transmit => v1.transmit.unwrap()(null, 12, command.as_ptr()),
            Function::Receive => v1.receive.unwrap()(null, &mut size, response.as_mut_ptr(), 0),
            Function::Cancel => v1.cancel.unwrap()(null),
            Function::SetLocality => v1.setLocality.unwrap()(null, 0),
            Function::PollHandles => {
                v1.getPollHandles.unwrap()(null, blank(1).as_mut_ptr(), &mut { 1 })
            }
            Function::MakeSticky => sticky(null, &mut 0, 0),
            Function::Finalize => {
                v1.finalize.unwrap()(null);
                rc::SUCCESS
            }
        }
    }
}
