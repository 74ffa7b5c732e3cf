//! A sweep over k, the number of experts per token: the loss, the cost and the speed of one text for each k.

use super::text::Session;
use crate::error::{Error, Result};
use crate::routing::effect::{KPoint, mean_bits};
use crate::routing::policy::{Policy, Rule};
use crate::shape::Architecture;
use crate::tokenizer::Tokenizer;

/// Policies, each with the number of experts per token that it sets.
pub type ByChoices = Vec<(usize, Policy)>;

/// The policies of a sweep over k = 1 ..= E, each on top of `policy`; an [`Error::Input`] where k cannot be changed.
pub fn choices_sweep(policy: &Policy, architecture: &Architecture) -> Result<ByChoices> {
    let experts = architecture.layers.iter().filter(|layer| layer.moe.gate.is_some()).map(|layer| layer.moe.experts);
    let Some(most) = experts.min() else {
        return Err(Error::Input("the model has no experts, so there is no k to change".into()));
    };
    let with = |k: usize| {
        let mut policy = policy.clone();
        policy.0.push(Rule { top_k: Some(k), ..Rule::default() });
        (k, policy)
    };
    let sweep: ByChoices = (1..=most).map(with).filter(|(_, policy)| policy.settings(architecture).is_ok()).collect();
    match sweep.is_empty() {
        false => Ok(sweep),
        true => with(1).1.settings(architecture).map(|_| sweep),
    }
}

/// Runs `ids` on `session`, whose settings use `k` experts per token, and returns one point of the sweep. `now`
/// returns the time in milliseconds.
pub async fn sweep_point(
    session: &mut Session,
    model: &Architecture,
    ids: &[u32],
    tokenizer: Option<&Tokenizer>,
    k: usize,
    now: impl Fn() -> f64,
) -> Result<KPoint> {
    let start = now();
    let trace = session.run(ids, tokenizer, |_| {}).await?;
    let seconds = (now() - start) / 1000.0;
    let mut with_k = model.clone();
    with_k.layers.iter_mut().filter(|layer| layer.moe.gate.is_some()).for_each(|layer| layer.moe.top_k = k);
    let active = with_k.cost().active_parameters();
    let bits = mean_bits(&trace);
    Ok(KPoint {
        k,
        bits_per_token: bits.per_token,
        bits_per_byte: bits.per_byte,
        active_parameters: active,
        tokens_per_second: ids.len() as f64 / seconds.max(1e-9),
    })
}
