// SPDX-License-Identifier: BSD-2-Clause
//! Frames, encoded and decoded.

#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::mssim::{Request, Signal};
use super::swtpm::Control;
use super::*;

/// Decodes each beginning of a message, as a reader that waits does, and checks
/// that none claims to need more bytes than the whole has, or fewer than it had.
fn whole<'a, T>(bytes: &'a [u8], decode: impl Fn(&'a [u8]) -> Decoded<T>) -> (T, usize) {
    let mut have = 0;
    loop {
        match decode(&bytes[..have]) {
            Decoded::Needs(size) => {
                assert!((have + 1..=bytes.len()).contains(&size), "{have}: {size}");
                have = size;
            }
            Decoded::Message(message, size) => {
                assert_eq!(size, have, "no more is read than was needed");
                return (message, size);
            }
        }
    }
}

fn controls() -> impl Strategy<Value = Control> {
    prop_oneof![
        any::<bool>().prop_map(|delete_volatile| Control::Init { delete_volatile }),
        any::<u8>().prop_map(Control::SetLocality),
        Just(Control::Shutdown),
        Just(Control::CancelTpmCommand),
        Just(Control::StoreVolatile),
        Just(Control::Stop),
    ]
}

fn bytes(size: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0), 0..25u8, any::<u8>()], size)
}

proptest! {
    #[test]
    fn a_command_comes_back_from_its_frame(locality: u8, command in bytes(0..64), rest in bytes(0..9)) {
        let head = mssim::command_head(locality, command.len() as u32);
        let frame = [&head[..], &command, &rest].concat();
        let (message, size) = whole(&frame, |bytes| Request::decode(bytes, 64).unwrap());
        prop_assert_eq!(message, Request::SendCommand { locality, command: &command });
        prop_assert_eq!(size, mssim::COMMAND_HEAD + command.len());
    }

    #[test]
    fn a_response_comes_back_from_its_frame(response in bytes(10..64), rest in bytes(0..9)) {
        let head = mssim::response_head(response.len() as u32);
        let frame = [&head[..], &response, &mssim::DONE, &rest].concat();
        let (message, _) = whole(&frame, |bytes| mssim::decode_response(bytes, 64).unwrap());
        prop_assert_eq!(message, response);
    }

    #[test]
    fn a_raw_message_comes_back_whatever_follows_it(mut message in bytes(10..64), rest in bytes(0..9)) {
        let size = message.len() as u32;
        message[2..6].copy_from_slice(&size.to_be_bytes());
        let stream = [&message[..], &rest].concat();
        let (decoded, _) = whole(&stream, |bytes| raw::decode(bytes, 64).unwrap());
        prop_assert_eq!(decoded, message);
    }

    #[test]
    fn a_control_request_comes_back_from_its_bytes(request in controls(), rest in bytes(0..9)) {
        let stream = [&request.encode()[..], &rest].concat();
        let (decoded, size) = whole(&stream, |bytes| Control::decode(bytes).unwrap());
        prop_assert_eq!(decoded, request);
        prop_assert_eq!(size, request.encode().len());
    }

    #[test]
    fn no_bytes_are_a_message_that_is_longer_than_they_are(bytes in bytes(0..64), largest in 0..80usize) {
        if let Ok(Decoded::Message(_, size)) = Request::decode(&bytes, largest) {
            prop_assert!(size <= bytes.len() && size <= largest + mssim::COMMAND_HEAD);
        }
        if let Ok(Decoded::Message(message, size)) = mssim::decode_response(&bytes, largest) {
            prop_assert_eq!(message, &bytes[4..size - 4]);
            prop_assert!(message.len() <= largest);
        }
        if let Ok(Decoded::Message(message, size)) = raw::decode(&bytes, largest) {
            prop_assert_eq!(message, &bytes[..size]);
            prop_assert!(size <= largest);
        }
        if let Ok(Decoded::Message(_, size)) = Control::decode(&bytes) {
            prop_assert!(size <= bytes.len());
        }
    }
}

#[test]
fn every_signal_comes_back_from_its_bytes() {
    for signal in Signal::ALL {
        assert_eq!(Signal::decode(signal.encode()), Ok(*signal));
    }
    assert_eq!(Signal::decode([0, 0, 0, 99]), Err(FrameError::Code(99)));
}

#[test]
fn what_no_message_has_is_told() {
    let size = |size, smallest, largest| FrameError::Size {
        size,
        smallest,
        largest,
    };
    assert_eq!(
        Request::decode(&mssim::command_head(0, 65), 64),
        Err(size(65, 0, 64))
    );
    assert_eq!(Request::decode(&[0; 4], 64), Err(FrameError::Code(0)));
    assert_eq!(
        mssim::decode_response(&[0, 0, 0, 9], 64),
        Err(size(9, 10, 64))
    );
    assert_eq!(mssim::decode_response(&[0; 8], 64), Err(FrameError::Empty));
    let mut frame = [0; 18];
    frame[3] = 10;
    frame[17] = 1;
    assert_eq!(
        mssim::decode_response(&frame, 64),
        Err(FrameError::Trailer(1))
    );
    assert_eq!(
        raw::decode(&[0x80, 1, 0xff, 0xff, 0xff, 0xff], 64),
        Err(size(0xffff_ffff, 10, 64))
    );
    assert_eq!(Control::decode(&[0, 0, 0, 1]), Err(FrameError::Code(1)));
    assert_eq!(swtpm::decode_result(swtpm::encode_result(9)), Err(9));
    assert_eq!(swtpm::decode_result(swtpm::encode_result(0)), Ok(()));
}
