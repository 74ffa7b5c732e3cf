//! A family's default values for keys that a config lacks.

/// A family's default values for missing keys, and which optional keys it supports.
pub struct Defaults {
    /// `max_position_embeddings`
    pub context: usize,
    /// `rms_norm_eps`
    pub norm_eps: f32,
    /// The key of the epsilon.
    pub eps_key: &'static str,
    /// `rope_theta`
    pub rope_theta: f32,
    /// `num_key_value_heads`; none for as many as there are heads.
    pub kv_heads: Option<usize>,
    /// `head_dim`; none for the width of the residual stream divided by the number of heads.
    pub head_dim: Option<usize>,
    /// Whether it supports `sliding_window`, for all layers.
    pub has_window: bool,
    /// `attention_bias`, where it supports that key.
    pub bias: Option<bool>,
    /// `partial_rotary_factor`, where it supports that key.
    pub partial: Option<f32>,
    /// `tie_word_embeddings`
    pub tied: bool,
}

impl Defaults {
    /// The defaults of most families.
    pub const PLAIN: Self = Self {
        context: 2048,
        norm_eps: 1e-6,
        eps_key: "rms_norm_eps",
        rope_theta: 1e4,
        kv_heads: None,
        head_dim: None,
        has_window: false,
        bias: None,
        partial: None,
        tied: false,
    };
}
