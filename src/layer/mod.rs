//! A layer as a list of typed operations, which both engines run.
//!
//! [`program()`] turns a layer's description into the list, one operation at a time; [`fuse()`] replaces several
//! operations by one where a kernel does the work of all of them. The engines run operations and read nothing else of
//! a layer.
//!
//! ```
//! use moescope::layer::{Operation, program};
//! use moescope::shape::{Architecture, AttentionShape, LayerShape, MoeShape};
//!
//! let layers = vec![LayerShape::new(AttentionShape::new(4, 2, 8, 1e4), MoeShape::mixtral(8, 2, 40))];
//! let mixtral = Architecture { vocabulary: 96, hidden: 32, context: 64, layers, ..Architecture::default() };
//! let operations: Vec<Operation> = program(&mixtral, 0).operations().cloned().collect();
//! // One kernel multiplies to get queries, keys and values, rotates them, and writes keys and values to the cache.
//! assert_eq!(operations[0], Operation::Qkv);
//! ```

mod fuse;
mod operation;
mod program;

pub use fuse::fuse;
pub use operation::{
    CacheSide, Combine, Copy, Ffn, GateRows, HeadProduct, NormOf, NormRows, Operation, Product, Rows, Target,
};
pub use program::{Program, plain, program, widths};
