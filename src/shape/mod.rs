//! Plain data that describes a computation: the architecture, its gates, how weights are stored. Nothing here computes
//! a model's numbers, and nothing here imports another folder.

pub mod architecture;
pub mod cost;
pub mod format;
pub mod gate;
pub mod matrix;
pub mod setting;

pub use architecture::{Architecture, AttentionShape, LayerShape, MoeShape};
pub use cost::{Cost, Part};
pub use format::Dtype;
pub use gate::{Gate, GateKind, NONE};
pub use matrix::Matrix;
pub use setting::{GROUP, Limit, Noise, Setting, Settings, experts_choose, own_settings, setting_at};
