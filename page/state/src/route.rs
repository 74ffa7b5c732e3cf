//! Where an address leads: the place that its fragment names, and what is shown there.
//!
//! `#/?...` is Explore, `#/learn/...` is Learn, `#/lab/...` is Lab. A fragment without a slash (`#text=...`), and a
//! query, are Explore's too: older links have them.

use crate::address::Address;
use std::fmt;

/// A section of the site.
#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    /// One text and its routing.
    Explore(Box<Address>),
    /// The lessons; has the rest of the fragment after `#/learn`.
    Learn(String),
    /// The experiments; has the rest of the fragment after `#/lab`.
    Lab(String),
}

impl Route {
    /// Reads the query of an address (from `?` on) and its fragment (from `#` on).
    pub fn read(query: &str, fragment: &str) -> Self {
        let path = fragment.trim_start_matches('#');
        let rest_of = |place: &str| {
            let rest = path.strip_prefix(place)?;
            (rest.is_empty() || rest.starts_with(['/', '?'])).then(|| rest.to_owned())
        };
        match (rest_of("/learn"), rest_of("/lab")) {
            (Some(rest), _) => Self::Learn(rest),
            (_, Some(rest)) => Self::Lab(rest),
            _ => Self::Explore(Box::new(Address::parse(query, fragment))),
        }
    }
}

/// The fragment, from `#` on; nothing for Explore as it opens.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Explore(address) => address.fmt(f),
            Self::Learn(rest) => write!(f, "#/learn{rest}"),
            Self::Lab(rest) => write!(f, "#/lab{rest}"),
        }
    }
}
