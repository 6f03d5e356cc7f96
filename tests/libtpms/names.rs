// SPDX-License-Identifier: BSD-2-Clause
//! State files that are made by mistake, because the parts of a chain are in the wrong
//! order or in another syntax.

use rusttcti::open;
use rusttcti_kit::again;
use rusttcti_kit::loaded::Loaded;

/// Set to what a scene opens.
const CONF: &str = "RUSTTCTI_TEST_CONF";

#[test]
#[ignore = "a scene of other tests"]
fn scene_chain() {
    let chain = std::env::var(CONF).expect("a chain");
    drop(open(&chain).unwrap_or_else(|error| panic!("{}", error.report())));
}

#[test]
#[ignore = "a scene of other tests"]
fn scene_init_of_the_transport() {
    let path = std::env::var(CONF).expect("a configuration");
    drop(Loaded::by("Tss2_Tcti_Rusttcti_Libtpms_Init").open(&path));
}

#[test]
fn a_state_file_that_was_made_by_mistake_is_told_with_the_right_syntax_and_only_when_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines_of = |scene: &str, conf: &str| -> Vec<String> {
        let mut scene = again::only!(scene);
        let output = again::played(scene.env(CONF, conf).current_dir(&folder));
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    };
    for (conf, shown, advice) in [
        (
            "pcap,file=x:libtpms",
            "pcap,file=x:libtpms",
            "layers stand before the transport (write rusttcti:pcap,file=x:libtpms)",
        ),
        (
            "path=my.tpm",
            "path=my.tpm",
            "the path stands alone (write my.tpm, in a chain libtpms:my.tpm)",
        ),
        (
            "my.tpm ",
            "my.tpm ",
            "the space at its beginning or end is part of it (the name without is my.tpm, in a \
             chain \
             libtpms:my.tpm)",
        ),
        ("my\ttpm", "my\\ttpm", "it contains a control character"),
        ("~", "~", "write $HOME or the whole path"),
    ] {
        for (scene, opened) in [
            ("scene_chain", format!("retry:libtpms:{conf}")),
            ("scene_init_of_the_transport", conf.to_owned()),
        ] {
            let lines = lines_of(scene, &opened);
            let [line] = &lines[..] else {
                panic!("{scene}: one line: {lines:#?}")
            };
            assert!(line.starts_with("WARNING:tcti:"), "{line}");
            let made = format!("libtpms made a new state file with the name \"{shown}\": ");
            assert!(line.contains(&made) && line.contains(advice), "{line}");
            let file = folder.path().join(conf);
            assert!(file.is_file(), "{conf}");
            let again = lines_of(scene, &opened);
            assert_eq!(again, [] as [&str; 0], "it is there already");
            std::fs::remove_file(file).expect("removed");
        }
    }
    assert_eq!(lines_of("scene_chain", "libtpms:my.tpm"), [] as [&str; 0]);
}
