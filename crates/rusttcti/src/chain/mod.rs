// SPDX-License-Identifier: BSD-2-Clause
//! Opens the boxed [`Tcti`] of a chain (`LAYER,key=value:...:TRANSPORT:CONF`).

#![forbid(unsafe_code)]

mod c_module;
mod chains;
mod grammar;
mod help;
mod lists;
mod suspect_path;
// The manual documents the module's layers, and the module is built with all features.
#[cfg(all(test, feature = "wrap"))]
mod manual;
mod suggest;

use std::fmt;
use std::str::FromStr;

pub(crate) use c_module::LoadModule;
pub use chains::Chains;
pub use help::HELP;
pub(crate) use suspect_path::opened_with_warning;

use crate::{Error, Result, Tcti};

/// Opens a chain: the string that follows `rusttcti:` in a TCTI's name.
///
/// ```text
/// CHAIN = { LAYER [ "," key [ "=" value ] ]* ":" } TRANSPORT [ ":" CONF ]
/// ```
///
/// The transports and their CONFs are those of [`transport`](crate::transport), the
/// layers and their options those of [`layer`](crate::layer). CONF is verbatim, in the
/// syntax of tpm2-tss's module of the same name. A chain without a transport uses the
/// system's TPM device. A name that is neither a layer nor a transport of this crate is
/// loaded as a C module, through tctildr. In a layer's option a backslash escapes `,`
/// `:` and `\`.
///
/// ```no_run
/// let mut tcti = rusttcti::open("pcap,file=/tmp/tpm.pcapng:swtpm:port=2321")?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::BadValue`](crate::ErrorKind::BadValue) for a chain that cannot be
/// parsed or has more than 64 layers, or for an unknown name; the error of opening the
/// transport.
pub fn open(chain: &str) -> Result<Box<dyn Tcti>> {
    chain.parse::<Chain>()?.open()
}

/// A parsed chain, with all its options checked, that is not opened yet.
///
/// ```
/// use rusttcti::{Chain, Tcti};
///
/// let chain: Chain = "flush:libtpms".parse()?; // no TPM is made
/// assert_eq!(chain.layers().collect::<Vec<_>>(), ["flush"]);
/// assert_eq!((chain.transport(), chain.conf()), (Some("libtpms"), None));
/// let mut tcti = chain.open()?;
/// # tcti.finalize()?;
///
/// assert!("pcap,flie=x:libtpms".parse::<Chain>().is_err());
/// # Ok::<(), rusttcti::Error>(())
/// ```
///
/// [`Chains`] parses chains with a program's own layers and transports.
pub struct Chain {
    pub(super) text: String,
    pub(super) layers: Vec<Layer>,
    /// The transport; `None` is the system's TPM device.
    pub(super) transport: Option<Transport>,
    pub(super) open_transport: crate::config::OpenTransport,
}

/// A layer whose options were parsed.
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) open: crate::config::OpenLayer,
}

/// The transport of a chain, as it is written there.
pub(super) struct Transport {
    pub(super) name: String,
    pub(super) conf: Option<String>,
}

impl Chain {
    /// Opens the transport, and puts the layers on it, the innermost first.
    ///
    /// # Errors
    /// Those of opening the transport or a layer; the parts that are open by then are
    /// closed.
    pub fn open(&self) -> Result<Box<dyn Tcti>> {
        let transport = self.transport().unwrap_or_default();
        let mut tcti = opened_with_warning(transport, self.conf(), || (self.open_transport)())?;
        for layer in self.layers.iter().rev() {
            tcti = (layer.open)(tcti)?;
        }
        Ok(tcti)
    }

    /// Returns the names of the layers, from the outermost inwards.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|layer| &*layer.name)
    }

    /// Returns the transport's name; `None` if the chain has none.
    pub fn transport(&self) -> Option<&str> {
        Some(&self.transport.as_ref()?.name)
    }

    /// Returns the transport's CONF, verbatim.
    pub fn conf(&self) -> Option<&str> {
        self.transport.as_ref()?.conf.as_deref()
    }
}

impl FromStr for Chain {
    type Err = Error;

    fn from_str(chain: &str) -> Result<Self> {
        Chains::new().parse(chain)
    }
}

impl fmt::Display for Chain {
    /// Writes the chain as it was given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chain").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::grammar::Parts;
    use super::lists::{LAYERS, TRANSPORTS, find};
    use super::*;
    use crate::ErrorKind;
    use proptest::prelude::*;

    fn refusal(chain: &str) -> String {
        let Err(error) = open(chain) else {
            panic!("\"{chain}\" opened")
        };
        assert_eq!(error.kind(), ErrorKind::BadValue, "{error:?}");
        error.to_string()
    }

    fn transport(chain: &str) -> (usize, Option<(&str, Option<&str>)>) {
        let parts = Parts::split(chain, |name| find(LAYERS, name).is_some()).expect("a chain");
        let named = parts.transport;
        (
            parts.layers.len(),
            named.map(|named| (named.name, named.conf)),
        )
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
    fn a_colon_in_an_option_is_told_with_its_escape() {
        let escape = r"a colon in an option's value is written \: (as in pcap,file=C\:/x:libtpms)";
        assert!(refusal("pcap,file=C:/x:libtpms").contains(escape));
        assert!(refusal("pcap,file=C:/x").contains(escape));
        assert!(!refusal("pcap:/x").contains("a colon in"));
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
            if let Err(error) = chain.parse::<Chain>() {
                prop_assert_eq!(error.kind(), ErrorKind::BadValue);
            }
        }

        #[test]
        fn any_conf_reaches_the_transport(conf in any::<String>(), layers in 0..4usize) {
            let chain = format!("{}null:{conf}", "pcap:".repeat(layers));
            let chain: Chain = chain.parse().expect("a chain");
            prop_assert_eq!(chain.layers().count(), layers);
            prop_assert_eq!((chain.transport(), chain.conf()), (Some("null"), Some(conf.as_str())));
        }
    }
}
