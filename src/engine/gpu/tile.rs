//! How many tokens and panels of weights a workgroup multiplies.

/// A product's tile: the same kernel for one token, or for several at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// For decoding.
    One,
    /// For prefill.
    Eight,
    /// For prefill on software adapters that have quads ([`Form`](super::software::Form)): the four invocations of a
    /// quad exchange what they loaded.
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
        // PANELS of shared/product_one.wgsl; HEIGHT * SET of shared/product_tile.wgsl; SET of
        // shared/product_quads.wgsl.
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
