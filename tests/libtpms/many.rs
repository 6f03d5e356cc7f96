// SPDX-License-Identifier: BSD-2-Clause
//! Many embedded TPMs in one process.

use std::collections::HashSet;
use std::thread;

use rusttcti::Tcti;
use rusttcti::transport::libtpms::Libtpms;
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::tpm::*;

fn new() -> Libtpms {
    let tpm = Libtpms::builder().open();
    tpm.unwrap_or_else(|error| panic!("{}", error.report()))
}

/// Counts the descriptors, libraries and threads of this process.
fn belongings() -> (usize, usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).expect("procfs").count();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let copies = maps.lines().filter(|line| line.contains("libtpms"));
    (
        count("/proc/self/fd"),
        copies.count(),
        count("/proc/self/task"),
    )
}

/// Returns this process's own memory in KiB.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

/// Runs `count` TPMs on two threads, and returns their keys.
fn keys_of(count: usize) -> HashSet<Vec<u8>> {
    let half = |_| {
        thread::spawn(move || {
            let mut tpms: Vec<_> = (0..count / 2).map(|_| new()).collect();
            for tpm in &mut tpms {
                tpm.transmit(&create_primary_ecc()).expect("sent");
            }
            let mut keys = Vec::new();
            for tpm in &mut tpms {
                let mut response = vec![0; 4096];
                let size = tpm.receive(&mut response, None).expect("a key");
                assert_eq!(response_code(&response[..size]), 0);
                // The key's public area, from behind the response's head.
                keys.push(response[18..18 + 90].to_vec());
            }
            for tpm in &mut tpms {
                assert_eq!(ok(tpm, &get_random(16)).len(), 28);
            }
            // In another order than they were opened.
            while !tpms.is_empty() {
                drop(tpms.swap_remove(tpms.len() / 2));
            }
            keys
        })
    };
    let threads: Vec<_> = (0..2).map(half).collect();
    let mut all = HashSet::new();
    for thread in threads {
        all.extend(thread.join().expect("no panic"));
    }
    all
}

/// This program has one test, because it counts the resources of the whole process.
#[test]
fn many_tpms_have_keys_of_their_own_and_leave_nothing_behind() {
    assert_eq!(keys_of(8).len(), 8);
    let before = belongings();
    let mut used = Vec::new();
    for count in [256; 10] {
        assert_eq!(keys_of(count).len(), count);
        assert_eq!(belongings(), before, "after {count}");
        used.push(anonymous());
    }
    // In the first rounds malloc learns what it needs. 8 MiB are 5 KiB for each
    // of the 1536 TPMs since, of which each took 300.
    assert!(used[9] < used[3] + (8 << 10), "in KiB: {used:?}");
}
