// SPDX-License-Identifier: BSD-2-Clause
//! The list of all transports, and the list of all layers.

#![forbid(unsafe_code)]

use crate::Result;
use crate::config::setting::Setting;
use crate::config::{OpenLayer, OpenTransport, Options, parsed};
use crate::layer;
use crate::transport::{cmd, device, i2c, mssim, null, replay, spidev, swtpm};
#[cfg(feature = "libtpms")]
use crate::transport::{libtpms, libtpms_copy};

/// Parses a transport's CONF.
type ParseTransport = fn(Option<&str>) -> Result<OpenTransport>;
/// Parses a layer's options.
type ParseLayer = fn(&mut Options) -> Result<OpenLayer>;

/// A transport or a layer.
pub(crate) struct Entry<Parse: 'static> {
    pub(crate) name: &'static str,
    /// The settings of its CONF or its options.
    pub(crate) settings: &'static [Setting],
    pub(super) parse: Parse,
}

pub(crate) const TRANSPORTS: &[Entry<ParseTransport>] = &[
    transport("device", device::SETTINGS, parsed::<device::Device>),
    transport("swtpm", swtpm::SETTINGS, parsed::<swtpm::Swtpm>),
    transport("mssim", mssim::SETTINGS, parsed::<mssim::Mssim>),
    transport("cmd", cmd::SETTINGS, parsed::<cmd::Cmd>),
    #[cfg(feature = "libtpms")]
    transport("libtpms", libtpms::SETTINGS, parsed::<libtpms::Libtpms>),
    transport("spidev", spidev::SETTINGS, parsed::<spidev::Spidev>),
    transport("i2c", i2c::SETTINGS, parsed::<i2c::I2c>),
    #[cfg(feature = "libtpms")]
    transport(
        "libtpms-copy",
        libtpms_copy::SETTINGS,
        parsed::<libtpms_copy::LibtpmsCopy>,
    ),
    transport("replay", replay::SETTINGS, parsed::<replay::Replay>),
    transport("null", null::SETTINGS, parsed::<null::Null>),
];

pub(crate) const LAYERS: &[Entry<ParseLayer>] = &[
    #[cfg(feature = "pcap")]
    layer("pcap", layer::pcap::SETTINGS, layer::pcap::parse),
    layer("flush", layer::flush::SETTINGS, layer::flush::parse),
    layer("trace", layer::trace::SETTINGS, layer::trace::parse),
    layer("retry", layer::retry::SETTINGS, layer::retry::parse),
    layer(
        "deadline",
        layer::deadline::SETTINGS,
        layer::deadline::parse,
    ),
    layer("fault", layer::fault::SETTINGS, layer::fault::parse),
    layer("reset", layer::reset::SETTINGS, layer::reset::parse),
    layer("startup", layer::startup::SETTINGS, layer::startup::parse),
    layer("rm", layer::rm::SETTINGS, layer::rm::parse),
    #[cfg(feature = "wrap")]
    layer("wrap", layer::wrap::SETTINGS, layer::wrap::parse),
];

const fn transport(
    name: &'static str,
    settings: &'static [Setting],
    parse: ParseTransport,
) -> Entry<ParseTransport> {
    Entry {
        name,
        settings,
        parse,
    }
}

const fn layer(
    name: &'static str,
    settings: &'static [Setting],
    parse: ParseLayer,
) -> Entry<ParseLayer> {
    Entry {
        name,
        settings,
        parse,
    }
}

/// Returns the entry of this name.
pub(super) fn find<Parse>(
    list: &'static [Entry<Parse>],
    name: &str,
) -> Option<&'static Entry<Parse>> {
    list.iter().find(|entry| entry.name == name)
}
