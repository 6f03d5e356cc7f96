// SPDX-License-Identifier: BSD-2-Clause
//! A program of the tss-esapi crate over rusttcti's module.
//!
//! tss-esapi 7 accepts four names of TCTIs (its issue 533), and passes a device's path
//! on unchanged. So the module is linked under the name of the device module, in a
//! folder that only this program searches, and the chain is the "path":
//!
//! ```text
//! ln -s /usr/lib/x86_64-linux-gnu/libtss2-tcti-rusttcti.so.0 DIR/libtss2-tcti-device.so.0
//! LD_LIBRARY_PATH=DIR TCTI=device:libtpms:/path/of/state cargo run
//! ```

use tss_esapi::{Context, TctiNameConf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut context = Context::new(TctiNameConf::from_environment_variable()?)?;
    let random = context.get_random(16)?;
    println!(
        "{}",
        random
            .value()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    );
    Ok(())
}
