// SPDX-License-Identifier: BSD-2-Clause
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rusttcti_fuzz::run("tis", input));
