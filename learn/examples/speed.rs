//! Steps a second of the labs: `cargo run -p moescope-learn --example speed`.

use std::time::Instant;

use moescope_learn::local_experts::{DataSet, ExpertKind, GateKind, Lab, Method, Settings};

fn main() -> Result<(), moescope_learn::error::Error> {
    println!("local experts, 8 experts, 400 points, all in every step:");
    for (expert, method) in [
        (ExpertKind::Constant, Method::Gradient),
        (ExpertKind::Linear, Method::Gradient),
        (ExpertKind::Network, Method::Gradient),
        (ExpertKind::SupportVectorMachine, Method::Gradient),
        (ExpertKind::GaussianProcess, Method::Gradient),
        (ExpertKind::Linear, Method::Em),
    ] {
        for data in [DataSet::Vowels, DataSet::Moons] {
            let gate = if method == Method::Em { GateKind::Linear } else { GateKind::Network };
            let settings = Settings { experts: 8, points: 400, expert, method, gate, data, ..Settings::default() };
            let mut lab = Lab::new(settings)?;
            let (begin, mut steps) = (Instant::now(), 0);
            while begin.elapsed().as_secs_f64() < 0.5 {
                lab.step(5)?;
                steps += 5;
            }
            println!("{expert:?} {method:?} {data:?}: {:.0} steps/s", steps as f64 / begin.elapsed().as_secs_f64());
        }
    }
    Ok(())
}
