// SPDX-License-Identifier: BSD-2-Clause
//! Any sequence of calls, against a model of the bridge's table.

use proptest::prelude::*;
use rusttcti_kit::model::{Behaviour, Call, Command, Function, NO_HANDLES, check};
use rusttcti_kit::vtable::rc;

fn call() -> impl Strategy<Value = Call> {
    let command = prop_oneof![
        5 => Just(Command::Good(0)),
        1 => (0..5000usize).prop_map(Command::Good),
        1 => Just(Command::Null),
        1 => (0..10usize).prop_map(Command::Short),
        1 => any::<u32>().prop_map(Command::Lying),
    ];
    let capacity = prop_oneof![
        1 => Just(None),
        6 => Just(Some(4096)),
        3 => (0..64usize).prop_map(Some),
    ];
    let timeout = prop_oneof![6 => -1..1000i32, 1 => i32::MIN..-1];
    let places = prop::option::of(0..6usize);
    let which = || {
        prop::sample::select(vec![
            Function::Transmit,
            Function::Receive,
            Function::Cancel,
            Function::SetLocality,
            Function::PollHandles,
            Function::MakeSticky,
            Function::Finalize,
        ])
    };
    prop_oneof![
        16 => command.prop_map(Call::Transmit),
        16 => (capacity, timeout, prop::bool::weighted(0.1))
            .prop_map(|(capacity, timeout, null_size)| Call::Receive { capacity, timeout, null_size }),
        4 => Just(Call::Cancel),
        4 => any::<u8>().prop_map(Call::SetLocality),
        4 => (places, prop::bool::weighted(0.1))
            .prop_map(|(places, null_count)| Call::PollHandles { places, null_count }),
        2 => any::<(Option<u32>, u8)>()
            .prop_map(|(handle, sticky)| Call::MakeSticky { handle, sticky }),
        2 => Just(Call::Finalize),
        1 => which().prop_map(Call::OnNull),
        1 => (which(), 1..u64::MAX).prop_map(|(which, bits)| Call::OnOtherMagic(which, bits)),
    ]
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let codes = prop::sample::select(vec![
        rc::TRY_AGAIN,
        rc::INSUFFICIENT_BUFFER,
        rc::BAD_REFERENCE,
        rc::BAD_VALUE,
        rc::IO_ERROR,
        rc::NO_CONNECTION,
        rc::GENERAL_FAILURE,
        rc::BAD_SEQUENCE,
        0x000b_0009,
        0x0000_0922,
    ]);
    prop_oneof![
        12 => (10..48usize).prop_map(Behaviour::Works),
        8 => codes.prop_map(Behaviour::Fails),
        2 => (0..48usize).prop_map(Behaviour::Lies),
        1 => Just(Behaviour::Overclaims),
        2 => Just(Behaviour::Panics),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sequence_of_calls_is_answered_as_the_table_says(
        calls in prop::collection::vec(call(), 1..40),
        behaviours in prop::collection::vec(behaviour(), 0..40),
        max_size in prop_oneof![Just(4096), 10..64usize],
        handles in prop_oneof![Just(NO_HANDLES), 0..5usize],
    ) {
        check(&calls, &behaviours, max_size, handles);
    }
}
