// SPDX-License-Identifier: BSD-2-Clause
//! Views of commands, responses and frames over any bytes: they never read beyond the
//! bytes, and the parts that they return make the same bytes again. The layer `trace`
//! prints a line for any bytes.

#![forbid(unsafe_code)]

use rusttcti::layer::trace::{Decoder, Style};
use rusttcti::wire::frame::{Decoded, mssim, raw, swtpm};
use rusttcti::wire::{
    CapabilityView, Command, CommandBuilder, CommandView, Header, ResponseBuilder, ResponseCode,
    ResponseView,
};

/// The largest command or response that a frame may have.
const LARGEST: usize = 256;

/// A view of a command; its bytes are also a client's stream.
pub(crate) fn run_command(input: &[u8]) {
    check_words(input);
    if let Ok(view) = CommandView::parse(input) {
        check_command(&view);
    }
    if let Ok(Decoded::Message(_, size)) = mssim::Request::decode(input, LARGEST) {
        assert!(size <= input.len());
    }
    if let Ok(Decoded::Message(request, size)) = swtpm::Control::decode(input) {
        // Flags of INIT that have no name are not kept.
        assert_eq!(request.encode().len(), size);
    }
    if let Ok(Decoded::Message(message, size)) = raw::decode(input, LARGEST) {
        assert_eq!(message, &input[..size]);
    }
}

fn check_command(view: &CommandView<'_>) {
    let _ = format!("{view:?} {}", view.code());
    assert_eq!(view.code().to_string().parse().ok(), Some(view.code()));
    let Some(info) = view.info() else {
        assert_eq!(view.parameters(), &view.bytes()[Header::SIZE..]);
        return;
    };
    let mut builder = CommandBuilder::new(info.code).bytes(view.parameters());
    for handle in view.handles() {
        let _ = format!("{}", handle.handle);
        builder = builder.handle(handle.handle);
    }
    for auth in view.auths() {
        let _ = format!("{}", auth.attributes);
        assert_eq!(view.bytes()[auth.attributes_offset()], auth.attributes.0);
        builder = builder
            .auth(auth.handle, auth.nonce, auth.attributes, auth.hmac)
            .expect("sizes of 16 bits");
    }
    assert_eq!(view.flushed_parameter().is_some(), {
        info.name == "FlushContext" && view.parameters().len() >= 4
    });
    // An empty authorization area cannot be built: no TPM takes it.
    if !view.has_auths() || view.auths().count() > 0 {
        assert_eq!(builder.build(), view.bytes());
    }
}

/// A view of a response to the command with the number that the first byte says;
/// its bytes are also a server's stream.
pub(crate) fn run_response(input: &[u8]) {
    let Some((number, input)) = input.split_first() else {
        return;
    };
    let info = Command::all().get(usize::from(*number));
    if let Ok(view) = ResponseView::parse(input, info) {
        check_response(&view, info);
    }
    if let Ok(Decoded::Message(response, size)) = mssim::decode_response(input, LARGEST) {
        assert_eq!(response, &input[4..size - 4]);
    }
}

fn check_response(view: &ResponseView<'_>, info: Option<&'static Command>) {
    let _ = format!("{view:?} {:#} {:?}", view.code(), view.code());
    if let Ok(list) = CapabilityView::parse(view) {
        let size =
            4 * (list.handles().count() + list.commands().count()) + 8 * list.properties().count();
        assert!(size <= view.parameters().len());
    }
    if info.is_none() || !view.is_success() {
        assert_eq!(view.parameters(), &view.bytes()[Header::SIZE..]);
        return;
    }
    let mut builder = ResponseBuilder::new(ResponseCode::SUCCESS).bytes(view.parameters());
    if let Some(handle) = view.handle() {
        builder = builder.handle(handle);
    }
    for auth in view.auths() {
        builder = builder
            .auth(auth.nonce, auth.attributes, auth.hmac)
            .expect("sizes of 16 bits");
    }
    if !view.has_auths() || view.auths().count() > 0 {
        assert_eq!(builder.build(), view.bytes());
    }
}

/// A command and the bytes behind it, as its response, are one line of words.
fn check_words(input: &[u8]) {
    let size = Header::parse(input).map_or(input.len(), |header| header.size as usize);
    let (command, response) = input.split_at(size.min(input.len()));
    let mut decoder = Decoder::new(Style::default());
    for line in [
        decoder.exchange(command, response, None),
        decoder.exchange(command, command, None),
        decoder.unanswered(command),
    ] {
        let line = line.trim_end_matches('\n');
        let is_line = !line.is_empty() && !line.contains(char::is_control);
        assert!(is_line, "{line:?}");
    }
}
