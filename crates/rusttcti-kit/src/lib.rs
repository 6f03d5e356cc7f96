// SPDX-License-Identifier: BSD-2-Clause
//! The conformance kit and the test peers of rusttcti.

#![deny(missing_docs)]
