// SPDX-License-Identifier: BSD-2-Clause
//! The transport cmd.

mod transport;
