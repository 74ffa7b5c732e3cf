//! Speed of the labs: `cargo run -p moescope-learn --example speed [local-experts|digits|router|fine-tune]`.
//! Models are read from `www/models` of the working directory.

use std::time::Instant;

use moescope_learn::local_experts::{DataSet, ExpertKind, GateKind, Method};
use moescope_learn::transformer::data::made_up;
use moescope_learn::transformer::model::Trained;
use moescope_learn::transformer::stored::Stored;
use moescope_learn::{conditional, deep_mixture, fine_tune, local_experts, router};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A lab's measurement.
type Measurement = fn() -> Outcome;

fn main() -> Outcome {
    let all: [(&str, Measurement); 4] =
        [("local-experts", local_experts), ("digits", digits), ("router", router), ("fine-tune", fine_tune)];
    let chosen = std::env::args().nth(1);
    for (name, run) in all {
        if chosen.as_deref().is_none_or(|c| c == name) {
            run()?;
        }
    }
    Ok(())
}

/// Steps a second over at least half a second.
fn speed(mut steps: impl FnMut(usize) -> Outcome, at_once: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed().as_secs_f64() < 0.5 {
        steps(at_once)?;
        count += at_once;
    }
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}

fn local_experts() -> Outcome {
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
            let base = local_experts::Settings { experts: 8, points: 400, ..Default::default() };
            let settings = local_experts::Settings { expert, method, gate, data, ..base };
            let mut lab = local_experts::Lab::new(settings)?;
            let speed = speed(|n| Ok(lab.step(n)?), 5)?;
            println!("  {expert:?} {method:?} {data:?}: {speed:.0} steps/s");
        }
    }
    Ok(())
}

fn digits() -> Outcome {
    let file = include_bytes!("../data/digits.bin");
    let mut lab = deep_mixture::Lab::new(deep_mixture::Settings::default(), file)?;
    let begin = Instant::now();
    while lab.state().accuracy < 0.9 && lab.state().step < 10_000 {
        lab.step(100)?;
    }
    let state = lab.state();
    let (accuracy, step, seconds) = (100.0 * state.accuracy, state.step, begin.elapsed().as_secs_f64());
    println!("deep mixture: {accuracy:.1} % of held-out digits after {step} steps, {seconds:.1} s");
    for mode in [conditional::Mode::On, conditional::Mode::Soft, conditional::Mode::Switched] {
        let mut lab = conditional::Lab::new(conditional::Settings { mode, ..Default::default() }, file)?;
        let speed = speed(|n| Ok(lab.step(n)?), 10)?;
        println!(
            "conditional, {mode:?}: {speed:.0} steps/s of 64 examples, {} multiply-adds",
            lab.state().multiply_adds
        );
    }
    Ok(())
}

fn main_model() -> Result<Stored, Box<dyn std::error::Error>> {
    let read = |name: &str| std::fs::read(format!("www/models/main/{name}"));
    Ok(Stored::read(&String::from_utf8(read("config.json")?)?, &read("model.safetensors")?)?)
}

fn router() -> Outcome {
    let settings = router::Settings { context: 64, ..Default::default() };
    let mut lab = router::Lab::new(settings.clone(), made_up(4, 4000, 8192))?;
    let speed_scratch = speed(|n| Ok(lab.step(n)?), 1)?;
    println!("router, 2 layers from scratch: {speed_scratch:.1} steps/s of 256 tokens");
    let (layers, width, heads, units) = (4, 128, 4, 320);
    let middle = router::Settings { layers, width, heads, units, ..settings.clone() };
    let mut lab = router::Lab::new(middle, made_up(4, 4000, 256))?;
    let speed_middle = 256.0 * speed(|n| Ok(lab.step(n)?), 1)?;
    println!("router, 1.3 M parameters in use a token: {speed_middle:.0} tokens/s");
    for trained in [Trained::Routers, Trained::All] {
        let settings = router::Settings { trained, ..settings.clone() };
        let mut lab = router::Lab::from_model(settings, main_model()?, made_up(4, 4000, 8192))?;
        let speed = speed(|n| Ok(lab.step(n)?), 1)?;
        println!("router, main, {trained:?}: {speed:.1} steps/s of 256 tokens");
    }
    Ok(())
}

fn fine_tune() -> Outcome {
    let mut kinds = made_up(3, 600, 8192);
    let texts = fine_tune::Texts::split(&kinds.remove(0).ids, kinds);
    let mut lab = fine_tune::Lab::new(fine_tune::Settings::default(), main_model()?, texts)?;
    let speed = speed(|n| Ok(lab.step(n)?), 5)?;
    println!("fine-tuning main: {speed:.1} steps/s of 128 tokens, measurements included");
    Ok(())
}
