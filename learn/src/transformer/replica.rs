//! A replica: the whole network for a part of a batch, on one thread. All its buffers are allocated once.
//!
//! A block is `x + attention(norm(x))` and then `x + experts(norm(x))`. After the last block a norm and the tied
//! embedding give the logits. The backward pass goes through the layers in the opposite order.

use super::attention::{self, AttentionScratch};
use super::cross_entropy::{self, LossScratch};
use super::gate::{self, Batch, GateLosses, Routing};
use super::model::{Kind, Layout, ModelShape, Trained};
use super::moe::{self, Dropout, MoeGradients, MoeScratch, MoeState};
use super::rms_norm;
use super::rope::Rope;
use crate::linalg::Linear;
use crate::random::hash;

/// The activations of one layer that the backward pass needs; each buffer is tokens x its width.
struct LayerState {
    input: Vec<f32>,
    input_inverse: Vec<f32>,
    input_normed: Vec<f32>,
    qkv: Vec<f32>,
    log_sum: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    middle_inverse: Vec<f32>,
    middle_normed: Vec<f32>,
    routing: Routing,
    moe: MoeState,
}

/// The losses of one pass over a replica's tokens.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// Sum over the tokens of `-log p(target)`, in nats.
    pub cross_entropy: f64,
    /// Balancing losses of all layers without their factor; 1 for each layer with an even load.
    pub balance: f64,
    /// The gates' losses of all layers, times their factors.
    pub gates: f64,
}

/// The activations and gradients of `sequences` sequences of `context` tokens.
pub struct Replica {
    shape: ModelShape,
    layout: Layout,
    /// Which parameters' gradient [`Replica::train`] computes; that of the others is 0.
    pub trained: Trained,
    /// Dropout in the experts while training: the part of the numbers that is set to 0.
    pub dropout: f32,
    rope: Rope,
    sequences: usize,
    context: usize,
    layers: Vec<LayerState>,
    last: Vec<f32>,
    last_inverse: Vec<f32>,
    last_normed: Vec<f32>,
    attention_scratch: AttentionScratch,
    moe_scratch: MoeScratch,
    loss_scratch: LossScratch,
    d_stream: Vec<f32>,
    d_width: Vec<f32>,
    d_attended: Vec<f32>,
    d_qkv: Vec<f32>,
    d_scores: Vec<f32>,
    d_weights: Vec<f32>,
    /// The gradient of the last [`Replica::train`], laid out like the parameters.
    pub gradient: Vec<f32>,
}

impl Replica {
    /// A replica for batches of `sequences` x `context` tokens.
    pub fn new(shape: &ModelShape, sequences: usize, context: usize) -> Self {
        let mut replica = Self::without_gradient(shape, sequences, context);
        replica.gradient = vec![0.0; replica.layout.total];
        replica
    }

    /// A replica that only reads text: [`Replica::train`] needs one with a gradient.
    pub fn without_gradient(shape: &ModelShape, sequences: usize, context: usize) -> Self {
        let layout = Layout::new(shape);
        let tokens = sequences * context;
        let d = shape.width;
        let attention = shape.attention();
        let zeros = |n: usize| vec![0.0f32; n];
        let layer = || LayerState {
            input: zeros(tokens * d),
            input_inverse: zeros(tokens),
            input_normed: zeros(tokens * d),
            qkv: zeros(tokens * attention.qkv_width()),
            log_sum: zeros(tokens * shape.heads),
            attended: zeros(tokens * attention.q_width()),
            middle: zeros(tokens * d),
            middle_inverse: zeros(tokens),
            middle_normed: zeros(tokens * d),
            routing: Routing::new(shape.gate(), tokens),
            moe: MoeState::new(shape.expert(), tokens * shape.gate().choices()),
        };
        Self {
            layers: (0..shape.layers).map(|_| layer()).collect(),
            rope: Rope::new(context, shape.head_dim(), shape.rope_theta),
            last: zeros(tokens * d),
            last_inverse: zeros(tokens),
            last_normed: zeros(tokens * d),
            attention_scratch: AttentionScratch::new(context),
            moe_scratch: MoeScratch::new(shape.expert()),
            loss_scratch: LossScratch::new(shape.vocabulary),
            d_stream: zeros(tokens * d),
            d_width: zeros(tokens * d),
            d_attended: zeros(tokens * attention.q_width()),
            d_qkv: zeros(tokens * attention.qkv_width()),
            d_scores: zeros(tokens * shape.gate().rows()),
            d_weights: zeros(tokens * shape.gate().choices()),
            gradient: Vec::new(),
            trained: Trained::All,
            dropout: 0.0,
            shape: shape.clone(),
            layout,
            sequences,
            context,
        }
    }

    /// The model's sizes.
    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// Number of sequences in a pass.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Tokens of a sequence.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Number of tokens in a pass.
    pub fn tokens(&self) -> usize {
        self.sequences * self.context
    }

    /// The routing of each layer in the last pass.
    pub fn routing(&self) -> impl Iterator<Item = &Routing> {
        self.layers.iter().map(|l| &l.routing)
    }

    /// Computes each token's loss in nats, without a gradient. `inputs` and `targets` are sequences x context token
    /// ids.
    pub fn evaluate(&mut self, parameters: &[f32], inputs: &[u16], targets: &[u16], loss: &mut [f32]) {
        self.forward(parameters, inputs, None);
        let embedding = &parameters[self.layout.embedding.clone()];
        cross_entropy::forward(&self.last_normed, embedding, self.shape.width, targets, loss, &mut self.loss_scratch);
    }

    /// The logits of the token after the last one of `inputs`, sequences x context token ids.
    pub fn next_logits(&mut self, parameters: &[f32], inputs: &[u16]) -> Vec<f32> {
        self.forward(parameters, inputs, None);
        let (d, vocabulary) = (self.shape.width, self.shape.vocabulary);
        let mut logits = vec![0.0; vocabulary];
        let last = &self.last_normed[self.last_normed.len() - d..];
        Linear { inputs: d, outputs: vocabulary }.forward(
            last,
            &parameters[self.layout.embedding.clone()],
            0.0,
            &mut logits,
        );
        logits
    }

    /// Runs one forward and backward pass. `share` is this replica's share of the whole batch (1 / replicas for equal
    /// parts). The gradient is that of `share * (mean cross-entropy + the gates' losses)`, so the gradients of the
    /// replicas add up. `noise` is the seed of the gates' noise in this pass.
    pub fn train(
        &mut self,
        parameters: &[f32],
        inputs: &[u16],
        targets: &[u16],
        factors: GateLosses,
        share: f32,
        noise: u64,
    ) -> Losses {
        self.forward(parameters, inputs, Some(noise));
        self.gradient.fill(0.0);
        let mut losses = Losses::default();
        for layer in &self.layers {
            let report = gate::losses(self.shape.gate(), &layer.routing, factors, self.batch(None));
            losses.balance += f64::from(report.balance);
            losses.gates += f64::from(report.loss);
        }
        losses.cross_entropy = self.backward_head(parameters, targets, share);
        for n in (0..self.layers.len()).rev() {
            let dropout = self.layer_dropout(Some(noise), n);
            self.backward_experts(n, parameters, factors, share, dropout);
            // Below the first router nothing is trained then.
            if n > 0 || self.trained != Trained::Routers {
                self.backward_attention(n, parameters);
            }
        }
        if self.trained == Trained::Routers {
            let gains = self.layout.parameters.iter().filter(|p| p.kind == Kind::Gain);
            gains.for_each(|p| self.gradient[p.range.clone()].fill(0.0));
        } else {
            self.backward_embedding(inputs);
        }
        losses
    }

    /// The dropout of layer `n` in a pass that draws from this seed.
    fn layer_dropout(&self, noise: Option<u64>, n: usize) -> Option<Dropout> {
        let seed = hash(noise.filter(|_| self.dropout > 0.0)?, 0xd209 + n as u64);
        Some(Dropout { rate: self.dropout, seed })
    }

    /// How the tokens of a pass are grouped; each layer has other noise.
    fn batch(&self, noise: Option<u64>) -> Batch {
        Batch { context: self.context, noise }
    }

    fn forward(&mut self, parameters: &[f32], inputs: &[u16], noise: Option<u64>) {
        assert_eq!(inputs.len(), self.tokens(), "a pass takes exactly the replica's tokens");
        let d = self.shape.width;
        let embedding = &parameters[self.layout.embedding.clone()];
        for (row, &token) in self.last.chunks_exact_mut(d).zip(inputs) {
            row.copy_from_slice(&embedding[usize::from(token) * d..][..d]);
        }
        for n in 0..self.layers.len() {
            self.forward_attention(n, parameters);
            let dropout = self.layer_dropout(noise, n);
            self.forward_experts(n, parameters, noise.map(|seed| hash(seed, n as u64)), dropout);
        }
        let gain = &parameters[self.layout.final_norm.clone()];
        rms_norm::forward(&self.last, gain, self.shape.norm_eps, &mut self.last_normed, &mut self.last_inverse);
    }

    /// Computes the layer's `middle` from the residual stream in `last`.
    fn forward_attention(&mut self, n: usize, parameters: &[f32]) {
        let attention = self.shape.attention();
        let (at, s) = (&self.layout.layers[n], &mut self.layers[n]);
        let width = attention.qkv_width();
        s.input.copy_from_slice(&self.last);
        let gain = &parameters[at.attention_norm.clone()];
        rms_norm::forward(&s.input, gain, self.shape.norm_eps, &mut s.input_normed, &mut s.input_inverse);
        let qkv = Linear { inputs: self.shape.width, outputs: width };
        qkv.forward(&s.input_normed, &parameters[at.qkv.clone()], 0.0, &mut s.qkv);
        let rotated = attention.q_width() + attention.kv_width();
        for (t, row) in s.qkv.chunks_exact_mut(width).enumerate() {
            self.rope.forward(&mut row[..rotated], t % self.context);
        }
        let (q_width, context) = (attention.q_width(), self.context);
        for i in 0..self.sequences {
            attention::forward(
                attention,
                &s.qkv[i * context * width..][..context * width],
                &mut s.attended[i * context * q_width..][..context * q_width],
                &mut s.log_sum[i * context * attention.heads..][..context * attention.heads],
                &mut self.attention_scratch,
            );
        }
        s.middle.copy_from_slice(&s.input);
        let output = Linear { inputs: q_width, outputs: self.shape.width };
        output.forward(&s.attended, &parameters[at.output.clone()], 1.0, &mut s.middle);
    }

    /// Computes the residual stream in `last` from the layer's `middle`.
    fn forward_experts(&mut self, n: usize, parameters: &[f32], noise: Option<u64>, dropout: Option<Dropout>) {
        let (gate, batch) = (self.shape.gate(), self.batch(noise));
        let (at, s) = (&self.layout.layers[n], &mut self.layers[n]);
        let gain = &parameters[at.expert_norm.clone()];
        rms_norm::forward(&s.middle, gain, self.shape.norm_eps, &mut s.middle_normed, &mut s.middle_inverse);
        let router = Linear { inputs: self.shape.width, outputs: gate.rows() };
        router.forward(&s.middle_normed, &parameters[at.router.clone()], 0.0, &mut s.routing.scores);
        gate::forward(gate, &parameters[at.bias.clone()], batch, &mut s.routing);
        self.last.copy_from_slice(&s.middle);
        moe::forward(
            self.shape.expert(),
            gate,
            &s.middle_normed,
            &parameters[at.w13.clone()],
            &parameters[at.w2.clone()],
            &s.routing,
            dropout,
            &mut self.last,
            &mut s.moe,
            &mut self.moe_scratch,
        );
    }

    /// Computes the loss and the gradient of the last norm's input, which goes to `d_stream`.
    fn backward_head(&mut self, parameters: &[f32], targets: &[u16], share: f32) -> f64 {
        let at = self.layout.embedding.clone();
        let loss = cross_entropy::forward_backward(
            &self.last_normed,
            &parameters[at.clone()],
            self.shape.width,
            targets,
            share / targets.len() as f32,
            &mut self.d_width,
            (self.trained != Trained::Routers).then_some(&mut self.gradient[at]),
            &mut self.loss_scratch,
        );
        let at = self.layout.final_norm.clone();
        self.d_stream.fill(0.0);
        rms_norm::backward(
            &self.last,
            &parameters[at.clone()],
            &self.last_inverse,
            &self.d_width,
            &mut self.d_stream,
            &mut self.gradient[at],
        );
        loss
    }

    /// Changes `d_stream` from the gradient of the layer's output to that of its `middle`.
    fn backward_experts(
        &mut self,
        n: usize,
        parameters: &[f32],
        factors: GateLosses,
        share: f32,
        dropout: Option<Dropout>,
    ) {
        let (gate, batch) = (self.shape.gate(), self.batch(None));
        let (at, s) = (&self.layout.layers[n], &self.layers[n]);
        let experts = matches!(self.trained, Trained::All | Trained::WithoutRouters);
        let (before_w2, from_w2) = self.gradient.split_at_mut(at.w2.start);
        self.d_width.fill(0.0);
        self.d_weights.fill(0.0);
        moe::backward(
            self.shape.expert(),
            gate,
            &s.middle_normed,
            &parameters[at.w13.clone()],
            &parameters[at.w2.clone()],
            &s.routing,
            dropout,
            &self.d_stream,
            &s.moe,
            MoeGradients {
                x: &mut self.d_width,
                w13: experts.then_some(&mut before_w2[at.w13.clone()]),
                w2: experts.then_some(&mut from_w2[..at.w2.len()]),
                weights: &mut self.d_weights,
            },
            &mut self.moe_scratch,
        );
        gate::backward(gate, &s.routing, &self.d_weights, factors, batch, share, &mut self.d_scores);
        let router = Linear { inputs: self.shape.width, outputs: gate.rows() };
        router.add_to_weight(&self.d_scores, &s.middle_normed, &mut self.gradient[at.router.clone()]);
        router.to_input(&self.d_scores, &parameters[at.router.clone()], 1.0, &mut self.d_width);
        rms_norm::backward(
            &s.middle,
            &parameters[at.expert_norm.clone()],
            &s.middle_inverse,
            &self.d_width,
            &mut self.d_stream,
            &mut self.gradient[at.expert_norm.clone()],
        );
    }

    /// Changes `d_stream` from the gradient of the layer's `middle` to that of its input.
    fn backward_attention(&mut self, n: usize, parameters: &[f32]) {
        let (d, attention) = (self.shape.width, self.shape.attention());
        let (at, s) = (&self.layout.layers[n], &self.layers[n]);
        let (width, q_width, context) = (attention.qkv_width(), attention.q_width(), self.context);
        let output = Linear { inputs: q_width, outputs: d };
        let weights = self.trained != Trained::Routers;
        if weights {
            output.add_to_weight(&self.d_stream, &s.attended, &mut self.gradient[at.output.clone()]);
        }
        output.to_input(&self.d_stream, &parameters[at.output.clone()], 0.0, &mut self.d_attended);
        for i in 0..self.sequences {
            let rows = |w: usize| i * context * w..(i + 1) * context * w;
            attention::backward(
                attention,
                &s.qkv[rows(width)],
                &s.attended[rows(q_width)],
                &s.log_sum[rows(attention.heads)],
                &self.d_attended[rows(q_width)],
                &mut self.d_qkv[rows(width)],
                &mut self.attention_scratch,
            );
        }
        let rotated = q_width + attention.kv_width();
        for (t, row) in self.d_qkv.chunks_exact_mut(width).enumerate() {
            self.rope.backward(&mut row[..rotated], t % context);
        }
        let qkv = Linear { inputs: d, outputs: width };
        if weights {
            qkv.add_to_weight(&self.d_qkv, &s.input_normed, &mut self.gradient[at.qkv.clone()]);
        }
        qkv.to_input(&self.d_qkv, &parameters[at.qkv.clone()], 0.0, &mut self.d_width);
        rms_norm::backward(
            &s.input,
            &parameters[at.attention_norm.clone()],
            &s.input_inverse,
            &self.d_width,
            &mut self.d_stream,
            &mut self.gradient[at.attention_norm.clone()],
        );
    }

    fn backward_embedding(&mut self, inputs: &[u16]) {
        let d = self.shape.width;
        let gradient = &mut self.gradient[self.layout.embedding.clone()];
        for (dx, &token) in self.d_stream.chunks_exact(d).zip(inputs) {
            crate::linalg::add_scaled(&mut gradient[usize::from(token) * d..][..d], 1.0, dx);
        }
    }
}
