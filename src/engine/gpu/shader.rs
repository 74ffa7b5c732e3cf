//! Which WGSL makes up a kernel, and what it binds.

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

/// A product's tile: the same kernel for one token, or for several at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// For decoding.
    One,
    /// For prefill.
    Eight,
    /// For prefill where invocations can tell each other what they loaded, and that is worth it ([`Gpu::quads`](super::device::Gpu)).
    Sixteen,
}

impl Tile {
    /// Tokens of a tile.
    pub fn tokens(self) -> usize {
        match self {
            Self::One => 1,
            Self::Eight => 8,
            Self::Sixteen => 16,
        }
    }

    /// Workgroups that cover so many panels of a product.
    pub fn workgroups(self, panels: usize) -> u32 {
        // PANELS of shared/product_one.wgsl; HEIGHT * SET of shared/product_tile.wgsl; SET of shared/product_quads.wgsl.
        let of_a_workgroup = match self {
            Self::One => 4,
            Self::Eight => 32,
            Self::Sixteen => set(panels),
        };
        panels.div_ceil(of_a_workgroup) as u32
    }

    /// The constants of a product with so many panels.
    pub fn constants(self, panels: usize) -> Vec<(&'static str, f64)> {
        if self == Self::Sixteen { vec![("SET", set(panels) as f64)] } else { Vec::new() }
    }
}

/// Panels of a workgroup of `shared/product_quads.wgsl`: sixteen, where that leaves few without work.
fn set(panels: usize) -> usize {
    if panels.is_multiple_of(16) || panels > 64 { 16 } else { 8 }
}

/// Tokens of a workgroup of the attention.
pub fn attended_together(tile: Tile, serial: bool) -> usize {
    if serial && tile != Tile::One { 256 } else { 1 }
}

/// Rows of a panel of weights (`shared/panels.wgsl`).
pub const ROWS: usize = 16;

/// A kernel's source and bindings; binding 0 is the step, these follow.
pub struct Kernel {
    /// The file's name.
    pub name: &'static str,
    /// Its own text.
    source: &'static str,
    /// What it binds, in order from binding 1.
    pub bindings: &'static [Access],
    /// What it shares.
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

/// A shader's text, bare (build.rs).
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
pub const KERNELS: [Kernel; 12] = [
    kernel!("attention", Needs::Nothing, &[Read, Read, Read, Write]),
    kernel!("combine", Needs::Reduce, &[Read, Read, Write, Read, Write]),
    kernel!("dispatch", Needs::Nothing, &[Read, Read, Write, Write, Write]),
    kernel!("embed", Needs::Weights, &[Read, Read, Write]),
    kernel!("expert_ffn", Needs::ProductAndTiles, &[Read, Read, Read, Read, Write]),
    kernel!("gate", Needs::WeightsAndChoice, &[Read, Read, Read, Read, Read, Write, Write, Write]),
    kernel!("linear", Needs::Product, &[Read, Read, Write]),
    kernel!("lm_head", Needs::Product, &[Read, Read, Write]),
    kernel!("qkv", Needs::Product, &[Read, Read, Read, Write, Write, Write]),
    kernel!("rms_norm", Needs::Reduce, &[Read, Read, Write]),
    kernel!("sample", Needs::Random, &[Read, Read, Write]),
    kernel!("settle", Needs::Choice, &[Read, Read, Read, Read, Write, Write, Write, Write]),
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

    /// The constants that say how a workgroup is divided: over many lanes, or `serial`, in as few as it goes.
    pub fn form(&self, tile: Tile, serial: bool) -> Vec<(&'static str, f64)> {
        let of = |name, lanes: u32| (name, if serial { 1.0 } else { f64::from(lanes) });
        match self.name {
            "rms_norm" | "combine" => vec![of("LANES", 64)],
            "attention" => vec![("TOKENS", attended_together(tile, serial) as f64)],
            "sample" => vec![("LANES", if serial { 64.0 } else { 256.0 })],
            "gate" => vec![of("LANES", 16), of("SPLITS", 4)],
            _ if self.is_product() && tile == Tile::One => vec![of("HEIGHT", 4)],
            _ => Vec::new(),
        }
    }

    /// Its WGSL: what it shares, for weights of `dtype` and products of `tile`, then its own text.
    pub fn wgsl(&self, dtype: Dtype, tile: Tile) -> String {
        let weights = match dtype {
            Dtype::F32 => text!("shared/weights_f32"),
            Dtype::F16 => text!("shared/weights_f16"),
            Dtype::Bf16 => text!("shared/weights_bf16"),
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
        // naga has quads without being told, and does not know the word.
        let told = if cfg!(target_arch = "wasm32") && tile == Tile::Sixteen { "enable subgroups;" } else { "" };
        let parts = [told, text!("shared/step")].into_iter().chain(shared.iter().copied());
        parts.chain([self.source]).collect::<Vec<_>>().join("\n")
    }
}
