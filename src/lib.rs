// SPDX-License-Identifier: BSD-2-Clause
//! The exported C functions. include/tss2/tss2_tcti_rusttcti.h is generated from this
//! file: C programmers read these docs there.
//!
//! All functions rely on C's side of the interface: a pointer is NULL or valid for its
//! type, and a context was initialised by an Init function.

#![allow(non_snake_case)]
// The safety contract of each is the C interface's; see the head of this file.
#![allow(clippy::missing_safety_doc)]

use std::ffi::{CStr, c_char};

use tss_esapi_sys::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO, size_t};

use rusttcti::__private::{self as private, Settings};
use rusttcti::transport::swtpm::Swtpm;
use rusttcti::transport::{cmd::Cmd, device::Device, libtpms::Libtpms, mssim::Mssim, null::Null};
use rusttcti::transport::{i2c::I2c, spidev::Spidev};

const NAME: &CStr = c"rusttcti";
const DESCRIPTION: &CStr = c"TPM transports in Rust, by name: rusttcti:TRANSPORT:CONF";
const CONFIG_HELP: &CStr = private::HELP;

static INFO: private::Info = private::Info::new(
    NAME,
    DESCRIPTION,
    CONFIG_HELP,
    Some(Tss2_Tcti_Rusttcti_Init),
);

/// Returns this module's name, description, configuration and Init function.
/// Tss2_TctiLdr calls it.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}

/// Initialises a context from a whole chain,
/// `{ LAYER [ "," key "=" value ]* ":" } TRANSPORT [ ":" CONF ]`.
///
/// With a NULL `tctiContext`, `*size` becomes the size that a context needs.
/// Otherwise `tctiContext` is memory of `*size` bytes, aligned as by malloc(). `conf`
/// is the chain; NULL or an empty string is the system's TPM device.
///
/// Returns TSS2_RC_SUCCESS, or TSS2_TCTI_RC_BAD_REFERENCE (`size` is NULL),
/// TSS2_TCTI_RC_BAD_VALUE (`*size` is too small; the chain has a mistake), or the error
/// of opening the transport. On an error nothing was written to `tctiContext`, and
/// Tss2_Tcti_Rusttcti_LastError() returns the reason.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Rusttcti_Init(
    tcti_context: *mut TSS2_TCTI_CONTEXT,
    size: *mut size_t,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller has the same contract.
    unsafe {
        private::init_context(
            "rusttcti",
            tcti_context,
            size,
            conf,
            Settings::DEFAULT,
            |chain| rusttcti::open(chain.unwrap_or("")),
        )
    }
}

/// Exports the Init function of each transport, one line each.
macro_rules! inits {
    ($($(#[$doc:meta])* $name:ident => $transport:ty;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            tcti_context: *mut TSS2_TCTI_CONTEXT,
            size: *mut size_t,
            conf: *const c_char,
        ) -> TSS2_RC {
            // SAFETY: the caller has the same contract.
            unsafe { private::init_own::<$transport>(tcti_context, size, conf) }
        }
    )*};
}

// The header's test expands each line to a function before cbindgen reads it.
inits! {
    /// Initialises a context of the transport `device`. `conf` is the path of
    /// a TPM device; NULL tries /dev/tpmrm0, /dev/tpm0 and /dev/tcm0.
    ///
    /// Otherwise as Tss2_Tcti_Rusttcti_Init().
    Tss2_Tcti_Rusttcti_Device_Init => Device;

    /// Initialises a context of the transport `swtpm`. `conf` is
    /// `host=HOST,port=PORT` or `path=PATH`; NULL is localhost, port 2321.
    /// `persistent=1` keeps the connection open, which shuts other processes out.
    ///
    /// Otherwise as Tss2_Tcti_Rusttcti_Init().
    Tss2_Tcti_Rusttcti_Swtpm_Init => Swtpm;

    /// Initialises a context of the transport `mssim`. `conf` is
    /// `host=HOST,port=PORT` or `path=PATH`; NULL is localhost, port 2321.
    ///
    /// Otherwise as Tss2_Tcti_Rusttcti_Init().
    Tss2_Tcti_Rusttcti_Mssim_Init => Mssim;

    /// Initialises a context of the transport `cmd`. `conf` is a command line
    /// for `/bin/sh -c`, which reads TPM commands and writes responses.
    ///
    /// Otherwise as Tss2_Tcti_Rusttcti_Init().
    Tss2_Tcti_Rusttcti_Cmd_Init => Cmd;

    /// Initialises a context of the transport `libtpms`, a TPM inside this
    /// process. `conf` is the path of its state file; NULL is a TPM in memory.
    ///
    /// Otherwise as Tss2_Tcti_Rusttcti_Init().
    Tss2_Tcti_Rusttcti_Libtpms_Init => Libtpms;

    /// Initialises a context of the transport `spidev`, a TPM on an SPI bus.
    /// `conf` is `PATH,speed=HZ,share=1`, in which each part may be left out; NULL is
    /// /dev/spidev0.1.
    ///
    /// Otherwise as Tss2_Tcti_Rusttcti_Init().
    Tss2_Tcti_Rusttcti_Spidev_Init => Spidev;

    /// Initialises a context of the transport `i2c`, a TPM on an I2C bus.
    /// `conf` is `PATH,address=NUMBER,share=1`, in which all but the path may be left
    /// out.
    ///
    /// Otherwise as Tss2_Tcti_Rusttcti_Init().
    Tss2_Tcti_Rusttcti_I2c_Init => I2c;

    /// Initialises a context of the transport `null`, which has no TPM and
    /// refuses every command. `conf` is ignored.
    ///
    /// Otherwise as Tss2_Tcti_Rusttcti_Init().
    Tss2_Tcti_Rusttcti_Null_Init => Null;
}

/// Power-cycles the TPM behind a context of this module: permanent state stays, all
/// else is lost.
///
/// Returns TSS2_RC_SUCCESS; TSS2_TCTI_RC_NOT_IMPLEMENTED if the transport does not
/// control its TPM's power; TSS2_TCTI_RC_BAD_SEQUENCE while a response is awaited;
/// TSS2_TCTI_RC_BAD_CONTEXT for a context of another module, such as the one that
/// Tss2_TctiLdr_Initialize() makes around ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Rusttcti_Reset(tcti_context: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the caller has the same contract.
    unsafe { private::reset(tcti_context) }
}

/// Returns the error of this thread's last failed call of this module, as a sentence in
/// UTF-8; empty if no call has failed. Never NULL. The text is valid until the thread's
/// next failure.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Rusttcti_LastError() -> *const c_char {
    private::last_text()
}
