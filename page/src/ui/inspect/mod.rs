//! Inspectors of a token and of an expert.

pub(crate) mod dossier;
pub(crate) mod expert_inspector;
pub(crate) mod logit_lens;
pub(crate) mod token_inspector;
