// SPDX-License-Identifier: BSD-2-Clause
//! Runs each target on the fuzzer's findings and on its seeds, without a fuzzer.

use std::fs;
use std::path::Path;

fn keeps_its_promises(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("regressions")
        .join(name);
    let mut inputs = vec![("no input".to_owned(), Vec::new())];
    for (at, seed) in rusttcti_fuzz::seeds(name).into_iter().enumerate() {
        inputs.push((format!("seed {at}"), seed));
    }
    for file in fs::read_dir(&folder).into_iter().flatten() {
        let path = file.expect("a file").path();
        inputs.push((
            path.display().to_string(),
            fs::read(&path).expect("an input"),
        ));
    }
    assert!(inputs.len() > 1, "{name} has no seeds");
    for (what, input) in inputs {
        // Shown where the test fails.
        println!("{name}: {what}");
        rusttcti_fuzz::run(name, &input);
    }
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            keeps_its_promises(stringify!($name));
        })*

        #[test]
        fn no_target_is_left_out() {
            let names = rusttcti_fuzz::TARGETS.map(|target| target.name);
            assert_eq!(names, [$(stringify!($name)),*]);
            let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
            for folder in fs::read_dir(kept).into_iter().flatten() {
                let name = folder.expect("a folder").file_name();
                assert!(names.iter().any(|known| name == *known), "{name:?}");
            }
        }
    };
}

targets!(
    vtable, libtpms, chain, swtpm_peer, mssim_peer, cmd_peer, state, pcap, elf, command, response,
    wrap, rm, tis
);
