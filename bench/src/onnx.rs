//! Writes a model as an ONNX graph for ONNX Runtime: <https://onnx.ai/onnx/repo-docs/IR.html>.
//!
//! Its WebGPU provider has no MoE operator for f32, so the experts are written with plain operators, in the faster way
//! for each case. To decode, the weights of the selected experts are gathered. A prompt would need a copy of the
//! weights for each token, so there every token goes through every expert, and the ones not selected get weight 0.

mod proto;

use crate::shape::{EPSILON, ROPE_THETA, Shape};
use crate::weights::{Numbers, encoded, tensors};
use anyhow::{Context, Result};
use proto::{Attribute, Graph, Model, Node, Operators, Tensor, ValueInfo};
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::path::Path;

/// What a graph is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One token.
    Decode,
    /// A whole prompt.
    Prefill,
}

impl Form {
    /// Its part of the file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
        }
    }
}

/// Writes a model of `shape` to `path`, its weights as f32.
///
/// Inputs of a prompt: `ids` and `positions`, `[1, T]`, and `mask`, `[1, 1, T, T]`, 0 or a large negative number.
/// Inputs of a token: `ids`, `[1, 1]`; `total`, `[1]`, the positions with this one; `seen`, `[1]`, one less; and
/// `key.N` and `value.N`, `[1, heads, P, head_dim]`.
/// Outputs: `logits`, `[1, 1, V]`, of the last token; `new_key.N` and `new_value.N`.
///
/// # Errors
/// The file cannot be written.
pub fn write(shape: &Shape, form: Form, path: &Path) -> Result<()> {
    let model = Model {
        ir_version: 10,
        producer: "moescope-bench".into(),
        graph: Some(Writer::new(shape, form)?.graph()),
        operators: vec![
            Operators { domain: String::new(), version: 21 },
            Operators { domain: "com.microsoft".into(), version: 1 },
        ],
    };
    let bytes = prost::Message::encode_to_vec(&model);
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

struct Writer<'a> {
    shape: &'a Shape,
    form: Form,
    weights: BTreeMap<String, Vec<f32>>,
    graph: Graph,
}

impl<'a> Writer<'a> {
    fn new(shape: &'a Shape, form: Form) -> Result<Self> {
        let weights = tensors(shape).into_iter().map(|tensor| Ok((tensor.name.clone(), Numbers::Seeded.of(&tensor)?)));
        let weights = weights.collect::<Result<_>>()?;
        Ok(Self { shape, form, weights, graph: Graph { name: shape.name.into(), ..Graph::default() } })
    }

    fn graph(mut self) -> Graph {
        let Shape { hidden, vocabulary, layers, heads, .. } = *self.shape;
        let logits = ValueInfo::new("logits", ValueInfo::FLOAT, &["1", "1", &vocabulary.to_string()]);
        self.graph.outputs.push(logits);
        self.graph.inputs = match self.form {
            Form::Decode => vec![
                ValueInfo::new("ids", ValueInfo::INT64, &["1", "1"]),
                ValueInfo::new("seen", ValueInfo::INT32, &["1"]),
                ValueInfo::new("total", ValueInfo::INT32, &["1"]),
            ],
            Form::Prefill => vec![
                ValueInfo::new("ids", ValueInfo::INT64, &["1", "T"]),
                ValueInfo::new("positions", ValueInfo::INT64, &["1", "T"]),
                ValueInfo::new("mask", ValueInfo::FLOAT, &["1", "1", "T", "T"]),
            ],
        };
        for (n, name) in (0..layers).flat_map(|n| ["key", "value"].map(|name| (n, name))) {
            let (heads, dim) = (heads.to_string(), self.shape.head_dim().to_string());
            let cache = |name: String, length| ValueInfo::new(&name, ValueInfo::FLOAT, &["1", &heads, length, &dim]);
            if self.form == Form::Decode {
                self.graph.inputs.push(cache(format!("{name}.{n}"), "P"));
            }
            self.graph.outputs.push(cache(format!("new_{name}.{n}"), "N"));
        }
        let angles = |turn: fn(f32) -> f32| {
            let half = self.shape.head_dim() / 2;
            let angle = move |at: usize| (at / half) as f32 / ROPE_THETA.powf((at % half) as f32 / half as f32);
            (0..self.shape.context * half).map(|at| turn(angle(at))).collect::<Vec<_>>()
        };
        let (cos, sin, half) = (angles(f32::cos), angles(f32::sin), self.shape.head_dim() / 2);
        self.constant("cos", &[self.shape.context, half], &cos);
        self.constant("sin", &[self.shape.context, half], &sin);
        self.weight("embed", "model.embed_tokens", &[vocabulary, hidden]);
        self.node("Gather", &["embed", "ids"], &["x.0"], vec![]);
        for n in 0..layers {
            self.attention(n);
            self.experts(n);
        }
        self.integers("last", &[-1]);
        self.node("Gather", &[&format!("x.{layers}"), "last"], &["x.last"], vec![Attribute::of_int("axis", 1)]);
        self.norm("x.last", "model.norm", "normed");
        self.transposed("head", "lm_head", vocabulary, hidden);
        self.node("MatMul", &["normed", "head"], &["logits"], vec![]);
        self.graph
    }

    /// `middle.N = x.N + attention(norm(x.N))`
    fn attention(&mut self, n: usize) {
        let hidden = self.shape.hidden;
        let name = |part: &str| format!("{part}.{n}");
        self.norm(&name("x"), &format!("model.layers.{n}.input_layernorm"), &name("attention_in"));
        for part in ["q", "k", "v"] {
            let weights = name(&format!("w{part}"));
            self.transposed(&weights, &format!("model.layers.{n}.self_attn.{part}_proj"), hidden, hidden);
            self.node("MatMul", &[&name("attention_in"), &weights], &[&name(part)], vec![]);
        }
        match self.form {
            Form::Decode => self.attended_one(n),
            Form::Prefill => self.attended_prompt(n),
        }
        self.transposed(&name("wo"), &format!("model.layers.{n}.self_attn.o_proj"), hidden, hidden);
        self.node("MatMul", &[&name("attended"), &name("wo")], &[&name("projected")], vec![]);
        self.node("Add", &[&name("x"), &name("projected")], &[&name("middle")], vec![]);
    }

    /// Attention of one token, with the operator that exporters of language models use.
    fn attended_one(&mut self, n: usize) {
        let name = |part: &str| format!("{part}.{n}");
        let inputs = ["q", "k", "v", "key", "value"].map(name);
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).chain(["seen", "total", "cos", "sin"]).collect();
        let outputs = ["attended", "new_key", "new_value"].map(name);
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let heads = self.shape.heads as i64;
        let attributes = vec![
            Attribute::of_int("num_heads", heads),
            Attribute::of_int("kv_num_heads", heads),
            Attribute::of_int("do_rotary", 1),
        ];
        self.node_of("com.microsoft", "GroupQueryAttention", &inputs, &outputs, attributes);
    }

    /// Attention of a prompt, with plain operators. `GroupQueryAttention` gives wrong results for longer prompts on
    /// SwiftShader (version 1.30, compared with its own CPU provider).
    fn attended_prompt(&mut self, n: usize) {
        let name = |part: &str| format!("{part}.{n}");
        let (heads, dim) = (self.shape.heads as i64, self.shape.head_dim() as i64);
        self.integers("by_head", &[1, -1, heads, dim]);
        self.integers("together", &[1, -1, heads * dim]);
        self.constant("scale", &[1], &[1.0 / (dim as f32).sqrt()]);
        let order = |order: [i64; 4]| vec![Attribute::of_ints("perm", &order)];
        for (part, to) in [("q", "queries"), ("k", "new_key"), ("v", "new_value")] {
            let mut from = name(part);
            if part != "v" {
                let turned = name(&format!("{part}_turned"));
                let attributes = vec![Attribute::of_int("num_heads", heads)];
                let inputs = [from.as_str(), "positions", "cos", "sin"];
                self.node_of("com.microsoft", "RotaryEmbedding", &inputs, &[&turned], attributes);
                from = turned;
            }
            let split = name(&format!("{part}_by_head"));
            self.node("Reshape", &[&from, "by_head"], &[&split], vec![]);
            self.node("Transpose", &[&split], &[&name(to)], order([0, 2, 1, 3]));
        }
        let split = name("k_by_head");
        self.node("Transpose", &[&split], &[&name("keys")], order([0, 2, 3, 1]));
        self.node("MatMul", &[&name("queries"), &name("keys")], &[&name("products")], vec![]);
        self.node("Mul", &[&name("products"), "scale"], &[&name("scaled")], vec![]);
        self.node("Add", &[&name("scaled"), "mask"], &[&name("scores")], vec![]);
        self.node("Softmax", &[&name("scores")], &[&name("attention")], vec![Attribute::of_int("axis", -1)]);
        self.node("MatMul", &[&name("attention"), &name("new_value")], &[&name("heads")], vec![]);
        self.node("Transpose", &[&name("heads")], &[&name("heads_together")], order([0, 2, 1, 3]));
        self.node("Reshape", &[&name("heads_together"), "together"], &[&name("attended")], vec![]);
    }

    /// `x.(N + 1) = middle.N + experts(norm(middle.N))`
    fn experts(&mut self, n: usize) {
        let Shape { hidden, ff, experts, top_k, .. } = *self.shape;
        let name = |part: &str| format!("{part}.{n}");
        self.norm(&name("middle"), &format!("model.layers.{n}.post_attention_layernorm"), &name("moe_in"));
        self.transposed(&name("router"), &format!("model.layers.{n}.block_sparse_moe.gate"), experts, hidden);
        for (part, rows, columns) in [("w1", ff, hidden), ("w2", hidden, ff), ("w3", ff, hidden)] {
            let all = (0..experts).flat_map(|e| {
                let name = format!("model.layers.{n}.block_sparse_moe.experts.{e}.{part}.weight");
                transpose(&self.weights[&name], rows, columns)
            });
            let all: Vec<f32> = all.collect();
            self.constant(&name(part), &[experts, columns, rows], &all);
        }
        self.integers("k", &[top_k as i64]);
        self.node("MatMul", &[&name("moe_in"), &name("router")], &[&name("router_logits")], vec![]);
        self.node(
            "TopK",
            &[&name("router_logits"), "k"],
            &[&name("chosen_logits"), &name("selected")],
            vec![Attribute::of_int("axis", -1)],
        );
        self.node("Softmax", &[&name("chosen_logits")], &[&name("weights")], vec![Attribute::of_int("axis", -1)]);
        let [w1, w2, w3] = match self.form {
            Form::Decode => self.gathered(n),
            Form::Prefill => self.masked(n),
        };
        self.node("MatMul", &[&name("moe_in"), &w1], &[&name("gates")], vec![]);
        self.node("MatMul", &[&name("moe_in"), &w3], &[&name("ups")], vec![]);
        self.node("Sigmoid", &[&name("gates")], &[&name("sigmoids")], vec![]);
        self.node("Mul", &[&name("gates"), &name("sigmoids")], &[&name("silu")], vec![]);
        self.node("Mul", &[&name("silu"), &name("ups")], &[&name("hidden")], vec![]);
        self.node("MatMul", &[&name("hidden"), &w2], &[&name("rows")], vec![]);
        // The sum over the first axis of [k or E, T, D].
        self.node("Mul", &[&name("rows"), &name("row_weights")], &[&name("weighted")], vec![]);
        self.integers("first", &[0]);
        let keep = vec![Attribute::of_int("keepdims", 1)];
        self.node("ReduceSum", &[&name("weighted"), "first"], &[&name("mixed")], keep);
        self.node("Add", &[&name("middle"), &name("mixed")], &[&format!("x.{}", n + 1)], vec![]);
    }

    /// Computes `row_weights.N` of the selected experts, `[k, 1, 1]`, and gathers their matrices, `[k, ...]`.
    /// Returns the names of the matrices.
    fn gathered(&mut self, n: usize) -> [String; 3] {
        let name = |part: &str| format!("{part}.{n}");
        self.integers("flat", &[self.shape.top_k as i64]);
        self.integers("column", &[self.shape.top_k as i64, 1, 1]);
        self.node("Reshape", &[&name("selected"), "flat"], &[&name("experts")], vec![]);
        self.node("Reshape", &[&name("weights"), "column"], &[&name("row_weights")], vec![]);
        ["w1", "w2", "w3"].map(|part| {
            let used = name(&format!("used_{part}"));
            self.node("Gather", &[&name(part), &name("experts")], &[&used], vec![Attribute::of_int("axis", 0)]);
            used
        })
    }

    /// Computes `row_weights.N` of all experts, `[E, T, 1]`, 0 for those not selected.
    /// Returns the names of the matrices of all experts.
    fn masked(&mut self, n: usize) -> [String; 3] {
        let name = |part: &str| format!("{part}.{n}");
        let experts = self.shape.experts;
        let numbers: Vec<f32> = (0..experts).map(|e| e as f32).collect();
        self.constant("experts", &[experts, 1, 1, 1], &numbers);
        // [E, 1, 1, 1] == [1, T, k]: whether a token's choice is the expert.
        self.node("Cast", &[&name("selected")], &[&name("selected_numbers")], vec![Attribute::of_int("to", 1)]);
        self.node("Equal", &[&name("selected_numbers"), "experts"], &[&name("is_expert")], vec![]);
        self.node("Cast", &[&name("is_expert")], &[&name("mask")], vec![Attribute::of_int("to", 1)]);
        self.node("Mul", &[&name("mask"), &name("weights")], &[&name("masked")], vec![]);
        self.integers("over_choices", &[-1]);
        let keep = vec![Attribute::of_int("keepdims", 1)];
        self.node("ReduceSum", &[&name("masked"), "over_choices"], &[&name("by_expert")], keep);
        self.integers("by_token", &[experts as i64, -1, 1]);
        self.node("Reshape", &[&name("by_expert"), "by_token"], &[&name("row_weights")], vec![]);
        ["w1", "w2", "w3"].map(name)
    }

    fn norm(&mut self, x: &str, weight: &str, y: &str) {
        let scale = format!("{y}.scale");
        self.weight(&scale, weight, &[self.shape.hidden]);
        let attributes = vec![Attribute::of_float("epsilon", EPSILON), Attribute::of_int("axis", -1)];
        self.node("SimplifiedLayerNormalization", &[x, &scale], &[y], attributes);
    }

    fn node(&mut self, operator: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<Attribute>) {
        self.node_of("", operator, inputs, outputs, attributes);
    }

    fn node_of(&mut self, domain: &str, operator: &str, from: &[&str], to: &[&str], attributes: Vec<Attribute>) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (inputs, outputs) = (owned(from), owned(to));
        let (operator, domain) = (operator.to_owned(), domain.to_owned());
        self.graph.nodes.push(Node { name: format!("/{}", to[0]), inputs, outputs, operator, attributes, domain });
    }

    /// Adds a tensor of the checkpoint as it is.
    fn weight(&mut self, name: &str, of: &str, shape: &[usize]) {
        let numbers = self.weights[&format!("{of}.weight")].clone();
        self.constant(name, shape, &numbers);
    }

    /// Adds a matrix of the checkpoint, transposed: `MatMul` multiplies from the right.
    fn transposed(&mut self, name: &str, of: &str, rows: usize, columns: usize) {
        let numbers = transpose(&self.weights[&format!("{of}.weight")], rows, columns);
        self.constant(name, &[columns, rows], &numbers);
    }

    fn constant(&mut self, name: &str, shape: &[usize], numbers: &[f32]) {
        self.add(name, shape, ValueInfo::FLOAT, encoded(numbers, Dtype::F32));
    }

    fn integers(&mut self, name: &str, numbers: &[i64]) {
        self.add(name, &[numbers.len()], ValueInfo::INT64, bytemuck::cast_slice(numbers).to_vec());
    }

    /// Adds an initializer, unless there is one of this name.
    fn add(&mut self, name: &str, shape: &[usize], kind: i32, bytes: Vec<u8>) {
        if self.graph.initializers.iter().any(|tensor| tensor.name == name) {
            return;
        }
        let sizes = shape.iter().map(|&size| size as i64).collect();
        self.graph.initializers.push(Tensor { sizes, kind, name: name.into(), bytes });
    }
}

/// The transpose of a matrix `[rows, columns]`.
fn transpose(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column])).collect()
}
