//! The yew components, in folders by what the visitor sees.
//!
//! They compute nothing that a pure function over the trace ([`crate::routing`]) could compute.

pub(crate) mod balance;
pub(crate) mod beat;
pub(crate) mod browser;
pub(crate) mod change;
pub(crate) mod charts;
pub(crate) mod compare;
pub(crate) mod cost;
pub(crate) mod inspect;
pub(crate) mod parts;
pub(crate) mod present;
pub(crate) mod shell;
pub(crate) mod stage;
pub(crate) mod story;
pub(crate) mod strip;
pub(crate) mod text;
pub(crate) mod training;
