//! What software adapters need (SwiftShader, llvmpipe): GPUs that a processor emulates. All that is special about them
//! is here and in the shaders' constants that [`Form::constants`] sets.

use super::pack::groups;
use super::shader::Kernel;
use super::tile::Tile;
use crate::error::{Error, Result};
use crate::shape::{Architecture, LayerShape, Mixer, MoeShape, Setting, Settings};

/// How kernels divide their work over invocations. Every adapter can run [`Form::Gpu`]; software adapters are faster
/// with theirs, of the same WGSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For hardware GPUs: the lanes of a workgroup share a row and synchronise at barriers.
    Gpu,
    /// For software adapters: barriers cost more than they save, so each lane computes a row of its own.
    Software {
        /// Products take tiles of sixteen tokens, whose loads the four invocations of a quad exchange: a load costs
        /// more than an exchange, since there is no cache for what all of them read.
        quads: bool,
    },
}

impl Form {
    /// The fastest form for an adapter.
    pub fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        if info.device_type == wgpu::DeviceType::Cpu {
            Self::Software { quads: has_quads(adapter, &info) }
        } else {
            Self::Gpu
        }
    }

    /// The tile of products over many tokens.
    pub fn prefill(self) -> Tile {
        if self == (Self::Software { quads: true }) { Tile::Sixteen } else { Tile::Eight }
    }

    /// Tokens of a workgroup of the attention.
    pub fn attended_together(self, tile: Tile) -> usize {
        if self == Self::Gpu || tile == Tile::One { 1 } else { 256 }
    }

    /// The constants that set how the workgroups of a kernel are divided.
    pub fn constants(self, kernel: &Kernel, tile: Tile) -> Vec<(&'static str, f64)> {
        let of = |name, lanes: u32| (name, if self == Self::Gpu { f64::from(lanes) } else { 1.0 });
        match kernel.name {
            "rms_norm" | "combine" | "layer_norm" | "norm_rows" | "post_norm" | "shared_gate" => vec![of("LANES", 64)],
            "attention" => vec![("TOKENS", self.attended_together(tile) as f64)],
            "sample" => vec![("LANES", if self == Self::Gpu { 256.0 } else { 64.0 })],
            "gate" => vec![of("LANES", 16), of("SPLITS", 4)],
            _ if kernel.is_product() && tile == Tile::One => vec![of("HEIGHT", 4)],
            _ => Vec::new(),
        }
    }
}

/// Whether shaders may use `quadBroadcast`. wgpu cannot ask a browser for that yet
/// (<https://github.com/gfx-rs/wgpu/issues/5555>): worker.js does, for every device. Browsers report a
/// `subgroup_max_size` of 128 where subgroups are not supported; 4 means that they are, and are quads.
fn has_quads(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo) -> bool {
    if cfg!(target_arch = "wasm32") {
        info.subgroup_max_size == 4
    } else {
        adapter.features().contains(wgpu::Features::SUBGROUP)
    }
}

/// llvmpipe, Mesa's software adapter for Vulkan ("lavapipe"), ends the loops of an invocation once they have gone round
/// this often, all of its loops together. What they computed so far then stands as the result, without an error.
const LLVMPIPE_ROUNDS: u64 = 65_535;

/// Most rounds of loops that the adapter called `name` lets an invocation make; none where it does not end loops.
pub fn most_rounds(name: &str) -> Option<u64> {
    name.contains("llvmpipe").then_some(LLVMPIPE_ROUNDS)
}

/// A step: how many tokens, and at which position of the text it ends.
#[derive(Clone, Copy, Debug)]
pub struct StepSize {
    /// Tokens of the step.
    pub tokens: usize,
    /// The text's length after it.
    pub end: usize,
}

/// Returns [`Error::Device`] for a step that needs more than `most` rounds in some kernel, so that the caller can use
/// the CPU engine.
pub fn check_rounds(most: u64, form: Form, a: &Architecture, settings: &Settings, step: StepSize) -> Result<()> {
    let longest = a.layers.iter().zip(settings).flat_map(|(layer, settings)| rounds(form, a, layer, settings, step));
    match longest.max_by_key(|(_, rounds)| *rounds).filter(|(_, rounds)| *rounds > most) {
        None => Ok(()),
        Some((kernel, rounds)) => Err(Error::Device(format!(
            "this software adapter ends the loops of a kernel after {most} rounds, and {kernel} needs {rounds} for \
             this model and text; use the CPU engine"
        ))),
    }
}

/// Rounds of loops, at most, of the invocation that loops longest, by kernel: those kernels whose loops grow with the
/// product of two sizes.
fn rounds(
    form: Form,
    a: &Architecture,
    layer: &LayerShape,
    settings: &[Setting],
    step: StepSize,
) -> [(&'static str, u64); 5] {
    let moe = &layer.moe;
    let (experts, tokens) = (moe.experts, step.tokens);
    let k = settings.iter().map(Setting::row).max().unwrap_or(0);
    // shared/choose.wgsl: the k largest of the experts, their weights, and a sort by insertion.
    let choose = k * experts + 3 * experts + 6 * k + k * k / 2;
    let (lanes, splits) = if form == Form::Gpu { (16, 4) } else { (1, 1) };
    let product = groups(a.hidden).div_ceil(splits) + splits + 1;
    let gate = if settings.is_empty() { 0 } else { moe.router_rows().div_ceil(lanes) * product + choose };
    let settle = settings.iter().map(|setting| rounds_to_settle(setting, moe, a.context, choose, step)).max();
    let assignments = tokens * moe.choices().max(k + moe.shared);
    let dispatch = 2 * moe.all_experts().div_ceil(64) * (assignments + 1) + moe.all_experts();
    let (window, head_dim) = match layer.attention() {
        Some(s) => (s.window, s.head_dim.max(s.value_dim)),
        None => (Some(0), 1),
    };
    let (seen, width) = (window.unwrap_or(step.end).min(step.end), groups(head_dim));
    // Blocks of 64 positions: one to a lane, or four at a time where a lane has four tokens.
    let of_a_block = if form == Form::Gpu || tokens == 1 {
        width.div_ceil(64) * (width + 129)
    } else {
        16 * (width + 2) + width * 24
    };
    let attention = (seen.div_ceil(64) + 1) * of_a_block;
    let scan = match &layer.mixer {
        Mixer::StateSpace(s) => tokens * (s.state + 1),
        _ => 0,
    };
    let settle = settle.unwrap_or(0);
    [("gate", gate), ("settle", settle), ("dispatch", dispatch), ("attention", attention), ("scan", scan)]
        .map(|(kernel, rounds)| (kernel, rounds as u64))
}

/// Rounds of shaders/settle.wgsl under one setting.
fn rounds_to_settle(setting: &Setting, moe: &MoeShape, context: usize, choose: usize, step: StepSize) -> usize {
    let (k, tokens) = (setting.row(), step.tokens);
    let limits = setting.limit.map_or(0, |limit| {
        let again = if limit.next_best { moe.router_rows() + choose } else { k };
        tokens * (k + again) + moe.experts + step.end.min(limit.group.min(context)) * k
    });
    let chosen = if setting.experts_choose() { moe.experts * (k + tokens + 1) + k * k / 2 + 2 * k } else { 0 };
    tokens * (k + 1) + limits + chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{AttentionShape, own_settings};

    fn check(experts: usize, top_k: usize, head_dim: usize, step: StepSize) -> Result<()> {
        let attention = AttentionShape::new(1, 1, head_dim, 1e4);
        let layers = vec![LayerShape::new(attention, MoeShape::mixtral(experts, top_k, 4))];
        let a = Architecture { vocabulary: 9, hidden: 64, context: 4096, layers, ..Architecture::default() };
        check_rounds(LLVMPIPE_ROUNDS, Form::Software { quads: true }, &a, &own_settings(&a), step)
    }

    /// The sizes at which a token's weights did not sum to 1 any more on llvmpipe, and long texts.
    #[test]
    fn steps_that_llvmpipe_would_end_early_are_rejected() {
        let one = StepSize { tokens: 1, end: 1 };
        assert_eq!(check(8, 2, 128, StepSize { tokens: 64, end: 512 }), Ok(()));
        for (experts, top_k) in [(512, 128), (256, 240)] {
            let error = check(experts, top_k, 16, one).unwrap_err().to_string();
            assert!(error.contains("65535 rounds, and gate needs"), "{error}");
        }
        let error = check(8, 2, 256, StepSize { tokens: 64, end: 4096 }).unwrap_err().to_string();
        assert!(error.contains("attention needs"), "{error}");
        assert_eq!(most_rounds("NVIDIA H100"), None);
        assert_eq!(most_rounds("llvmpipe (LLVM 19.1.7, 256 bits)"), Some(LLVMPIPE_ROUNDS));
    }
}
