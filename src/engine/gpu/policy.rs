//! Encodes settings as the 32-bit words that `shaders/shared/choose.wgsl` reads.

use crate::shape::setting::SETTINGS;
use crate::shape::{GateKind, GroupLimit, GroupScore, Limit, Noise, Setting};

/// Words of a setting before the words of its experts.
const HEADER: usize = 16;
/// Words for each expert.
const PER_EXPERT: usize = 4;

/// Number of words that hold any settings of a layer with `experts` experts.
pub fn room(experts: usize) -> usize {
    2 + SETTINGS * (HEADER + PER_EXPERT * experts)
}

/// Encodes the number of settings, the layer's number, and the settings.
pub fn words(layer: usize, settings: &[Setting]) -> Vec<u32> {
    let mut words = vec![settings.len() as u32, layer as u32];
    settings.iter().for_each(|setting| push(setting, &mut words));
    words
}

/// The number that stands for a gate kind in `shaders/shared/choose.wgsl`.
pub fn kind(kind: GateKind) -> u32 {
    match kind {
        GateKind::SoftmaxTopK | GateKind::TopKOfSoftmax | GateKind::NoisyTopK | GateKind::Soft => 0,
        GateKind::SigmoidBias => 1,
        GateKind::Hierarchical => 2,
        GateKind::Hash => 3,
        GateKind::Random => 4,
        GateKind::RoundRobin => 5,
        GateKind::ExpertChoice => 6,
        GateKind::SoftmaxBias => 7,
        GateKind::SigmoidTopK => 8,
        GateKind::SparseMixer => 9,
    }
}

/// The number that stands for the score of groups in `shaders/shared/choose.wgsl`; 0 where the gate has no group
/// limit.
pub fn group_score(limit: Option<GroupLimit>) -> u32 {
    limit.map_or(0, |limit| match limit.score {
        GroupScore::Max => 1,
        GroupScore::TwoBest => 2,
    })
}

fn push(setting: &Setting, words: &mut Vec<u32>) {
    let std: f32 = match setting.noise {
        Noise::Off => 0.0,
        Noise::Of(std) => std,
        Noise::Learned => -1.0,
    };
    let (most, group) = match setting.limit {
        None => (0, 1),
        Some(Limit { most, group, next_best }) => (most as u32, group as u32 | u32::from(next_best) << 31),
    };
    words.extend([
        setting.first as u32,
        kind(setting.gate.kind),
        setting.top_k as u32,
        u32::from(setting.gate.renormalise),
        setting.temperature.to_bits(),
        std.to_bits(),
        setting.seed,
        most,
        group,
        setting.forced.len() as u32,
        setting.gate.scale.to_bits(),
        setting.gate.capacity_factor.to_bits(),
        group_score(setting.gate.group_limit),
        setting.gate.epsilon.to_bits(),
        setting.gate.least_sum.to_bits(),
        setting.gate.jitter.to_bits(),
    ]);
    for expert in 0..setting.experts as u32 {
        let off = setting.off.get(expert as usize).copied().unwrap_or(false);
        let bias = setting.bias.get(expert as usize).copied().unwrap_or(0.0);
        let forced = setting.forced.iter().position(|&e| e == expert).map_or(0, |nth| nth as u32 + 1);
        words.extend([setting.rename(expert), u32::from(off), bias.to_bits(), forced]);
    }
}
