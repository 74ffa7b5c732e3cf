//! Plain data that describes a computation: the architecture, its gates, how weights are stored. Nothing here computes
//! a model's numbers, and nothing here imports another folder.
//!
//! ```
//! use moescope::shape::{Architecture, AttentionShape, LayerShape, MoeShape};
//!
//! let layer = LayerShape::new(AttentionShape::new(32, 8, 128, 1e6), MoeShape::mixtral(8, 2, 14336));
//! let (layers, rest) = (vec![layer; 32], Architecture::default());
//! let mixtral = Architecture { vocabulary: 32000, hidden: 4096, context: 32768, layers, ..rest };
//! // Not 8 x 7 = 56 billion parameters: only the experts are there eight times.
//! assert_eq!(mixtral.cost().parameters() / 1_000_000, 46_702);
//! assert_eq!(mixtral.cost().active_parameters() / 1_000_000, 12_879);
//! ```

pub mod architecture;
pub mod attention;
pub mod blocks;
pub mod cost;
pub mod format;
pub mod gate;
pub mod matrix;
pub mod names;
pub mod rope;
pub mod setting;

pub use architecture::{
    Activation, Architecture, ConvolutionShape, LayerShape, Mixer, MoeShape, SharedShape, StateSpaceShape,
};
pub use attention::{AttentionShape, HeadNorm, LatentShape};
pub use cost::{Cost, Part};
pub use format::Dtype;
pub use gate::{Gate, GateKind, GroupLimit, GroupScore, NONE};
pub use matrix::Matrix;
pub use names::{MatrixName, VectorName};
pub use rope::{Rope, Scaling};
pub use setting::{GROUP, Limit, Noise, Setting, Settings, experts_choose, own_settings, setting_at};
