// SPDX-License-Identifier: BSD-2-Clause
//! The state file of swtpm, given as one of `libtpms`.

use rusttcti_kit::commands::get_random;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::ok;

use crate::state::assert_refused;

#[test]
fn the_state_of_swtpm_is_refused_by_its_name_and_stays_as_it_is() {
    let swtpm = Swtpm::unix();
    let mut tpm = rusttcti::open(&format!("swtpm:{}", swtpm.conf())).expect("it opens");
    ok(&mut *tpm, &get_random(16));
    rusttcti_kit::proc::until("its state", || swtpm.state_file().exists());
    let state = std::fs::read(swtpm.state_file()).expect("its state");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    assert_refused(
        &path,
        &state,
        "cannot be used: it is swtpm's (libtpms-copy starts",
    );
    assert_refused(
        &path,
        &state[..state.len() - 1],
        "cannot be used: it is swtpm's state file, and is cut short or changed",
    );
}
