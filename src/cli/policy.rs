//! The commands that compare policies: `moescope ablate` and `moescope choices`.

use super::subject::{Subject, ids, read_policy, template};
use clap::Args;
use moescope::engine::Engine;
use moescope::engine::cpu::CpuEngine;
use moescope::engine::cpu::ablation::Ablation;
use moescope::error::{Error, Result};
use moescope::model::{Model, files};
use moescope::routing::Policy;
use moescope::routing::effect::{Ablated, KPoint, mean_bits};
use moescope::session::{Session, choices_sweep, sweep_point};
use moescope::shape::Settings;
use moescope::tokenizer::Tokenizer;
use std::io::Write;
use std::time::Instant;

/// A model, a text and a policy, loaded.
struct Opened {
    model: Model,
    tokenizer: Option<Tokenizer>,
    ids: Vec<u32>,
    policy: Policy,
    settings: Settings,
}

impl Opened {
    fn new(options: &Subject) -> Result<Self> {
        let files = files::read_dir(&options.model)?;
        let model = Model::new(&files)?;
        let vocabulary = model.architecture.vocabulary;
        let tokenizer = files.tokenizer.as_ref().map(|json| Tokenizer::new(json, vocabulary)).transpose()?;
        let ids = ids(&options.prompt, &model, tokenizer.as_ref(), template(&files, options.chat)?.as_ref())?;
        if ids.len() < 2 {
            return Err(Error::Input("the text has only one token; a loss needs at least two".into()));
        }
        let policy = read_policy(options.policy.as_deref())?;
        let settings = policy.settings_or_own(&model.architecture)?;
        Ok(Self { model, tokenizer, ids, policy, settings })
    }

    /// Bytes of the text without its first token.
    fn bytes(&self) -> usize {
        let tokens = self.tokenizer.as_ref().map(|tokenizer| tokenizer.tokens(&self.ids, 1));
        tokens.map_or(0, |tokens| tokens.iter().map(|token| token.text_bytes()).sum())
    }
}

/// Options of `moescope ablate`.
#[derive(Args)]
pub struct AblateOptions {
    #[command(flatten)]
    text: Subject,
    /// Also run every case from scratch, and print how long that takes and how much the results differ
    #[arg(long)]
    from_scratch: bool,
}

/// Runs `moescope ablate`: each expert of each layer off in turn.
pub async fn ablate(options: &AblateOptions) -> Result<()> {
    let opened = Opened::new(&options.text)?;
    let engine = CpuEngine::new(&opened.model)?;
    Ablation::check(&opened.settings)?;
    let begin = Instant::now();
    let mut ablation = Ablation::new(&engine, opened.settings.clone(), &opened.ids, opened.bytes());
    let cases = ablation.cases();
    let ablated: Vec<Ablated> = cases.iter().map(|&(layer, expert)| ablation.without(layer, expert)).collect();
    let mut document = serde_json::json!({
        "schema": 1,
        "policy": opened.policy.to_json(),
        "tokens": opened.ids.len(),
        "bits_per_token": ablation.bits_per_token(),
        "seconds": begin.elapsed().as_secs_f64(),
        "experts": ablated,
    });
    if options.from_scratch {
        let (seconds, difference) = from_scratch(&opened, &ablated, ablation.bits_per_token()).await?;
        document["from_scratch"] = serde_json::json!({ "seconds": seconds, "largest_difference": difference });
    }
    print(&document);
    Ok(())
}

/// Runs every case from scratch. Returns the seconds, and the largest difference of a loss in bits per token.
async fn from_scratch(opened: &Opened, ablated: &[Ablated], base: f64) -> Result<(f64, f64)> {
    let engine = Engine::cpu(&opened.model)?;
    let mut session = Session::new(engine.fork(opened.settings.clone()).await?);
    let begin = Instant::now();
    let mut difference = 0.0f64;
    for case in ablated {
        let policy = opened.policy.without(case.layer, case.expert);
        session.set_settings(policy.settings_or_own(&opened.model.architecture)?);
        let trace = session.run(&opened.ids, None, |_| {}).await?;
        difference = difference.max((mean_bits(&trace).per_token - base - case.bits_per_token).abs());
    }
    Ok((begin.elapsed().as_secs_f64(), difference))
}

/// Runs `moescope choices`: the text with 1, 2, ... E experts per token.
pub async fn choices(options: &Subject) -> Result<()> {
    let opened = Opened::new(options)?;
    let (model, tokenizer) = (&opened.model.architecture, opened.tokenizer.as_ref());
    let engine = Engine::cpu(&opened.model)?;
    let mut session = Session::new(engine.fork(opened.settings).await?);
    let begin = Instant::now();
    let now = || begin.elapsed().as_secs_f64() * 1000.0;
    let mut points: Vec<KPoint> = Vec::new();
    for (k, policy) in choices_sweep(&opened.policy, model)? {
        session.set_settings(policy.settings_or_own(model)?);
        points.push(sweep_point(&mut session, model, &opened.ids, tokenizer, k, now).await?);
    }
    print(&serde_json::json!({
        "schema": 1,
        "policy": opened.policy.to_json(),
        "tokens": opened.ids.len(),
        "choices": points,
    }));
    Ok(())
}

fn print(value: &serde_json::Value) {
    // The reader may close the pipe early (`| head`); that is not an error.
    let _ = writeln!(std::io::stdout(), "{value}");
}
