// SPDX-License-Identifier: BSD-2-Clause
//! The C boundary: raw pointers are validated and panics stopped here, nowhere else.

mod bridge;
mod buffered;
mod c_context;
mod context;
mod esys;
mod export;
mod foreign_error;
mod last_error;
mod loader;
mod native;
mod refusal;
mod tctildr;

pub use context::{Context, ContextBuilder};
pub use esys::{Esys, OwnedEsys};
pub(crate) use loader::Loader;
pub use loader::{TctiInfo, TctiLdr};
pub use native::Native;

/// The parts that [`export!`](crate::export) expands to, and that rusttcti's own module
/// uses; they are not meant for direct use.
#[doc(hidden)]
pub mod __private {
    pub use super::c_context::{Settings, init as init_context, reset};
    pub use super::export::{Info, info, init, init_own};
    pub use super::last_error::last_text;
    pub use crate::chain::HELP;
    pub use tss_esapi_sys::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO, size_t};
}
