//! Which WGSL makes up a kernel, and what it binds.

use super::tile::Tile;
use crate::shape::Dtype;

/// How a kernel binds a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    Write,
}
use Access::{Read, Write};

/// Rows of a panel of weights (`shared/panels.wgsl`).
pub const ROWS: usize = 16;

/// A kernel's source and bindings; binding 0 is the step, these follow.
pub struct Kernel {
    /// The file's name.
    pub name: &'static str,
    /// Its source, without the shared parts.
    source: &'static str,
    /// Its bindings, in order from binding 1.
    pub bindings: &'static [Access],
    /// The shared sources that it includes.
    needs: Needs,
}

#[derive(PartialEq)]
enum Needs {
    Nothing,
    Weights,
    Product,
    ProductAndTiles,
    Reduce,
    Random,
    Choice,
    WeightsAndChoice,
}

/// A shader's source without comments (build.rs).
macro_rules! text {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/shaders/", $name, ".wgsl"))
    };
}

macro_rules! kernel {
    ($name:literal, $needs:expr, $bindings:expr) => {
        Kernel { name: $name, source: text!($name), bindings: $bindings, needs: $needs }
    };
}

/// All kernels.
pub const KERNELS: [Kernel; 22] = [
    kernel!("attention", Needs::Nothing, &[Read, Read, Read, Read, Write]),
    kernel!("combine", Needs::Reduce, &[Read, Read, Write, Read, Write]),
    kernel!("convolve", Needs::Nothing, &[Read, Read, Read, Write, Write]),
    kernel!("convolve_silu", Needs::Nothing, &[Read, Read, Read, Write, Write]),
    kernel!("copy_heads", Needs::Nothing, &[Read, Read, Write]),
    kernel!("dispatch", Needs::Nothing, &[Read, Read, Write, Write, Write]),
    kernel!("embed", Needs::Weights, &[Read, Read, Write]),
    kernel!("expert_ffn", Needs::ProductAndTiles, &[Read, Read, Read, Read, Read, Write]),
    kernel!("gate", Needs::WeightsAndChoice, &[Read, Read, Read, Read, Read, Write, Write, Write]),
    kernel!("gate_rows", Needs::Nothing, &[Read, Write]),
    kernel!("head_linear", Needs::Weights, &[Read, Read, Write]),
    kernel!("layer_norm", Needs::Reduce, &[Read, Read, Read, Write]),
    kernel!("linear", Needs::Product, &[Read, Read, Read, Write]),
    kernel!("lm_head", Needs::Product, &[Read, Read, Read, Write]),
    kernel!("norm_rows", Needs::Reduce, &[Read, Write]),
    kernel!("post_norm", Needs::Reduce, &[Read, Write, Write]),
    kernel!("qkv", Needs::Product, &[Read, Read, Read, Read, Write, Write, Write]),
    kernel!("rms_norm", Needs::Reduce, &[Read, Read, Write]),
    kernel!("sample", Needs::Random, &[Read, Read, Write]),
    kernel!("scan", Needs::Nothing, &[Read, Read, Read, Read, Read, Write, Write]),
    kernel!("settle", Needs::Choice, &[Read, Read, Read, Read, Write, Write, Write, Write]),
    kernel!("shared_gate", Needs::Reduce, &[Read, Read, Write]),
];

/// The kernel called `name`.
pub fn kernel(name: &str) -> &'static Kernel {
    KERNELS.iter().find(|kernel| kernel.name == name).expect("a kernel of this name")
}

impl Kernel {
    /// Whether it multiplies by weights with `shared/product_*.wgsl`.
    pub fn is_product(&self) -> bool {
        matches!(self.needs, Needs::Product | Needs::ProductAndTiles)
    }

    /// Returns its WGSL: the shared sources for weights of `dtype` and products of `tile`, then its own source.
    pub fn wgsl(&self, dtype: Dtype, tile: Tile) -> String {
        let weights = match dtype {
            Dtype::F32 => text!("shared/weights_f32"),
            Dtype::F16 => text!("shared/weights_f16"),
            Dtype::Bf16 => text!("shared/weights_bf16"),
            Dtype::Q8_0 => text!("shared/weights_q8_0"),
            Dtype::Q4_0 => text!("shared/weights_q4_0"),
            Dtype::Q4_1 => text!("shared/weights_q4_1"),
            Dtype::Q5_0 => text!("shared/weights_q5_0"),
            Dtype::Q5_1 => text!("shared/weights_q5_1"),
            Dtype::Q4K => text!("shared/weights_q4_k"),
            Dtype::Q5K => text!("shared/weights_q5_k"),
            Dtype::Q6K => text!("shared/weights_q6_k"),
            Dtype::Mxfp4 => text!("shared/weights_mxfp4"),
        };
        let (product, tiles) = match tile {
            Tile::One => (text!("shared/product_one"), text!("shared/tiles_one")),
            Tile::Eight => (text!("shared/product_tile"), text!("shared/tiles_many")),
            Tile::Sixteen => (text!("shared/product_quads"), text!("shared/tiles_many")),
        };
        let random = text!("shared/random");
        let choose = text!("shared/choose");
        let panels = text!("shared/panels");
        let shared: &[&str] = match self.needs {
            Needs::Nothing => &[],
            Needs::Weights => &[panels, weights],
            Needs::Product => &[panels, weights, product],
            Needs::ProductAndTiles => &[panels, weights, product, tiles],
            Needs::Reduce => &[text!("shared/reduce_workgroup")],
            Needs::Random => &[random],
            Needs::Choice => &[random, choose],
            Needs::WeightsAndChoice => &[panels, weights, random, choose],
        };
        // naga needs no directive for quads, and rejects it.
        let enable = if cfg!(target_arch = "wasm32") && tile == Tile::Sixteen { "enable subgroups;" } else { "" };
        let parts = [enable, text!("shared/step")].into_iter().chain(shared.iter().copied());
        parts.chain([self.source]).collect::<Vec<_>>().join("\n")
    }
}
