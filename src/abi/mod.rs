// SPDX-License-Identifier: BSD-2-Clause
//! All that faces C: the one place where pointers are believed and panics end.

mod blob;
mod bridge;
mod context;
mod end;
mod esys;
pub(crate) mod exclusive;
pub(crate) mod fork;
mod last_error;
mod ldr;
mod module;
mod native;
pub(crate) mod openssl;
pub(crate) mod outq;
mod panic;
pub(crate) mod sigpipe;
pub(crate) mod spawn;
mod thread;
mod words;

pub(crate) use end::{at_end, before_end, patiently};
pub(crate) use fork::ParentsOnly;
pub(crate) use thread::Thread;

pub use context::{Context, ContextBuilder};
pub use esys::Esys;
pub use ldr::{TctiInfo, TctiLdr};
pub use module::{Magic, Module};
pub use native::Native;

#[cfg(feature = "capi")]
pub(crate) use {
    blob::{Settings, init as init_context, reset},
    last_error::last_text,
    module::init_own,
};

/// What [`export!`](crate::export) expands to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use super::last_error::last_text;
    pub use super::module::{Info, info, init};
    pub use tss_esapi_sys::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO, size_t};
}
