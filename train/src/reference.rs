//! The model again, written plainly in `f64` for tests: one token after the other, no blocks, no groups, no buffers.
//! It shares nothing with the fast code but the layout, so agreement means something.

use crate::gate::GateLosses;
use crate::model::{Layout, ModelShape};

/// What the plain model computes for one batch.
pub struct Outcome {
    /// `mean cross-entropy + balancing losses + z-losses`.
    pub loss: f64,
    /// `-log p(target)` of each token.
    pub token_losses: Vec<f64>,
    /// Per layer and token: the selected experts and their weights.
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

/// Runs `inputs` (sequences x tokens) through the model.
pub fn run(
    shape: &ModelShape,
    parameters: &[f64],
    inputs: &[Vec<u16>],
    targets: &[Vec<u16>],
    factors: GateLosses,
) -> Outcome {
    let layout = Layout::new(shape);
    let p = |range: &std::ops::Range<usize>| &parameters[range.clone()];
    let (d, hd, eps) = (shape.width, shape.head_dim(), f64::from(shape.norm_eps));
    let embedding = p(&layout.embedding);
    let embed = |t: &u16| embedding[usize::from(*t) * d..][..d].to_vec();
    let mut streams: Vec<Vec<Vec<f64>>> = inputs.iter().map(|s| s.iter().map(embed).collect()).collect();
    let mut loss = 0.0;
    let mut routing = Vec::new();
    for layer in &layout.layers {
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
        let tokens = inputs.iter().map(Vec::len).sum::<usize>() as f64;
        let mut importance = vec![0.0; shape.experts];
        let mut load = vec![0.0; shape.experts];
        let mut decisions = Vec::new();
        for x in streams.iter_mut().flatten() {
            let n = norm(x, p(&layer.expert_norm), eps);
            let logits = matvec(p(&layer.router), &n);
            let total = log_sum_exp(&logits);
            loss += f64::from(factors.z) * total * total / tokens;
            let probabilities: Vec<f64> = logits.iter().map(|l| (l - total).exp()).collect();
            let mut order: Vec<usize> = (0..shape.experts).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            order.truncate(shape.top_k);
            let kept: f64 = order.iter().map(|&e| probabilities[e]).sum();
            importance.iter_mut().zip(&probabilities).for_each(|(i, p)| *i += p / tokens);
            for &e in &order {
                load[e] += 1.0 / (tokens * shape.top_k as f64);
                let (w13, w2) = (p(&layer.w13), p(&layer.w2));
                let size = shape.ff * d;
                let h1 = matvec(&w13[2 * e * size..][..size], &n);
                let h3 = matvec(&w13[(2 * e + 1) * size..][..size], &n);
                let a: Vec<f64> = h1.iter().zip(&h3).map(|(a, b)| a / (1.0 + (-a).exp()) * b).collect();
                let y = matvec(&w2[e * size..][..size], &a);
                x.iter_mut().zip(y).for_each(|(x, y)| *x += probabilities[e] / kept * y);
            }
            decisions.push(order.iter().map(|&e| (e, probabilities[e] / kept)).collect());
        }
        let even: f64 = importance.iter().zip(&load).map(|(p, f)| p * f).sum();
        loss += f64::from(factors.balance) * shape.experts as f64 * even;
        routing.push(decisions);
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

mod tests {
    use super::*;
    use crate::random::{hash, normal};
    use crate::replica::Replica;

    const FACTORS: GateLosses = GateLosses { balance: 0.3, z: 0.1 };

    fn shape() -> ModelShape {
        ModelShape {
            vocabulary: 150,
            width: 12,
            layers: 2,
            heads: 6,
            kv_heads: 3,
            ff: 10,
            experts: 5,
            top_k: 2,
            context: 70,
            rope_theta: 100.0,
            norm_eps: 1e-5,
        }
    }

    struct Case {
        shape: ModelShape,
        layout: Layout,
        parameters: Vec<f32>,
        inputs: Vec<Vec<u16>>,
        targets: Vec<Vec<u16>>,
    }

    /// Two sequences longer than one block of attention, and parameters large enough that every path matters.
    fn case(shape: ModelShape) -> Case {
        let layout = Layout::new(&shape);
        let parameters = (0..layout.total).map(|i| (0.35 * normal(5, i as u64)) as f32);
        let mut parameters: Vec<f32> = parameters.collect();
        for p in layout.parameters.iter().filter(|p| p.rows == 1) {
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

    #[test]
    fn losses_and_routing_equal_the_reference() {
        for (experts, top_k) in [(5, 2), (1, 1), (4, 4), (7, 1)] {
            let c = case(ModelShape { experts, top_k, ..shape() });
            let plain = run(&c.shape, &wide(&c.parameters), &c.inputs, &c.targets, FACTORS);
            let mut replica = Replica::new(&c.shape, 2, c.shape.context);
            let (inputs, targets) = (c.inputs.concat(), c.targets.concat());
            let mut losses = vec![0.0; inputs.len()];
            replica.evaluate(&c.parameters, &inputs, &targets, &mut losses);
            for (fast, plain) in losses.iter().zip(&plain.token_losses) {
                assert!((f64::from(*fast) - plain).abs() < 2e-4, "{fast} is not {plain}");
            }
            for (fast, plain) in replica.routing().zip(&plain.routing) {
                for (t, plain) in plain.iter().enumerate() {
                    let at = t * top_k..(t + 1) * top_k;
                    let selected: Vec<usize> = fast.selected[at.clone()].iter().map(|&e| e.into()).collect();
                    assert_eq!(selected, plain.iter().map(|(e, _)| *e).collect::<Vec<_>>());
                    for (fast, (_, plain)) in fast.weights[at].iter().zip(plain) {
                        assert!((f64::from(*fast) - plain).abs() < 1e-5);
                    }
                }
            }
            let trained = replica.train(&c.parameters, &inputs, &targets, FACTORS, 1.0);
            let total = trained.cross_entropy / inputs.len() as f64 + trained.balance + trained.z;
            assert!((total - plain.loss).abs() < 1e-4, "{total} is not {}", plain.loss);
        }
    }

    /// Every parameter of every kind, against central differences of the `f64` reference.
    #[test]
    fn gradient_equals_central_differences_of_the_reference() {
        for (experts, top_k) in [(5, 2), (3, 1)] {
            let c = case(ModelShape { experts, top_k, ..shape() });
            let mut replica = Replica::new(&c.shape, 2, c.shape.context);
            replica.train(&c.parameters, &c.inputs.concat(), &c.targets.concat(), FACTORS, 1.0);
            let mut parameters = wide(&c.parameters);
            for p in &c.layout.parameters {
                let scale = p.range.clone().map(|i| replica.gradient[i].abs()).fold(0.0, f32::max);
                for pick in 0..4 {
                    let i = p.range.start + (hash(9, (p.range.start + pick) as u64) as usize) % p.range.len();
                    let step = 1e-5;
                    let kept = parameters[i];
                    let mut at = |value: f64| {
                        parameters[i] = value;
                        run(&c.shape, &parameters, &c.inputs, &c.targets, FACTORS).loss
                    };
                    let (up, down) = (at(kept + step), at(kept - step));
                    parameters[i] = kept;
                    let (plain, fast) = ((up - down) / (2.0 * step), f64::from(replica.gradient[i]));
                    let slack = 1e-3 * f64::from(scale) + 1e-6;
                    assert!((plain - fast).abs() < slack, "{}[{i}]: {fast} is not {plain}", p.name);
                }
            }
        }
    }

    #[test]
    fn two_replicas_of_half_a_batch_add_up() {
        let c = case(ModelShape { experts: 1, top_k: 1, ..shape() });
        let mut whole = Replica::new(&c.shape, 2, c.shape.context);
        whole.train(&c.parameters, &c.inputs.concat(), &c.targets.concat(), FACTORS, 1.0);
        let mut sum = vec![0.0; c.layout.total];
        for s in 0..2 {
            let mut half = Replica::new(&c.shape, 1, c.shape.context);
            half.train(&c.parameters, &c.inputs[s], &c.targets[s], FACTORS, 0.5);
            sum.iter_mut().zip(&half.gradient).for_each(|(s, g)| *s += g);
        }
        let largest = whole.gradient.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        for (a, b) in sum.iter().zip(&whole.gradient) {
            assert!((a - b).abs() < 1e-4 * largest);
        }
    }
}
