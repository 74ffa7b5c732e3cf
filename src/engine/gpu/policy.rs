//! Settings as the words that `shaders/shared/choose.wgsl` reads.

use crate::shape::setting::SETTINGS;
use crate::shape::{Choice, Limit, Noise, Setting};

/// Words of a setting before those of its experts.
const HEADER: usize = 12;
/// Words of an expert.
const PER_EXPERT: usize = 4;

/// Words that hold any settings of a layer with so many experts.
pub fn room(experts: usize) -> usize {
    2 + SETTINGS * (HEADER + PER_EXPERT * experts)
}

/// How many settings, the layer, and the settings.
pub fn words(layer: usize, settings: &[Setting]) -> Vec<u32> {
    let mut words = vec![settings.len() as u32, layer as u32];
    settings.iter().for_each(|setting| push(setting, &mut words));
    words
}

/// The number by which the shader knows a choice, and its scale.
pub fn kind(choice: Choice) -> (u32, f32) {
    match choice {
        Choice::Softmax => (0, 1.0),
        Choice::Sigmoid { scale } => (1, scale),
        Choice::Groups { .. } => (2, 1.0),
        Choice::Hash => (3, 1.0),
        Choice::Random => (4, 1.0),
        Choice::RoundRobin => (5, 1.0),
        Choice::Experts { .. } => (6, 1.0),
    }
}

fn push(setting: &Setting, words: &mut Vec<u32>) {
    let (kind, scale) = kind(setting.choice);
    let factor = if let Choice::Experts { factor } = setting.choice { factor } else { 0.0 };
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
        kind,
        setting.top_k as u32,
        u32::from(setting.renormalise),
        setting.temperature.to_bits(),
        std.to_bits(),
        setting.seed,
        most,
        group,
        setting.forced.len() as u32,
        scale.to_bits(),
        factor.to_bits(),
    ]);
    for expert in 0..setting.experts as u32 {
        let off = setting.off.get(expert as usize).copied().unwrap_or(false);
        let bias = setting.bias.get(expert as usize).copied().unwrap_or(0.0);
        let forced = setting.forced.iter().position(|&e| e == expert).map_or(0, |nth| nth as u32 + 1);
        words.extend([setting.rename(expert), u32::from(off), bias.to_bits(), forced]);
    }
}
