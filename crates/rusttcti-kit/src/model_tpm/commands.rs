// SPDX-License-Identifier: BSD-2-Clause
//! The commands of a model TPM.

use rusttcti::wire::{
    Blamed, CommandCode as Cc, CommandView, Handle, HandleKind, ResponseBuilder,
    ResponseCode as Rc, SessionAttributes, capability, property,
};

use super::memory::{Memory, Object};

type Answer = Result<Vec<u8>, Rc>;

/// The codes RC_HANDLE and RC_VALUE for the first parameter.
const HANDLE_P1: Rc = Rc(0x1cb);

/// Answers a command.
pub(super) fn answer(memory: &mut Memory, command: &[u8]) -> Vec<u8> {
    let Ok(command) = CommandView::parse(command) else {
        return ResponseBuilder::new(Rc::COMMAND_SIZE).build();
    };
    match run(memory, &command) {
        Ok(response) => response,
        Err(code) => ResponseBuilder::new(code).build(),
    }
}

fn run(memory: &mut Memory, command: &CommandView<'_>) -> Answer {
    check_handles(memory, command)?;
    let done = execute(memory, command)?;
    for auth in command.auths() {
        let goes_on = auth
            .attributes
            .contains(SessionAttributes::CONTINUE_SESSION);
        if auth.handle.is_session() && !goes_on {
            memory.remove_session(auth.handle.0);
        }
    }
    Ok(done)
}

fn check_handles(memory: &mut Memory, command: &CommandView<'_>) -> Result<(), Rc> {
    for (n, view) in command.handles().enumerate() {
        let fits = match (view.handle.0 >> 24, view.info.kind) {
            (0x80, kind) => kind.may_be_object(),
            (2, HandleKind::PolicySession) | (3, HandleKind::HmacSession) => false,
            (2 | 3, kind) => kind.may_be_session(),
            _ => true,
        };
        if !fits {
            return Err(Rc::VALUE.blaming(Blamed::Handle(n as u8 + 1)));
        }
    }
    for (n, view) in command.handles().enumerate() {
        let handle = view.handle.0;
        let is_there = match handle >> 24 {
            0x80 => memory.object(handle).is_some(),
            2 | 3 => memory.session(handle).is_some(),
            _ => true,
        };
        if !is_there {
            return Err(Rc(Rc::REFERENCE_H0.0 + n as u32));
        }
        let hierarchy = handle;
        if command.code() != Cc::HIERARCHY_CONTROL && memory.disabled.contains(&hierarchy) {
            return Err(Rc::HIERARCHY);
        }
    }
    for (n, auth) in command.auths().enumerate() {
        if auth.handle != Handle::RS_PW && memory.session(auth.handle.0).is_none() {
            return Err(Rc(Rc::REFERENCE_S0.0 + n as u32));
        }
    }
    Ok(())
}

fn execute(memory: &mut Memory, command: &CommandView<'_>) -> Answer {
    let parameters = command.parameters();
    let first = command.handle(0).map_or(0, |handle| handle.0);
    let ok = || ResponseBuilder::new(Rc::SUCCESS);
    let handle = |handle: u32| Ok(ok().handle(Handle(handle)).build());
    match command.code() {
        Cc::CREATE_PRIMARY => {
            // The seed follows inSensitive: the last byte of the template's "unique".
            let seed = parameters
                .get(parameters.len().wrapping_sub(7))
                .copied()
                .unwrap_or(0);
            handle(memory.add_object(Object {
                hierarchy: first,
                seed,
                data: None,
            })?)
        }
        Cc::READ_PUBLIC | Cc::HMAC => {
            let object = memory.object(first).ok_or(Rc::REFERENCE_H0)?;
            Ok(ok().u8(object.seed).build())
        }
        Cc::HASH_SEQUENCE_START => {
            let hierarchy = Handle::NULL.0;
            handle(memory.add_object(Object {
                hierarchy,
                seed: 0,
                data: Some(Vec::new()),
            })?)
        }
        Cc::SEQUENCE_UPDATE => {
            let data = memory.object(first).and_then(|object| object.data.as_mut());
            data.ok_or(Rc::MODE)?
                .extend_from_slice(parameters.get(2..).unwrap_or_default());
            Ok(ok().build())
        }
        Cc::SEQUENCE_COMPLETE => {
            let data = memory.object(first).and_then(|object| object.data.clone());
            let data = data.ok_or(Rc::MODE)?;
            memory.remove_object(first);
            Ok(ok().bytes(&data).build())
        }
        Cc::START_AUTH_SESSION => {
            // The type follows nonceCaller and an empty salt.
            let size = parameters.get(1).copied().unwrap_or(0) as usize;
            let is_policy = parameters.get(2 + size + 2).copied() == Some(1);
            handle(memory.add_session(is_policy)?)
        }
        Cc::POLICY_CP_HASH => {
            let session = memory.session(first).ok_or(Rc::REFERENCE_H0)?;
            session.data.push(parameters.get(2).copied().unwrap_or(0));
            Ok(ok().build())
        }
        Cc::POLICY_GET_DIGEST => {
            let session = memory.session(first).ok_or(Rc::REFERENCE_H0)?;
            Ok(ok().bytes(&session.data.clone()).build())
        }
        Cc::CONTEXT_SAVE => Ok(ok().bytes(&memory.save(first)?).build()),
        Cc::CONTEXT_LOAD => handle(memory.load(parameters)?),
        Cc::FLUSH_CONTEXT => {
            let flushed = command.flushed_parameter().map_or(0, |handle| handle.0);
            let is_gone = match flushed >> 24 {
                2 | 3 => memory.remove_session(flushed),
                _ => memory.remove_object(flushed),
            };
            is_gone.then(|| ok().build()).ok_or(HANDLE_P1)
        }
        Cc::CLEAR => {
            memory.clear_hierarchy(Handle::OWNER.0);
            memory.clear_hierarchy(Handle::ENDORSEMENT.0);
            Ok(ok().build())
        }
        Cc::HIERARCHY_CONTROL => {
            let hierarchy = parameters
                .first_chunk()
                .map_or(0, |word| u32::from_be_bytes(*word));
            memory.disabled.retain(|other| *other != hierarchy);
            if parameters.get(4) == Some(&0) {
                memory.flush_hierarchy(hierarchy);
                memory.disabled.push(hierarchy);
            }
            Ok(ok().build())
        }
        Cc::STARTUP => Err(Rc::INITIALIZE),
        Cc::GET_RANDOM => Ok(ok().sized(&[0; 16]).map_err(|_| Rc::SIZE)?.build()),
        Cc::READ_CLOCK => {
            let times = ok().bytes(&[0; 16]).u32(memory.resets);
            Ok(times.u32(0).u8(1).build())
        }
        Cc::GET_CAPABILITY => get_capability(memory, parameters),
        _ => Err(Rc::COMMAND_CODE),
    }
}

fn get_capability(memory: &Memory, parameters: &[u8]) -> Answer {
    let word = |at: usize| {
        let word = parameters.get(at..).and_then(|rest| rest.first_chunk());
        word.map_or(0, |word| u32::from_be_bytes(*word))
    };
    let (wanted, first, count) = (word(0), word(4), word(8) as usize);
    let list: Vec<Vec<u32>> = match wanted {
        capability::HANDLES => memory
            .handles(first)
            .into_iter()
            .map(|handle| vec![handle])
            .collect(),
        capability::TPM_PROPERTIES => [
            (property::HR_TRANSIENT_MIN, memory.sizes.objects as u32),
            (property::HR_LOADED_MIN, memory.sizes.sessions as u32),
            (
                property::CONTEXT_GAP_MAX,
                memory.sizes.gap.min(u32::MAX.into()) as u32,
            ),
        ]
        .into_iter()
        .filter(|(property, _)| *property >= first)
        .map(|(property, value)| vec![property, value])
        .collect(),
        _ => return Err(Rc::VALUE),
    };
    let told = &list[..list.len().min(count)];
    let mut response = ResponseBuilder::new(Rc::SUCCESS)
        .u8(u8::from(told.len() < list.len()))
        .u32(wanted)
        .u32(told.len() as u32);
    for value in told.concat() {
        response = response.u32(value);
    }
    Ok(response.build())
}
