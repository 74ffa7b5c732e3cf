//! Tiles: how many tokens and panels of weights a workgroup multiplies.

/// The tile of a product; it specialises a kernel to one token or to several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// One token, for decoding.
    One,
    /// Eight tokens, for a prefill.
    Eight,
    /// Sixteen tokens, for a prefill on software adapters that have quads ([`Form`](super::software::Form)): the four
    /// invocations of a quad exchange the values that they load.
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

    /// Number of workgroups that cover `panels` panels of a product.
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

    /// The WGSL constants of a product with `panels` panels.
    pub fn constants(self, panels: usize) -> Vec<(&'static str, f64)> {
        if self == Self::Sixteen { vec![("SET", set(panels) as f64)] } else { Vec::new() }
    }
}

/// Panels of a workgroup of `shared/product_quads.wgsl`: sixteen, or eight where sixteen would leave many lanes idle.
fn set(panels: usize) -> usize {
    if panels.is_multiple_of(16) || panels > 64 { 16 } else { 8 }
}
