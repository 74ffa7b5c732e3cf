//! The load balance.

pub(crate) mod filling_view;
pub(crate) mod load_balance;
