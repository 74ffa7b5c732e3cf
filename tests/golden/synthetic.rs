//! Mixtral models with random weights: sizes that no fixture has, and one that is large enough to time.

use super::engines::Kind;
use super::{largest_difference, run};
use half::f16;
use libtest_mimic::Trial;
use moescope::engine::{Engine, LogitsOf, Sampling};
use moescope::model::files::ModelFiles;
use moescope::model::{Dtype, Model};
use moescope::session::Session;
use safetensors::tensor::TensorView;
use std::rc::Rc;
use std::time::Instant;

/// The sizes of a model.
#[derive(Clone, Copy)]
struct Size {
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    intermediate: usize,
    experts: usize,
    vocabulary: usize,
    context: usize,
    dtype: Dtype,
}

/// A small model with wide heads.
const WIDE_HEADS: Size = Size {
    hidden: 48,
    layers: 2,
    heads: 2,
    kv_heads: 1,
    head_dim: 64,
    intermediate: 40,
    experts: 4,
    vocabulary: 96,
    context: 160,
    dtype: Dtype::F32,
};

/// The race's model "M": 117 M parameters.
const M: Size = Size {
    hidden: 512,
    layers: 8,
    heads: 8,
    kv_heads: 8,
    head_dim: 64,
    intermediate: 1024,
    experts: 8,
    vocabulary: 8192,
    context: 1024,
    dtype: Dtype::F16,
};

/// Heads of width 64 to 512 on a GPU engine, in prefill and token by token, compared with the CPU engine.
pub fn tests(kind: Kind) -> Vec<Trial> {
    let widths = [64, 128, 256, 320, 512];
    let test = |head_dim| {
        kind.test(&format!("wide_heads_agree_with_the_cpu::{head_dim}"), move |kind| {
            agrees_with_the_cpu(&model(Size { head_dim, ..WIDE_HEADS }), kind);
        })
    };
    widths.into_iter().map(test).collect()
}

/// Times an engine on the model M. Only `--ignored speed` runs it, because times on a shared machine are not a test.
pub fn speed(kind: Kind) -> Trial {
    kind.test("speed", |kind| time(&model(M), kind)).with_ignored_flag(true)
}

fn agrees_with_the_cpu(model: &Model, kind: Kind) {
    let vocabulary = model.architecture.vocabulary as u32;
    let ids: Vec<u32> = (0..140).map(|n| (n * n * 7 + 3) % vocabulary).collect();
    let (mut cpu, mut gpu) = (Kind::Cpu.open(model), kind.open(model));
    let expected = pollster::block_on(run(&mut cpu, &ids, usize::MAX));
    assert!(expected.logits.iter().all(|logit| logit.is_finite()));
    for chunk in [usize::MAX, 1] {
        gpu.truncate(0);
        let got = pollster::block_on(run(&mut gpu, &ids, chunk));
        let difference = largest_difference(&got.logits, &expected.logits);
        assert!(difference < kind.tolerance(), "chunks of {chunk}: logits differ by {difference}");
        for (got, expected) in got.layers.iter().zip(&expected.layers) {
            assert_eq!(got.selected, expected.selected, "chunks of {chunk}: layer {}", got.layer);
        }
    }
}

/// Prints the tokens per second of a prompt and of a continuation, the best of three runs each.
fn time(model: &Model, kind: Kind) {
    const PROMPT: u32 = 512;
    const DRAWN: u32 = 128;
    let engine = kind.open(model);
    let name = if let Engine::Gpu(gpu) = &engine { gpu.adapter().to_owned() } else { "CPU".into() };
    let mut session = Session::new(engine);
    let vocabulary = model.architecture.vocabulary as u32;
    let prompt: Vec<u32> = (0..PROMPT).map(|n| n * n * 31 % vocabulary).collect();
    let sampling = Sampling { temperature: 0.8, top_p: 1.0, seed: 1 };
    let (mut prefill, mut decode, mut one_by_one) = (0.0f64, 0.0f64, 0.0f64);
    let per_second = |tokens: u32, begin: Instant| f64::from(tokens) / begin.elapsed().as_secs_f64();
    for _ in 0..3 {
        let begin = Instant::now();
        pollster::block_on(session.run_routing(&prompt, None)).unwrap();
        prefill = prefill.max(per_second(PROMPT, begin));
        for (ahead, best) in [(usize::MAX, &mut decode), (1, &mut one_by_one)] {
            let begin = Instant::now();
            for _ in 0..DRAWN {
                pollster::block_on(session.draw(&sampling, ahead, None)).unwrap();
            }
            *best = best.max(per_second(DRAWN, begin));
        }
    }
    println!(
        "speed: {name}: prefill {prefill:.0} tokens/s, decode {decode:.0} tokens/s with steps in flight, \
         {one_by_one:.0} one by one"
    );
    if let Engine::Gpu(engine) = session.engine_mut() {
        for count in [1, 64] {
            match pollster::block_on(engine.profile(&prompt[..count], 0)) {
                Ok(times) => times.iter().for_each(|time| {
                    println!("speed: {count} tokens: {:>10} {:>4} x {:.3} ms", time.kernel, time.dispatches, time.ms);
                }),
                Err(error) => println!("speed: kernels are not timed: {error}"),
            }
        }
        assert!(engine.chunk(LogitsOf::Last) > 0);
    }
}

fn model(size: Size) -> Model {
    let config = serde_json::json!({
        "model_type": "mixtral",
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.head_dim,
        "max_position_embeddings": size.context,
        "rope_theta": 10000.0,
        "num_local_experts": size.experts,
        "num_experts_per_tok": 2,
    });
    let files = ModelFiles {
        name: "synthetic".into(),
        config: config.to_string().into_bytes(),
        tokenizer: None,
        generation: None,
        chat: None,
        weights: vec![("model.safetensors".into(), Rc::new(checkpoint(size)))],
    };
    Model::new(&files).unwrap()
}

/// Every tensor with its shape; random numbers of a size at which products keep the size of their input.
fn checkpoint(size: Size) -> Vec<u8> {
    let (d, inner) = (size.hidden, size.intermediate);
    let (queries, keys) = (size.heads * size.head_dim, size.kv_heads * size.head_dim);
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".into(), vec![size.vocabulary, d]),
        ("model.norm.weight".into(), vec![d]),
        ("lm_head.weight".into(), vec![size.vocabulary, d]),
    ];
    for n in 0..size.layers {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.push((format!("model.layers.{n}.{name}.weight"), shape.to_vec()));
        };
        add("input_layernorm", &[d]);
        add("post_attention_layernorm", &[d]);
        for (name, shape) in [("q", [queries, d]), ("k", [keys, d]), ("v", [keys, d]), ("o", [d, queries])] {
            add(&format!("self_attn.{name}_proj"), &shape);
        }
        add("block_sparse_moe.gate", &[size.experts, d]);
        for e in 0..size.experts {
            for (name, shape) in [("w1", [inner, d]), ("w2", [d, inner]), ("w3", [inner, d])] {
                add(&format!("block_sparse_moe.experts.{e}.{name}"), &shape);
            }
        }
    }
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let mut numbers = |shape: &[usize]| -> Vec<u8> {
        let scale = shape.get(1).map_or(1.0, |&inputs| (3.0 / inputs as f32).sqrt());
        let value = |_| if shape.len() == 1 { 1.0 } else { scale * random() };
        let values = (0..shape.iter().product::<usize>()).map(value);
        match size.dtype {
            Dtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
            Dtype::F16 => values.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect(),
            _ => unreachable!("no size asks for it"),
        }
    };
    let stored = if size.dtype == Dtype::F32 { safetensors::Dtype::F32 } else { safetensors::Dtype::F16 };
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> =
        shapes.into_iter().map(|(name, shape)| (name, shape.clone(), numbers(&shape))).collect();
    let views =
        tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(stored, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}
