// SPDX-License-Identifier: BSD-2-Clause
//! ESYS over a Rust transport in the same process: no daemon, no module to
//! install.
//!
//! ```text
//! cargo run --example esys-in-process -- libtpms
//! ```

use std::{env, ptr, slice};

use rusttcti::{Context, Result};
use tss_esapi_sys::{ESYS_TR_NONE, Esys_Free, Esys_GetRandom, TPM2B_DIGEST};

fn main() -> Result<()> {
    let chain = env::args().nth(1).unwrap_or_else(|| "libtpms".to_owned());
    let tcti = Context::new(rusttcti::open(&chain)?);
    let esys = tcti.esys()?;

    let mut random: *mut TPM2B_DIGEST = ptr::null_mut();
    // SAFETY: ESYS's context, and a place for the result, which is read and
    // freed once, after the code said that it is there.
    unsafe {
        // What the transport failed with, in its own words.
        esys.check(Esys_GetRandom(
            esys.as_ptr(),
            ESYS_TR_NONE,
            ESYS_TR_NONE,
            ESYS_TR_NONE,
            16,
            &mut random,
        ))?;
        for byte in slice::from_raw_parts((*random).buffer.as_ptr(), (*random).size.into()) {
            print!("{byte:02x}");
        }
        println!();
        Esys_Free(random.cast());
    }
    Ok(())
}
