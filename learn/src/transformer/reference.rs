//! The reference for tests: a simple implementation of the model in `f64`, one token after the other, without blocks,
//! groups or buffers. It shares only the layout of the parameters with the fast code.

use super::gate::{GateKind, GateLosses};
use super::model::{Layout, ModelShape};

/// What the reference computes for one batch.
pub struct Outcome {
    /// `mean cross-entropy + the gates' losses`.
    pub loss: f64,
    /// `-log p(target)` of each token.
    pub token_losses: Vec<f64>,
    /// The chosen experts of each layer and token, with their weights; the weight is 0 where the expert is full.
    pub routing: Vec<Vec<Vec<(usize, f64)>>>,
}

fn matvec(w: &[f64], x: &[f64]) -> Vec<f64> {
    w.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
}

fn norm(x: &[f64], gain: &[f64], eps: f64) -> Vec<f64> {
    let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + eps).sqrt();
    x.iter().zip(gain).map(|(x, g)| x / rms * g).collect()
}

fn log_sum_exp(x: &[f64]) -> f64 {
    let m = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    m + x.iter().map(|x| (x - m).exp()).sum::<f64>().ln()
}

fn rotate(x: &mut [f64], head_dim: usize, position: usize, theta: f64) {
    for head in x.chunks_exact_mut(head_dim) {
        for i in 0..head_dim / 2 {
            let (sin, cos) = (position as f64 * theta.powf(-2.0 * i as f64 / head_dim as f64)).sin_cos();
            let (a, b) = (head[i], head[i + head_dim / 2]);
            head[i] = a * cos - b * sin;
            head[i + head_dim / 2] = b * cos + a * sin;
        }
    }
}

/// The noise for a layer, a token and an expert.
pub type Noise<'a> = &'a dyn Fn(usize, usize, usize) -> f64;

/// What multiplies a number in an expert: of (layer, assignment, unit).
pub type Mask<'a> = &'a dyn Fn(usize, usize, usize) -> f64;

/// The decisions of a gate and the values that its losses need, for the tokens of a layer.
#[derive(Default)]
struct Gathered {
    /// Each token's chosen experts and weights.
    chosen: Vec<Vec<(usize, f64)>>,
    /// Each token's probability of each expert, and of each group.
    probabilities: Vec<Vec<f64>>,
    groups: Vec<Vec<f64>>,
    /// Each token's squared log-sum-exp; a sum over both levels where there are two.
    squares: Vec<f64>,
    /// Each token's probability of choosing each expert if that expert's noise were drawn again.
    smooth: Vec<Vec<f64>>,
}

/// Indices by falling key, ties by lower index.
fn ranked(keys: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|&a, &b| keys[b].total_cmp(&keys[a]));
    order
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let total = log_sum_exp(x);
    x.iter().map(|x| (x - total).exp()).collect()
}

/// The standard normal distribution function, by Simpson's rule.
fn distribution(x: f64) -> f64 {
    const PARTS: usize = 300;
    let (from, to) = (-7.0f64, x.clamp(-6.9, 7.0));
    let step = (to - from) / PARTS as f64;
    let density = |n: usize| (-0.5 * (from + n as f64 * step).powi(2)).exp() / std::f64::consts::TAU.sqrt();
    let weight = |n: usize| if n == 0 || n == PARTS { 1.0 } else { [2.0, 4.0][n % 2] };
    (0..=PARTS).map(|n| weight(n) * density(n)).sum::<f64>() * step / 3.0
}

fn squared_variation(x: &[f64]) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64 / (mean * mean)
}

/// One token's choice from the router's scores; `noise` returns the noise of an expert.
fn choose(shape: &ModelShape, scores: &[f64], bias: &[f64], noise: &dyn Fn(usize) -> f64, g: &mut Gathered) {
    let (experts, k) = (shape.experts, shape.top_k);
    let (logits, extra) = scores.split_at(experts);
    let square = |x: &[f64]| log_sum_exp(x).powi(2);
    let renormalised = |keys: &[f64]| -> Vec<(usize, f64)> {
        let order = &ranked(keys)[..k];
        let kept = softmax(&order.iter().map(|&e| keys[e]).collect::<Vec<_>>());
        order.iter().copied().zip(kept).collect()
    };
    match shape.router {
        GateKind::SoftmaxTopK => {
            g.squares.push(square(logits));
            g.probabilities.push(softmax(logits));
            g.chosen.push(renormalised(logits));
        }
        GateKind::TopKOfSoftmax { .. } => {
            let p = softmax(logits);
            g.chosen.push(ranked(logits)[..k].iter().map(|&e| (e, p[e])).collect());
            g.squares.push(square(logits));
            g.probabilities.push(p);
        }
        GateKind::NoisyTopK { .. } => {
            let deviation: Vec<f64> = extra.iter().map(|n| n.exp().ln_1p() + 1e-2).collect();
            let h: Vec<f64> = (0..experts).map(|e| logits[e] + noise(e) * deviation[e]).collect();
            let smooth = |e: usize| {
                let mut others: Vec<f64> = (0..experts).filter(|&o| o != e).map(|o| h[o]).collect();
                others.sort_by(|a, b| b.total_cmp(a));
                distribution((logits[e] - others[k - 1]) / deviation[e])
            };
            g.smooth.push((0..experts).map(smooth).collect());
            g.probabilities.push(softmax(&h));
            g.chosen.push(renormalised(&h));
        }
        GateKind::Hierarchical { groups, groups_per_token } => {
            let (size, each) = (experts / groups, k / groups_per_token);
            let of_group = softmax(extra);
            let within: Vec<Vec<f64>> = logits.chunks(size).map(softmax).collect();
            g.probabilities.push((0..experts).map(|e| of_group[e / size] * within[e / size][e % size]).collect());
            g.groups.push(of_group.clone());
            g.squares.push(square(logits) + square(extra));
            let top = &ranked(extra)[..groups_per_token];
            let all: f64 = top.iter().map(|&n| of_group[n]).sum();
            let mut chosen = Vec::new();
            for &n in top {
                let best = &ranked(&within[n])[..each];
                let sum: f64 = best.iter().map(|&e| within[n][e]).sum();
                chosen.extend(best.iter().map(|&e| (n * size + e, of_group[n] / all * within[n][e] / sum)));
            }
            chosen.sort_by(|a, b| b.1.total_cmp(&a.1));
            g.chosen.push(chosen);
        }
        GateKind::SigmoidBias { .. } => {
            let s: Vec<f64> = logits.iter().map(|l| 1.0 / (1.0 + (-l).exp())).collect();
            let keys: Vec<f64> = s.iter().zip(bias).map(|(s, b)| s + b).collect();
            let top = &ranked(&keys)[..k];
            let sum: f64 = top.iter().map(|&e| s[e]).sum();
            let mut chosen: Vec<(usize, f64)> = top.iter().map(|&e| (e, s[e] / sum)).collect();
            chosen.sort_by(|a, b| b.1.total_cmp(&a.1));
            g.chosen.push(chosen);
        }
    }
}

/// `n sum f p` over these tokens; `place` returns the index under which an expert counts.
fn even(n: usize, k: usize, chosen: &[Vec<(usize, f64)>], p: &[Vec<f64>], place: impl Fn(usize) -> usize) -> f64 {
    let tokens = chosen.len() as f64;
    let share = |i: usize| chosen.iter().flatten().filter(|(e, _)| place(*e) == i).count() as f64 / (tokens * k as f64);
    let mean = |i: usize| p.iter().map(|p| p[i]).sum::<f64>() / tokens;
    n as f64 * (0..n).map(|i| share(i) * mean(i)).sum::<f64>()
}

/// Computes the gate's losses, and sets the weights of full experts to 0.
fn settle(shape: &ModelShape, context: usize, factors: GateLosses, g: &mut Gathered) -> f64 {
    let (experts, k, tokens) = (shape.experts, shape.top_k, g.chosen.len());
    let (balance, z) = (f64::from(factors.balance), f64::from(factors.z));
    let z = z * g.squares.iter().sum::<f64>() / tokens as f64;
    match shape.router {
        GateKind::SoftmaxTopK | GateKind::TopKOfSoftmax { capacity_factor: None } => {
            z + balance * even(experts, k, &g.chosen, &g.probabilities, |e| e)
        }
        GateKind::TopKOfSoftmax { capacity_factor: Some(factor) } => {
            let parts: Vec<f64> = g
                .chosen
                .chunks(context)
                .zip(g.probabilities.chunks(context))
                .map(|(chosen, p)| even(experts, k, chosen, p, |e| e))
                .collect();
            let most = (factor * (k * shape.context) as f64 / experts as f64).ceil() as usize;
            for sequence in g.chosen.chunks_mut(context) {
                for t in 0..sequence.len() {
                    for c in 0..k {
                        let e = sequence[t][c].0;
                        if sequence[..t].iter().flatten().filter(|(before, _)| *before == e).count() >= most {
                            sequence[t][c].1 = 0.0;
                        }
                    }
                }
            }
            z + balance * parts.iter().sum::<f64>() / parts.len() as f64
        }
        GateKind::NoisyTopK { importance_loss, load_loss } => {
            let weight = |e: usize| g.chosen.iter().flatten().filter(|(o, _)| *o == e).map(|(_, w)| w).sum();
            let load = |e: usize| g.smooth.iter().map(|p| p[e]).sum();
            f64::from(importance_loss) * squared_variation(&(0..experts).map(weight).collect::<Vec<_>>())
                + f64::from(load_loss) * squared_variation(&(0..experts).map(load).collect::<Vec<_>>())
        }
        GateKind::Hierarchical { groups, .. } => {
            let size = experts / groups;
            let levels = even(experts, k, &g.chosen, &g.probabilities, |e| e)
                + even(groups, k, &g.chosen, &g.groups, |e| e / size);
            z + balance * 0.5 * levels
        }
        GateKind::SigmoidBias { .. } => 0.0,
    }
}

/// Runs `inputs` (sequences x tokens) through the reference.
pub fn run(
    shape: &ModelShape,
    parameters: &[f64],
    inputs: &[Vec<u16>],
    targets: &[Vec<u16>],
    factors: GateLosses,
    noise: Noise<'_>,
    mask: Mask<'_>,
) -> Outcome {
    let layout = Layout::new(shape);
    let p = |range: &std::ops::Range<usize>| &parameters[range.clone()];
    let (d, hd, eps) = (shape.width, shape.head_dim(), f64::from(shape.norm_eps));
    let embedding = p(&layout.embedding);
    let embed = |t: &u16| embedding[usize::from(*t) * d..][..d].to_vec();
    let mut streams: Vec<Vec<Vec<f64>>> = inputs.iter().map(|s| s.iter().map(embed).collect()).collect();
    let mut loss = 0.0;
    let mut routing = Vec::new();
    for (number, layer) in layout.layers.iter().enumerate() {
        for stream in &mut streams {
            let mut keys: Vec<Vec<f64>> = Vec::new();
            let mut values: Vec<Vec<f64>> = Vec::new();
            for (t, x) in stream.iter_mut().enumerate() {
                let n = norm(x, p(&layer.attention_norm), eps);
                let mut q = matvec(p(&layer.qkv), &n);
                let mut k = q.split_off(d);
                let v = k.split_off(shape.kv_heads * hd);
                rotate(&mut q, hd, t, shape.rope_theta);
                rotate(&mut k, hd, t, shape.rope_theta);
                keys.push(k);
                values.push(v);
                let mut out = vec![0.0; d];
                for head in 0..shape.heads {
                    let kv = head / (shape.heads / shape.kv_heads) * hd;
                    let query = &q[head * hd..][..hd];
                    let score =
                        |k: &Vec<f64>| query.iter().zip(&k[kv..]).map(|(a, b)| a * b).sum::<f64>() / (hd as f64).sqrt();
                    let scores: Vec<f64> = keys.iter().map(score).collect();
                    let total = log_sum_exp(&scores);
                    for (s, v) in scores.iter().zip(&values) {
                        for i in 0..hd {
                            out[head * hd + i] += (s - total).exp() * v[kv + i];
                        }
                    }
                }
                let out = matvec(p(&layer.output), &out);
                x.iter_mut().zip(out).for_each(|(x, o)| *x += o);
            }
        }
        let mut gathered = Gathered::default();
        let normed: Vec<Vec<f64>> = streams.iter().flatten().map(|x| norm(x, p(&layer.expert_norm), eps)).collect();
        for (t, n) in normed.iter().enumerate() {
            let scores = matvec(p(&layer.router), n);
            choose(shape, &scores, p(&layer.bias), &|e| noise(number, t, e), &mut gathered);
        }
        loss += settle(shape, inputs[0].len(), factors, &mut gathered);
        let shared = (shape.experts..shape.experts + shape.shared_experts).map(|e| (e, 1.0));
        let choices = shape.gate().choices();
        for (t, ((x, n), chosen)) in streams.iter_mut().flatten().zip(&normed).zip(&gathered.chosen).enumerate() {
            for (c, (e, weight)) in chosen.iter().copied().chain(shared.clone()).enumerate() {
                let (w13, w2) = (p(&layer.w13), p(&layer.w2));
                let size = shape.ff * d;
                let h1 = matvec(&w13[2 * e * size..][..size], n);
                let h3 = matvec(&w13[(2 * e + 1) * size..][..size], n);
                let kept = |unit: usize| mask(number, t * choices + c, unit);
                let a: Vec<f64> =
                    h1.iter().zip(&h3).enumerate().map(|(u, (a, b))| kept(u) * a / (1.0 + (-a).exp()) * b).collect();
                let y = matvec(&w2[e * size..][..size], &a);
                x.iter_mut().zip(y).for_each(|(x, y)| *x += weight * y);
            }
        }
        routing.push(gathered.chosen);
    }
    let token_losses: Vec<f64> = streams
        .iter()
        .flatten()
        .zip(targets.iter().flatten())
        .map(|(x, &target)| {
            let logits = matvec(embedding, &norm(x, p(&layout.final_norm), eps));
            log_sum_exp(&logits) - logits[usize::from(target)]
        })
        .collect();
    loss += token_losses.iter().sum::<f64>() / token_losses.len() as f64;
    Outcome { loss, token_losses, routing }
}

pub mod tests {
    use super::*;
    use crate::random::{hash, normal, uniform};
    use crate::transformer::model::Trained;
    use crate::transformer::replica::Replica;

    const FACTORS: GateLosses = GateLosses { balance: 0.3, z: 0.1 };
    const SEED: u64 = 77;
    const WHOLE: Mask<'static> = &|_, _, _| 1.0;

    /// A model small enough for the reference.
    pub fn shape() -> ModelShape {
        ModelShape {
            vocabulary: 150,
            width: 12,
            layers: 2,
            heads: 6,
            kv_heads: 3,
            ff: 10,
            experts: 5,
            top_k: 2,
            shared_experts: 0,
            context: 70,
            rope_theta: 100.0,
            norm_eps: 1e-5,
            router: GateKind::SoftmaxTopK,
        }
    }

    /// Every kind of router, with odd sizes where that is possible.
    fn shapes() -> Vec<ModelShape> {
        let with =
            |experts, top_k, shared_experts, router| ModelShape { experts, top_k, shared_experts, router, ..shape() };
        let switch = |capacity_factor| GateKind::TopKOfSoftmax { capacity_factor };
        let noisy = GateKind::NoisyTopK { importance_loss: 0.2, load_loss: 0.3 };
        let grouped = |groups, groups_per_token| GateKind::Hierarchical { groups, groups_per_token };
        vec![
            with(5, 2, 0, GateKind::SoftmaxTopK),
            with(1, 1, 0, GateKind::SoftmaxTopK),
            with(4, 4, 0, GateKind::SoftmaxTopK),
            with(7, 1, 0, GateKind::SoftmaxTopK),
            with(3, 1, 1, GateKind::SoftmaxTopK),
            with(5, 1, 0, switch(None)),
            with(5, 1, 0, switch(Some(1.25))),
            with(6, 2, 0, switch(Some(0.7))),
            with(5, 2, 0, noisy),
            with(6, 1, 0, noisy),
            with(9, 4, 0, grouped(3, 2)),
            with(8, 2, 0, grouped(4, 1)),
            with(7, 3, 1, GateKind::SigmoidBias { bias_rate: 0.01 }),
        ]
    }

    /// The noise that a replica uses.
    fn drawn(experts: usize) -> impl Fn(usize, usize, usize) -> f64 {
        move |layer, t, e| normal(hash(SEED, layer as u64), (t * experts + e) as u64)
    }

    struct Case {
        shape: ModelShape,
        layout: Layout,
        parameters: Vec<f32>,
        inputs: Vec<Vec<u16>>,
        targets: Vec<Vec<u16>>,
    }

    /// Two sequences longer than a block of attention, with parameters large enough to make every path matter.
    fn case(shape: ModelShape) -> Case {
        let layout = Layout::new(&shape);
        let parameters = (0..layout.total).map(|i| (0.35 * normal(5, i as u64)) as f32);
        let mut parameters: Vec<f32> = parameters.collect();
        for p in layout.parameters.iter().filter(|p| p.kind == crate::transformer::model::Kind::Gain) {
            parameters[p.range.clone()].iter_mut().for_each(|g| *g += 1.0);
        }
        let ids = |seed: u64| {
            let id = |i: usize| (hash(seed, i as u64) % shape.vocabulary as u64) as u16;
            (0..2).map(|s| (0..shape.context).map(|t| id(s * 1000 + t)).collect()).collect()
        };
        Case { inputs: ids(1), targets: ids(2), parameters, layout, shape }
    }

    fn wide(parameters: &[f32]) -> Vec<f64> {
        parameters.iter().map(|&p| f64::from(p)).collect()
    }

    fn assert_same_routing(shape: &ModelShape, replica: &Replica, plain: &Outcome) {
        let choices = shape.gate().choices();
        for (fast, plain) in replica.routing().zip(&plain.routing) {
            for (t, plain) in plain.iter().enumerate() {
                let at = t * choices..t * choices + shape.top_k;
                let selected: Vec<usize> = fast.selected[at.clone()].iter().map(|&e| e.into()).collect();
                assert_eq!(selected, plain.iter().map(|(e, _)| *e).collect::<Vec<_>>(), "{:?}", shape.router);
                for (fast, (_, plain)) in fast.weights[at].iter().zip(plain) {
                    assert!((f64::from(*fast) - plain).abs() < 1e-5, "{fast} is not {plain}");
                }
            }
        }
    }

    #[test]
    fn losses_and_routing_equal_the_reference() {
        for shape in shapes() {
            let c = case(shape);
            let parameters = wide(&c.parameters);
            let plain = run(&c.shape, &parameters, &c.inputs, &c.targets, FACTORS, &|_, _, _| 0.0, WHOLE);
            let mut replica = Replica::new(&c.shape, 2, c.shape.context);
            let (inputs, targets) = (c.inputs.concat(), c.targets.concat());
            let mut losses = vec![0.0; inputs.len()];
            replica.evaluate(&c.parameters, &inputs, &targets, &mut losses);
            for (fast, plain) in losses.iter().zip(&plain.token_losses) {
                assert!((f64::from(*fast) - plain).abs() < 2e-4, "{fast} is not {plain}");
            }
            assert_same_routing(&c.shape, &replica, &plain);
            let noise = drawn(c.shape.experts);
            let plain = run(&c.shape, &parameters, &c.inputs, &c.targets, FACTORS, &noise, WHOLE);
            let trained = replica.train(&c.parameters, &inputs, &targets, FACTORS, 1.0, SEED);
            assert_same_routing(&c.shape, &replica, &plain);
            let total = trained.cross_entropy / inputs.len() as f64 + trained.gates;
            assert!((total - plain.loss).abs() < 1e-4, "{:?}: {total} is not {}", c.shape.router, plain.loss);
        }
    }

    #[test]
    fn the_capacity_of_the_cases_drops_some_tokens_and_keeps_most() {
        for shape in shapes().into_iter().filter(|s| s.gate().capacity.is_some()) {
            let c = case(shape);
            let mut replica = Replica::new(&c.shape, 2, c.shape.context);
            let mut losses = vec![0.0; replica.tokens()];
            replica.evaluate(&c.parameters, &c.inputs.concat(), &c.targets.concat(), &mut losses);
            for routing in replica.routing() {
                let dropped = routing.dropped.iter().filter(|&&d| d).count();
                assert!((1..routing.dropped.len()).contains(&dropped), "{dropped}");
            }
        }
    }

    /// Compares the gradient of every parameter of every kind with central differences of the `f64` reference.
    #[test]
    fn gradient_equals_central_differences_of_the_reference() {
        for shape in shapes() {
            let c = case(shape);
            let mut replica = Replica::new(&c.shape, 2, c.shape.context);
            replica.train(&c.parameters, &c.inputs.concat(), &c.targets.concat(), FACTORS, 1.0, SEED);
            let mut parameters = wide(&c.parameters);
            let noise = drawn(c.shape.experts);
            for p in c.layout.parameters.iter().filter(|p| p.kind != crate::transformer::model::Kind::Bias) {
                let scale = p.range.clone().map(|i| replica.gradient[i].abs()).fold(0.0, f32::max);
                for pick in 0..4 {
                    let i = p.range.start + (hash(9, (p.range.start + pick) as u64) as usize) % p.range.len();
                    let step = 1e-5;
                    let kept = parameters[i];
                    let mut at = |value: f64| {
                        parameters[i] = value;
                        run(&c.shape, &parameters, &c.inputs, &c.targets, FACTORS, &noise, WHOLE).loss
                    };
                    let (up, down) = (at(kept + step), at(kept - step));
                    parameters[i] = kept;
                    let (plain, fast) = ((up - down) / (2.0 * step), f64::from(replica.gradient[i]));
                    let slack = 1e-3 * f64::from(scale) + 1e-6;
                    let kind = c.shape.router;
                    assert!((plain - fast).abs() < slack, "{kind:?} {}[{i}]: {fast} is not {plain}", p.name);
                }
            }
            for layer in &c.layout.layers {
                assert!(replica.gradient[layer.bias.clone()].iter().all(|&g| g == 0.0), "no gradient reaches a bias");
            }
        }
    }

    #[test]
    fn dropout_in_the_experts_equals_the_reference() {
        for shape in [shape(), ModelShape { experts: 1, top_k: 1, ..shape() }] {
            let c = case(shape);
            let mut replica = Replica::new(&c.shape, 2, c.shape.context);
            replica.dropout = 0.4;
            let losses = replica.train(&c.parameters, &c.inputs.concat(), &c.targets.concat(), FACTORS, 1.0, SEED);
            let ff = c.shape.ff;
            let mask = |layer: usize, assignment: usize, unit: usize| {
                let seed = hash(SEED, 0xd209 + layer as u64);
                let dropped = uniform(seed, (assignment * ff + unit) as u64) < f64::from(0.4f32);
                if dropped { 0.0 } else { 1.0 / 0.6 }
            };
            let mut parameters = wide(&c.parameters);
            let noise = drawn(c.shape.experts);
            let mut loss = |i: usize, change: f64| {
                let kept = parameters[i];
                parameters[i] += change;
                let loss = run(&c.shape, &parameters, &c.inputs, &c.targets, FACTORS, &noise, &mask).loss;
                parameters[i] = kept;
                loss
            };
            let total = losses.cross_entropy / c.inputs.concat().len() as f64 + losses.gates;
            assert!((total - loss(0, 0.0)).abs() < 1e-4);
            for p in &c.layout.parameters {
                let scale = p.range.clone().map(|i| replica.gradient[i].abs()).fold(0.0, f32::max);
                let i = p.range.start + p.range.len() / 2;
                let (plain, fast) = ((loss(i, 1e-5) - loss(i, -1e-5)) / 2e-5, f64::from(replica.gradient[i]));
                assert!((plain - fast).abs() < 1e-3 * f64::from(scale) + 1e-6, "{}: {fast} is not {plain}", p.name);
            }
        }
    }

    #[test]
    fn parts_have_the_gradient_of_the_whole_and_the_rest_none() {
        for shape in [
            shape(),
            ModelShape { router: GateKind::Hierarchical { groups: 2, groups_per_token: 1 }, experts: 4, ..shape() },
        ] {
            let c = case(shape);
            let gradient = |trained: Trained| {
                let mut replica = Replica::new(&c.shape, 2, c.shape.context);
                replica.trained = trained;
                replica.train(&c.parameters, &c.inputs.concat(), &c.targets.concat(), FACTORS, 1.0, SEED);
                replica.gradient
            };
            let whole = gradient(Trained::All);
            for trained in [Trained::WithoutExperts, Trained::Routers] {
                let part = gradient(trained);
                for p in &c.layout.parameters {
                    let expected = if trained.covers(p) { &whole[p.range.clone()] } else { &vec![0.0; p.range.len()] };
                    assert_eq!(&part[p.range.clone()], expected, "{trained:?} {}", p.name);
                }
            }
        }
    }

    #[test]
    fn two_replicas_of_half_a_batch_add_up() {
        let c = case(ModelShape { experts: 1, top_k: 1, ..shape() });
        let mut whole = Replica::new(&c.shape, 2, c.shape.context);
        whole.train(&c.parameters, &c.inputs.concat(), &c.targets.concat(), FACTORS, 1.0, SEED);
        let mut sum = vec![0.0; c.layout.total];
        for s in 0..2 {
            let mut half = Replica::new(&c.shape, 1, c.shape.context);
            half.train(&c.parameters, &c.inputs[s], &c.targets[s], FACTORS, 0.5, SEED);
            sum.iter_mut().zip(&half.gradient).for_each(|(s, g)| *s += g);
        }
        let largest = whole.gradient.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        for (a, b) in sum.iter().zip(&whole.gradient) {
            assert!((a - b).abs() < 1e-4 * largest);
        }
    }
}
