// SPDX-License-Identifier: BSD-2-Clause
//! From a chain (`LAYER,key=value:...:TRANSPORT:CONF`) to a boxed [`Tcti`]: the
//! one list of the layers and transports that exist.

#![forbid(unsafe_code)]

// The manual has the layers of the module, which is built with all features.
#[cfg(all(test, feature = "wrap"))]
mod manual;

use std::cell::Cell;

use crate::config::Options;
use crate::config::setting::Setting;
use crate::config::setting::Text;
use crate::layer;
use crate::transport::{cmd, device, libtpms, mssim, null, swtpm};
use crate::{Error, ErrorKind, Module, Result, Tcti, TctiLdr};

/// What a transport is opened from: its CONF.
type OpenTransport = fn(Option<&str>) -> Result<Box<dyn Tcti>>;
/// What a layer is opened from: its options, and what it is put on.
type OpenLayer = fn(Options, Box<dyn Tcti>) -> Result<Box<dyn Tcti>>;

/// A transport or a layer.
pub(crate) struct Entry<Open: 'static> {
    pub(crate) name: &'static str,
    /// What its CONF, or its options, can say.
    pub(crate) settings: &'static [Setting],
    open: Open,
}

pub(crate) const TRANSPORTS: &[Entry<OpenTransport>] = &[
    transport::<device::Device>("device", device::SETTINGS),
    transport::<swtpm::Swtpm>("swtpm", swtpm::SETTINGS),
    transport::<mssim::Mssim>("mssim", mssim::SETTINGS),
    transport::<cmd::Cmd>("cmd", cmd::SETTINGS),
    transport::<libtpms::Libtpms>("libtpms", libtpms::SETTINGS),
    transport::<null::Null>("null", null::SETTINGS),
];

pub(crate) const LAYERS: &[Entry<OpenLayer>] = &[
    Entry {
        name: "pcap",
        settings: layer::pcap::SETTINGS,
        open: layer::pcap::open,
    },
    Entry {
        name: "flush",
        settings: layer::flush::SETTINGS,
        open: layer::flush::open,
    },
    #[cfg(feature = "wrap")]
    Entry {
        name: "wrap",
        settings: layer::wrap::SETTINGS,
        open: layer::wrap::open,
    },
];

const fn transport<T: Module>(
    name: &'static str,
    settings: &'static [Setting],
) -> Entry<OpenTransport> {
    Entry {
        name,
        settings,
        open: boxed::<T>,
    }
}

/// The configuration, for those who ask the module (`TSS2_TCTI_INFO.config_help`).
#[doc(hidden)]
pub const HELP: &std::ffi::CStr = HELP_TEXT.as_c_str();
const HELP_TEXT: &Text = &Text::new("[LAYER[,KEY=VALUE...]:]... [TRANSPORT[:CONF]]; ")
    .and("without a transport, the system's TPM device. Transports and their CONF: ")
    .and_entries(TRANSPORTS)
    .and("; any C module's name: its own. Layers and their options: ")
    .and_entries(LAYERS)
    .and(".");

impl Text {
    const fn and_entries<Open>(mut self, entries: &[Entry<Open>]) -> Self {
        let mut at = 0;
        while at < entries.len() {
            let entry = &entries[at];
            self = self.and(if at > 0 { "; " } else { "" });
            self = self.and(entry.name).and(": ");
            self = match entry.settings {
                [] => self.and("no options"),
                settings => self.and_settings(settings),
            };
            at += 1;
        }
        self
    }
}

fn boxed<T: Module>(conf: Option<&str>) -> Result<Box<dyn Tcti>> {
    Ok(Box::new(T::init(conf)?))
}

/// Opens a chain: the string that follows `rusttcti:` in a TCTI's name.
///
/// ```text
/// CHAIN = { LAYER [ "," key "=" value ]* ":" } TRANSPORT [ ":" CONF ]
/// ```
///
/// The transports and their CONFs are those of [`transport`](crate::transport), the
/// layers and their options those of [`layer`](crate::layer).
/// CONF is verbatim, in the syntax of tpm2-tss's module of the same name. No
/// transport at all is the system's TPM device. A name that is neither a layer
/// nor a transport of this crate is loaded as a C module, through tctildr. In a
/// layer's option a backslash escapes `,` `:` and `\`.
///
/// ```no_run
/// let mut tcti = rusttcti::open("pcap,file=/tmp/tpm.pcapng:swtpm:port=2321")?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::BadValue`] for a chain that cannot be read or has more than 64
/// layers, or a name that nothing has; whatever opening the transport fails with.
pub fn open(chain: &str) -> Result<Box<dyn Tcti>> {
    let plan = Plan::parse(chain)?;
    let mut tcti = match plan.transport {
        None => device::Device::init(None).map(|tcti| Box::new(tcti) as Box<dyn Tcti>)?,
        Some((name, conf)) => match find(TRANSPORTS, name) {
            Some(transport) => (transport.open)(conf)?,
            None => foreign(name, conf)?,
        },
    };
    for (open, options) in plan.layers.into_iter().rev() {
        tcti = open(options, tcti)?;
    }
    Ok(tcti)
}

/// The most layers that a chain may have: each takes some of the stack of the
/// thread that uses it.
const MOST_LAYERS: usize = 64;

/// How often a chain may be the CONF of a module that opens chains, which is
/// this one again.
const MOST_WITHIN: usize = 8;

thread_local! {
    /// How many chains this thread is opening, each of them within the one before.
    static WITHIN: Cell<usize> = const { Cell::new(0) };
}

/// Opens what may come back to open a chain.
fn within<T>(open: impl FnOnce() -> Result<T>) -> Result<T> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            WITHIN.set(WITHIN.get() - 1);
        }
    }

    if WITHIN.get() >= MOST_WITHIN {
        return Err(Error::new(
            ErrorKind::BadValue,
            format!("a chain within a chain, more than {MOST_WITHIN} times over"),
        ));
    }
    WITHIN.set(WITHIN.get() + 1);
    let _leave = Leave;
    open()
}

/// A C module, by tctildr.
fn foreign(name: &str, conf: Option<&str>) -> Result<Box<dyn Tcti>> {
    if let Some((known, _)) = name.split_once(',') {
        if find(TRANSPORTS, known).is_some() {
            return Err(Error::new(
                ErrorKind::BadValue,
                format!(
                    "\"{name}\": the transport {known} takes no options before its colon \
                     (write {known}:CONF)"
                ),
            ));
        }
    }
    match within(|| TctiLdr::shielded(name, conf)) {
        Ok(tcti) => Ok(Box::new(tcti)),
        Err(error) if TctiLdr::is_available(name) => Err(error),
        // The loader's own failures have codes of the TCTI layer, but for the
        // one for a library that it found and that has no such function.
        Err(error) if error.rc() >> 16 != 10 => Err(Error::with_source(
            ErrorKind::BadValue,
            format!("the library \"{name}\" is no TCTI module: it exports no Tss2_Tcti_Info"),
            error,
        )),
        Err(error) => Err(Error::with_source(
            ErrorKind::BadValue,
            format!(
                "there is no transport or layer \"{name}\", and no C module of that name \
                 (transports: {}; layers: {})",
                names(TRANSPORTS),
                names(LAYERS)
            ),
            error,
        )),
    }
}

/// A chain, read to the last of its options by whoever reads them, and not
/// opened: its layers, from the outermost inwards, and the transport.
#[cfg(fuzzing)]
pub(crate) fn read(chain: &str) -> Result<crate::fuzzing::Chain> {
    let plan = Plan::parse(chain)?;
    let place = match plan.transport {
        Some((name, conf)) => crate::transport::read(name, conf.unwrap_or(""))?,
        None => None,
    };
    let transport = plan.transport;
    let layers = plan.layers.into_iter();
    let layers = layers.map(|(_, options)| crate::layer::read(options));
    Ok(crate::fuzzing::Chain {
        layers: layers.collect::<Result<_>>()?,
        transport: transport.map(|(name, conf)| (name.to_owned(), conf.map(str::to_owned))),
        place,
    })
}

fn find<Open>(list: &'static [Entry<Open>], name: &str) -> Option<&'static Entry<Open>> {
    list.iter().find(|entry| entry.name == name)
}

fn names<Open>(list: &[Entry<Open>]) -> String {
    list.iter()
        .map(|entry| entry.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A chain, read but not opened.
struct Plan<'a> {
    /// From the outermost layer inwards.
    layers: Vec<(OpenLayer, Options)>,
    /// Its name and CONF; none where the chain ends before.
    transport: Option<(&'a str, Option<&'a str>)>,
}

impl<'a> Plan<'a> {
    fn parse(chain: &'a str) -> Result<Self> {
        let mut layers = Vec::new();
        let mut rest = chain;
        loop {
            let name = &rest[..rest.find([',', ':']).unwrap_or(rest.len())];
            let Some(layer) = find(LAYERS, name) else {
                break;
            };
            if layers.len() == MOST_LAYERS {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    format!("the chain has more than {MOST_LAYERS} layers"),
                ));
            }
            let (options, after) = Options::parse(name, &rest[name.len()..])?;
            layers.push((layer.open, options));
            rest = after;
        }
        let transport = match rest.split_once(':') {
            _ if rest.is_empty() => None,
            Some(("", _)) => {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    format!("the chain \"{chain}\" names no transport before \":\""),
                ));
            }
            Some((name, conf)) => Some((name, Some(conf))),
            None => Some((rest, None)),
        };
        Ok(Self { layers, transport })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(chain: &str) -> String {
        let Err(error) = open(chain) else {
            panic!("\"{chain}\" opened")
        };
        assert_eq!(error.kind(), ErrorKind::BadValue, "{error:?}");
        error.to_string()
    }

    fn transport(chain: &str) -> (usize, Option<(&str, Option<&str>)>) {
        let plan = Plan::parse(chain).expect("a chain");
        (plan.layers.len(), plan.transport)
    }

    #[test]
    fn conf_is_verbatim_behind_the_transport_s_colon() {
        assert_eq!(transport("null"), (0, Some(("null", None))));
        assert_eq!(transport("null:"), (0, Some(("null", Some("")))));
        assert_eq!(
            transport("swtpm:host=::1,port=2321"),
            (0, Some(("swtpm", Some("host=::1,port=2321"))))
        );
        assert_eq!(
            transport(r"cmd:a\:b, c"),
            (0, Some(("cmd", Some(r"a\:b, c"))))
        );
        assert_eq!(
            transport(r"pcap,file=a\:b:pcap:libtpms:/a:b,c"),
            (2, Some(("libtpms", Some("/a:b,c"))))
        );
    }

    #[test]
    fn no_transport_is_the_device_and_never_a_software_tpm() {
        for chain in ["", "pcap", "pcap:", "pcap,file=x", "pcap,file=x:"] {
            assert_eq!(transport(chain).1, None, "{chain}");
        }
    }

    #[test]
    fn a_name_that_nothing_has_is_refused_with_those_there_are() {
        for chain in [
            "nosuchtpm",
            "nosuchtpm:conf",
            "pcap,file=/dev/null:nosuchtpm",
        ] {
            let text = refusal(chain);
            assert!(
                text.contains("no transport or layer \"nosuchtpm\""),
                "{text}"
            );
            for transport in TRANSPORTS {
                assert!(text.contains(transport.name), "{text}");
            }
            for layer in LAYERS {
                assert!(text.contains(layer.name), "{text}");
            }
        }
    }

    #[test]
    fn a_transport_with_options_before_its_colon_is_refused_with_the_remedy() {
        assert!(refusal("swtpm,port=2321").contains("write swtpm:CONF"));
    }

    #[test]
    fn a_chain_without_a_name_before_a_colon_is_refused() {
        assert!(refusal(":").contains("names no transport"));
        assert!(refusal("pcap::null").contains("names no transport"));
    }

    #[test]
    fn no_chain_is_so_long_that_it_takes_all_of_a_thread_s_stack() {
        assert_eq!(transport(&format!("{}null", "flush:".repeat(64))).0, 64);
        for count in [65, 500_000] {
            let text = refusal(&format!("{}null", "flush:".repeat(count)));
            assert_eq!(text, "the chain has more than 64 layers");
        }
    }

    #[test]
    fn null_opens_and_refuses_to_transmit() {
        let mut tcti = open("null:whatever").expect("it opens");
        let error = tcti.transmit(&[]).expect_err("it refuses");
        assert_eq!(error.kind(), ErrorKind::NotImplemented);
    }

    proptest! {
        #[test]
        fn any_text_is_a_plan_or_a_bad_value(chain in any::<String>()) {
            if let Err(error) = Plan::parse(&chain) {
                prop_assert_eq!(error.kind(), ErrorKind::BadValue);
            }
        }

        #[test]
        fn any_conf_reaches_the_transport(conf in any::<String>(), layers in 0..4usize) {
            let chain = format!("{}null:{conf}", "pcap:".repeat(layers));
            let plan = Plan::parse(&chain).expect("a chain");
            prop_assert_eq!(plan.layers.len(), layers);
            prop_assert_eq!(plan.transport, Some(("null", Some(conf.as_str()))));
        }
    }
}
