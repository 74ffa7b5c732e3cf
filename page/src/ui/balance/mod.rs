//! How evenly the work is spread.

pub(crate) mod filling_view;
pub(crate) mod load_balance;
