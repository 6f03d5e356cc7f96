// SPDX-License-Identifier: BSD-2-Clause
//! Any calls with any arguments that C may pass, over a transport that does anything,
//! compared with the model of the contract; and Init with any size and configuration.

use std::alloc::{Layout, alloc, dealloc};

use rusttcti::__private::init_own;
use rusttcti::transport::null::Null;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::model::{Behaviour, Call, Command, Function, NO_HANDLES, check};
use rusttcti_kit::vtable::{Vtable, rc};
use tss_esapi_sys::size_t;

use crate::input::Input;

pub(crate) fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let kind = input.byte();
    if kind == 0xff {
        return init(&mut input);
    }
    let max_size = match kind & 3 {
        0 => 4096,
        _ => 10 + usize::from(input.byte()),
    };
    let handles = match kind >> 2 & 7 {
        7 => NO_HANDLES,
        handles => handles.into(),
    };
    let mut behaviours = Vec::new();
    for _ in 0..input.byte() & 63 {
        behaviours.push(behaviour(&mut input));
    }
    let mut calls = Vec::new();
    while !input.is_empty() && calls.len() < 64 {
        calls.push(call(&mut input));
    }
    check(&calls, &behaviours, max_size, handles);
}

fn behaviour(input: &mut Input<'_>) -> Behaviour {
    match input.byte() & 7 {
        0..3 => Behaviour::Works(10 + usize::from(input.byte())),
        3 => Behaviour::Fails(match input.byte() {
            code @ 1..32 => 0xa0000 | u32::from(code),
            // Success is not a code of an error.
            _ => (input.number::<4>() as u32).max(1),
        }),
        4 => Behaviour::Lies(input.byte().into()),
        5 => Behaviour::Overclaims,
        6 => Behaviour::Panics,
        _ => Behaviour::Works(10 + input.number::<2>() as usize % 4200),
    }
}

fn call(input: &mut Input<'_>) -> Call {
    match input.byte() & 15 {
        0..4 => Call::Transmit(Command::Good(0)),
        4 => Call::Transmit(match input.byte() & 3 {
            0 => Command::Null,
            1 => Command::Short(usize::from(input.byte()) % 10),
            2 => Command::Lying(input.number::<4>() as u32),
            _ => Command::Good(input.number::<2>() as usize),
        }),
        5..8 => Call::Receive {
            capacity: Some(4096),
            timeout: i32::from(input.byte()) - 1,
            null_size: false,
        },
        8 => Call::Receive {
            capacity: input.flag().then(|| input.byte().into()),
            timeout: input.number::<4>() as u32 as i32,
            null_size: input.byte() > 240,
        },
        9 => Call::Cancel,
        10 => Call::SetLocality(input.byte()),
        11 => Call::PollHandles {
            places: input.flag().then(|| usize::from(input.byte() & 7)),
            null_count: input.byte() > 240,
        },
        12 => Call::MakeSticky {
            handle: input.flag().then(|| input.number::<4>() as u32),
            sticky: input.byte(),
        },
        13 => Call::Finalize,
        14 => Call::OnNull(which(input)),
        _ => Call::OnOtherMagic(which(input), input.number::<8>().max(1)),
    }
}

fn which(input: &mut Input<'_>) -> Function {
    match input.byte() % 7 {
        0 => Function::Transmit,
        1 => Function::Receive,
        2 => Function::Cancel,
        3 => Function::SetLocality,
        4 => Function::PollHandles,
        5 => Function::MakeSticky,
        _ => Function::Finalize,
    }
}

/// Init, in as much memory as the input says.
fn init(input: &mut Input<'_>) {
    let given = input.number::<2>() as usize;
    let null_conf = input.flag();
    let conf = input.rest().split(|byte| *byte == 0).next();
    let conf = std::ffi::CString::new(conf.unwrap_or_default()).expect("no NUL in it");
    let pointer = match null_conf {
        true => std::ptr::null(),
        false => conf.as_ptr(),
    };
    let mut needed: size_t = 0;
    // SAFETY: a size, and a C string or NULL.
    unsafe {
        let null = std::ptr::null_mut();
        let without = init_own::<Null>(null, std::ptr::null_mut(), pointer);
        assert_eq!(without, rc::BAD_REFERENCE);
        let asked = init_own::<Null>(null, &mut needed, pointer);
        assert_eq!(asked, rc::SUCCESS);
    }
    // As malloc() aligns it; of its size and no more, for the sanitizer.
    let layout = Layout::from_size_align(given.max(1), 16).expect("a layout");
    // SAFETY: its size is not 0.
    let memory = unsafe { alloc(layout) };
    assert!(!memory.is_null());
    // SAFETY: `given` bytes or more are there.
    unsafe { memory.write_bytes(0xa5, given) };
    let mut size = given as size_t;
    // SAFETY: memory of `size` bytes, and a C string or NULL.
    let code = unsafe { init_own::<Null>(memory.cast(), &mut size, pointer) };
    let is_text = null_conf || conf.to_str().is_ok();
    if given < needed as usize || !is_text {
        assert_eq!(code, rc::BAD_VALUE);
        for at in 0..given {
            // SAFETY: within the memory.
            assert_eq!(unsafe { memory.add(at).read() }, 0xa5, "written at {at}");
        }
    } else {
        assert_eq!(code, rc::SUCCESS);
        let c = Vtable(memory.cast());
        assert_eq!(c.transmit(&get_random(16)), rc::NOT_IMPLEMENTED);
        assert_eq!(c.receive(0).0, rc::BAD_SEQUENCE);
        c.finalize();
        assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
    }
    // SAFETY: from `alloc`, with the same layout.
    unsafe { dealloc(memory, layout) };
}
