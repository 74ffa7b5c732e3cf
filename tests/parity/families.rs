//! The gate's shader against the routers of transformers' families, on given router logits.

use super::bench::{self, Bench, Floats};
use super::gate_cases::{GateCase, read};
use moescope::engine::gpu::policy::words;
use moescope::engine::gpu::tile::Tile;
use moescope::engine::gpu::upload::gate_vectors;
use moescope::shape::{Dtype, Setting};
use std::path::Path;

/// In every case the shader chooses the same experts with the same weights, up to rounding.
pub fn agrees_with_the_routers_of_families(bench: &mut Bench, root: &Path) {
    for case in read(&root.join("tests/golden/gates")) {
        let GateCase { name, shape, vectors, logits, selected, weights } = &case;
        let (experts, tokens) = (shape.experts, logits.len() / shape.experts);
        // With the identity for its matrix, a router's logits are its input.
        let identity: Vec<f32> =
            (0..experts * experts).map(|at| if at % (experts + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let router = bench::Weights {
            dtype: Dtype::F32,
            rows: experts,
            cols: experts,
            bytes: bytemuck::cast_slice(&identity).to_vec(),
        };
        let setting = Setting::own(shape, 64);
        let run = bench.kernel("gate", Dtype::F32, Tile::One).choice(shape, false);
        let run = run.constant("GROUPS", experts.div_ceil(4)).tokens(0, tokens).read_rows(logits, experts);
        let run = run.weights(&[&router]).read(&gate_vectors(experts, vectors)).read(&words(0, &[setting]));
        let run = run.read(&vec![0u32; tokens]).write(logits.len()).write(weights.len()).write(weights.len());
        let out = run.run([tokens, 1]);
        let got = out[1].ids();
        let (got, k) = (got[..selected.len()].chunks_exact(shape.top_k), shape.top_k);
        for (t, (got, (wanted, weights))) in got.zip(selected.chunks_exact(k).zip(weights.chunks_exact(k))).enumerate()
        {
            // A GPU may flush subnormal keys to 0, and then ranks these experts by their ids.
            let some = weights.iter().filter(|weight| **weight >= f32::MIN_POSITIVE).count();
            bench.equal(&format!("{name}: selected of token {t}"), &got[..some], &wanted[..some]);
            let sorted = |ids: &[u32]| ids.iter().copied().collect::<std::collections::BTreeSet<u32>>();
            assert_eq!(sorted(got), sorted(wanted), "{name}: experts of token {t}");
        }
        for (at, (got, wanted)) in out[2].floats().iter().zip(weights).enumerate() {
            let difference = (got - wanted).abs();
            assert!(difference < case.tolerance(2e-5), "{name}: weight {at} is {got}, and {wanted} in transformers");
        }
    }
}
