// SPDX-License-Identifier: BSD-2-Clause
//! The example of a transport and the example of a layer pass every check of the
//! conformance kit, as modules that a program loads.

use rusttcti_kit::conformance::{Subject, check};
use rusttcti_kit::module;
use rusttcti_kit::raw_server::a_tpm_for_each_connection;

fn conforms(name_conf: &str) {
    let subject = Subject::module(name_conf).expect("the example's module");
    let report = check(&subject);
    assert!(report.passed(), "{report}");
}

#[test]
fn the_transport_conforms_over_a_tcp_connection() {
    let transport = module::own();
    let address = a_tpm_for_each_connection();
    conforms(&format!("{}:{address}", transport.display()));
}

#[test]
fn the_layer_conforms_over_an_embedded_tpm() {
    let layer = module::own_layer();
    conforms(&format!("{}:,times=3,wait=1:libtpms", layer.display()));
}
