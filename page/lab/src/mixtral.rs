//! The parameters of Mixtral 8x7B (Jiang and others 2024, table 1), part by part, for any number of experts.

use crate::goal::Measures;

const LAYERS: u64 = 32;
const WIDTH: u64 = 4096;
const FEED_FORWARD: u64 = 14336;
const HEADS: u64 = 32;
const KEY_HEADS: u64 = 8;
const VOCABULARY: u64 = 32000;

/// Bytes of a weight in bf16.
const BYTES: u64 = 2;

/// Parameters of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name among the texts.
    pub name: &'static str,
    /// All.
    pub total: u64,
    /// Those that a token uses.
    pub active: u64,
}

/// The parts, for `experts` in each layer of which a token uses `top_k`.
pub fn parts(experts: u64, top_k: u64) -> [Part; 4] {
    let same = |name, total| Part { name, total, active: total };
    let head = WIDTH / HEADS;
    let expert = 3 * WIDTH * FEED_FORWARD;
    // One expert needs no router.
    let routers = if experts > 1 { LAYERS * WIDTH * experts } else { 0 };
    [
        same("embeddings", 2 * VOCABULARY * WIDTH),
        same("attention", LAYERS * WIDTH * head * 2 * (HEADS + KEY_HEADS)),
        same("routers", routers + (2 * LAYERS + 1) * WIDTH),
        Part { name: "experts", total: LAYERS * experts * expert, active: LAYERS * top_k.min(experts) * expert },
    ]
}

/// The figures of the picture, in billions, and in GB.
pub fn measures(experts: u64, top_k: u64) -> Measures {
    let parts = parts(experts, top_k);
    let total = parts.iter().map(|part| part.total).sum::<u64>() as f64 / 1e9;
    let active = parts.iter().map(|part| part.active).sum::<u64>() as f64 / 1e9;
    let memory = total * BYTES as f64;
    let all =
        [("total", total), ("active", active), ("share", active / total), ("memory", memory), ("idle", total - active)];
    all.map(|(name, value)| (name.to_owned(), value)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_mixtral() {
        let sum = |of: fn(&Part) -> u64| parts(8, 2).iter().map(of).sum::<u64>();
        assert_eq!((sum(|part| part.total), sum(|part| part.active)), (46_702_792_704, 12_879_925_248));
        assert!((measures(1, 1)["total"] - 7.24).abs() < 0.01);
        assert_eq!(measures(8, 8)["idle"], 0.0);
    }
}
