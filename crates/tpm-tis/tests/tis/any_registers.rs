// SPDX-License-Identifier: BSD-2-Clause
//! Any values of the registers: no panic, no hang, and no response but the chip's.

use proptest::prelude::*;
use tpm_tis::model::try_any_registers;

#[test]
fn a_chip_that_could_not_be_asked_for_checksums_is_asked_again_before_the_next_command() {
    // A claim whose ChecksumEnable fails, after one that found checksums enabled.
    let mut bytes = [0; 59];
    for (at, byte) in [(3, 220), (4, 1), (11, 253), (22, 109), (48, 198), (58, 150)] {
        bytes[at] = byte;
    }
    try_any_registers(&bytes, 29, 31, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_registers_end_in_time_and_give_no_response_but_the_chip_s(
        bytes in prop::collection::vec(any::<u8>(), 1..200),
        most in 1..65usize,
        length in 10..300usize,
        room in 0..400usize,
    ) {
        try_any_registers(&bytes, most, length, room);
    }
}
