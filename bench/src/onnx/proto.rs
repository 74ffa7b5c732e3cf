//! The Protocol Buffers messages of an ONNX file that are used here, with the field numbers of
//! <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>.

use prost::{Message, Oneof};

/// `ModelProto`
#[derive(Message)]
pub struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub operators: Vec<Operators>,
}

/// `OperatorSetIdProto`: the version of an operator set.
#[derive(Message)]
pub struct Operators {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// `GraphProto`
#[derive(Message)]
pub struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub inputs: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub outputs: Vec<ValueInfo>,
}

/// `NodeProto`
#[derive(Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    pub inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub operator: String,
    #[prost(message, repeated, tag = "5")]
    pub attributes: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// `AttributeProto`, of numbers.
#[derive(Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, optional, tag = "2")]
    pub float: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub int: Option<i64>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// 1: float, 2: int, 7: ints.
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

impl Attribute {
    /// An integer.
    pub fn of_int(name: &str, value: i64) -> Self {
        Self { name: name.into(), int: Some(value), kind: 2, ..Self::default() }
    }

    /// Integers.
    pub fn of_ints(name: &str, values: &[i64]) -> Self {
        Self { name: name.into(), ints: values.to_vec(), kind: 7, ..Self::default() }
    }

    /// A number.
    pub fn of_float(name: &str, value: f32) -> Self {
        Self { name: name.into(), float: Some(value), kind: 1, ..Self::default() }
    }
}

/// `TensorProto`
#[derive(Message)]
pub struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub sizes: Vec<i64>,
    /// See [`ValueInfo`].
    #[prost(int32, tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub bytes: Vec<u8>,
}

/// `ValueInfoProto`
#[derive(Message)]
pub struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub of: Option<Type>,
}

impl ValueInfo {
    /// `f32`
    pub const FLOAT: i32 = 1;
    /// `i32`
    pub const INT32: i32 = 6;
    /// `i64`
    pub const INT64: i32 = 7;

    /// A tensor of these sizes; a word is the name of a size that is known at run time.
    pub fn new(name: &str, kind: i32, sizes: &[&str]) -> Self {
        let size = |size: &&str| Dimension {
            size: Some(size.parse().map_or_else(|_| Size::Name((*size).to_owned()), Size::Number)),
        };
        let shape = Some(Shape { dimensions: sizes.iter().map(size).collect() });
        Self { name: name.into(), of: Some(Type { tensor: Some(TensorType { kind, shape }) }) }
    }
}

/// `TypeProto`
#[derive(Message)]
pub struct Type {
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorType>,
}

/// `TypeProto.Tensor`
#[derive(Message)]
pub struct TensorType {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

/// `TensorShapeProto`
#[derive(Message)]
pub struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub dimensions: Vec<Dimension>,
}

/// `TensorShapeProto.Dimension`
#[derive(Message)]
pub struct Dimension {
    #[prost(oneof = "Size", tags = "1, 2")]
    pub size: Option<Size>,
}

/// A fixed size, or the name of a size that is known at run time.
#[derive(Oneof)]
pub enum Size {
    #[prost(int64, tag = "1")]
    Number(i64),
    #[prost(string, tag = "2")]
    Name(String),
}
