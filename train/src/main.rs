//! The trainer.
mod attention;
mod cross_entropy;
mod gate;
mod linalg;
mod model;
mod moe;
mod random;
#[cfg(test)]
mod reference;
mod replica;
mod rms_norm;
mod rope;
fn main() {
    let shape = model::ModelShape { vocabulary: 2048, width: 128, layers: 4, heads: 4, kv_heads: 4, ff: 256, experts: 8, top_k: 2, context: 512, rope_theta: 10000.0, norm_eps: 1e-5 };
    let layout = model::Layout::new(&shape);
    let p = layout.initial(1);
    let n = std::env::args().nth(1).map_or(2, |s| s.parse().unwrap());
    let seqs = 8;
    let inputs: Vec<u16> = (0..seqs * 512).map(|i| (random::hash(3, i as u64) % 2048) as u16).collect();
    let mut reps: Vec<_> = (0..n).map(|_| replica::Replica::new(&shape, seqs, 512)).collect();
    for _ in 0..4 {
        let t = std::time::Instant::now();
        let losses: Vec<_> = std::thread::scope(|s| {
            let hs: Vec<_> = reps.iter_mut().map(|r| { let (p, inputs) = (&p, &inputs); s.spawn(move || r.train(p, inputs, inputs, gate::GateLosses { balance: 0.01, z: 0.001 }, 0.5)) }).collect();
            hs.into_iter().map(|h| h.join().unwrap()).collect()
        });
        let e = t.elapsed().as_secs_f64();
        println!("{e:.3} s, {:.0} tokens/s {:?}", (n * seqs * 512) as f64 / e, losses[0]);
    }
}
