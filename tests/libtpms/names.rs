// SPDX-License-Identifier: BSD-2-Clause
//! State files that are made by mistake, because a chain was written in another order
//! or with another syntax.

use rusttcti::open;
use rusttcti_kit::again;

const CHAIN: &str = "RUSTTCTI_TEST_CHAIN";

#[test]
#[ignore = "a scene of other tests"]
fn scene_open() {
    let chain = std::env::var(CHAIN).expect("a chain");
    drop(open(&chain).unwrap_or_else(|error| panic!("{}", error.report())));
}

#[test]
fn a_state_file_that_was_made_by_mistake_is_told_with_the_right_syntax_and_only_when_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines_of = |chain: &str| -> Vec<String> {
        let mut scene = again::only!("scene_open");
        let output = again::played(scene.env(CHAIN, chain).current_dir(&folder));
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
            "the path stands alone (write libtpms:my.tpm)",
        ),
        (
            "my.tpm ",
            "my.tpm ",
            "a space at its beginning or end belongs to it (write libtpms:my.tpm for a name \
             without)",
        ),
        ("my\ttpm", "my\\ttpm", "there is a control character in it"),
        ("~", "~", "write $HOME or the whole path"),
    ] {
        let chain = format!("retry:libtpms:{conf}");
        let lines = lines_of(&chain);
        let [line] = &lines[..] else {
            panic!("one line: {lines:#?}")
        };
        assert!(line.starts_with("WARNING:tcti:"), "{line}");
        let made = format!("libtpms made a new state file with the name \"{shown}\": ");
        assert!(line.contains(&made) && line.contains(advice), "{line}");
        assert!(folder.path().join(conf).is_file(), "{conf}");
        assert_eq!(lines_of(&chain), [] as [&str; 0], "it is there already");
    }
    assert_eq!(lines_of("libtpms:my.tpm"), [] as [&str; 0]);
}
