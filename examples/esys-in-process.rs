// SPDX-License-Identifier: BSD-2-Clause
//! ESYS over a Rust transport in the same process: no daemon, no module to
//! install.
//!
//! ```text
//! cargo run --example esys-in-process -- libtpms
//! ```

use std::{env, ptr, slice};

use rusttcti::{Context, Error, Result};
use tss_esapi_sys::{
    ESYS_CONTEXT, ESYS_TR_NONE, Esys_Finalize, Esys_Free, Esys_GetRandom, Esys_Initialize,
    TPM2B_DIGEST,
};

fn main() -> Result<()> {
    let chain = env::args().nth(1).unwrap_or_else(|| "libtpms".to_owned());
    // Outlives the ESYS context, which only borrows it.
    let tcti = Context::new(rusttcti::open(&chain)?);

    let mut esys: *mut ESYS_CONTEXT = ptr::null_mut();
    let mut random: *mut TPM2B_DIGEST = ptr::null_mut();
    // SAFETY: places to write to, and a TCTI context that outlives ESYS's; each
    // result is read and freed once, after its code said that it is there.
    unsafe {
        check(Esys_Initialize(&mut esys, tcti.as_ptr(), ptr::null_mut()))?;
        let code = Esys_GetRandom(
            esys,
            ESYS_TR_NONE,
            ESYS_TR_NONE,
            ESYS_TR_NONE,
            16,
            &mut random,
        );
        if code == 0 {
            let bytes = slice::from_raw_parts((*random).buffer.as_ptr(), (*random).size.into());
            println!(
                "{}",
                bytes
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
            );
            Esys_Free(random.cast());
        }
        Esys_Finalize(&mut esys);
        check(code)
    }
}

fn check(code: u32) -> Result<()> {
    if code == 0 {
        Ok(())
    } else {
        Err(Error::from_rc(code))
    }
}
