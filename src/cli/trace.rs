//! `moescope trace`: prints the routing of a text or of a list of ids.

use super::subject::{Subject, ids, read_policy, template};
use clap::{Args, ValueEnum};
use moescope::engine::Engine;
use moescope::error::{Error, Result};
use moescope::model::{Model, ModelInfo, files};
use moescope::routing::json::Document;
use moescope::routing::{Policy, Trace, balance};
use moescope::session::Session;
use moescope::tokenizer::Tokenizer;
use std::io::Write;

/// Options of `moescope trace`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    subject: Subject,
    /// Which engine to use; auto uses the GPU where there is one
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineChoice,
    /// Run only the first layers
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// The share of each layer's experts in memory, above 0 and at most 1: others are read when they are chosen (CPU)
    #[arg(long, value_name = "0.25")]
    resident: Option<f64>,
    /// Which logits to print
    #[arg(long, value_enum, default_value = "none")]
    logits: Logits,
    /// JSON for programs, text for people
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineChoice {
    Cpu,
    /// The CPU, with weights rounded to 8 bits
    CpuInt8,
    Gpu,
    Auto,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Logits {
    None,
    Last,
    All,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Text,
}

/// Runs the command.
pub async fn run(options: &Options) -> Result<()> {
    let files = files::read_dir(&options.subject.model)?;
    let mut model = Model::new(&files)?;
    if let Some(layers) = options.layers {
        model.keep_layers(layers)?;
    }
    let tokenizer = match &files.tokenizer {
        Some(json) => Some(Tokenizer::new(json, model.architecture.vocabulary)?),
        None => None,
    };
    let template = template(&files, options.subject.chat)?;
    let ids = ids(&options.subject.prompt, &model, tokenizer.as_ref(), template.as_ref())?;
    let policy = read_policy(options.subject.policy.as_deref())?;
    let settings = policy.settings(&model.architecture)?;
    let mut engine = match options.resident {
        None => engine(&model, options.engine).await?,
        Some(share) if share > 0.0 && share <= 1.0 => Engine::cpu_on_demand(&model, share).await?,
        Some(share) => return Err(Error::Input(format!("--resident is {share}; it must be above 0 and at most 1"))),
    };
    if let Some(settings) = settings {
        engine = engine.fork(settings).await?;
    }
    let mut session = Session::new(engine);
    let mut logits = Vec::new();
    let keep = |rows: &[f32]| {
        if options.logits == Logits::All {
            logits.extend_from_slice(rows);
        }
    };
    let trace = session.run(&ids, tokenizer.as_ref(), keep).await?;
    if let Some(pool) = session.engine().pool() {
        let rate = 100.0 * pool.hits as f64 / pool.requests.max(1) as f64;
        eprintln!(
            "note: {} of {} experts in memory; {rate:.0} % of {} requests were hits; {} MB read",
            pool.resident,
            pool.experts,
            pool.requests,
            pool.read_bytes >> 20
        );
    }
    let info = model.info(session.engine().backend(), None);
    let out = match options.format {
        Format::Json => json(&info, &policy, &trace, &session, options.logits, &logits),
        Format::Text => text(&info, &trace),
    };
    // The reader may close the pipe early (`| head`); that is not an error.
    let _ = std::io::stdout().write_all(out.as_bytes());
    Ok(())
}

async fn engine(model: &Model, choice: EngineChoice) -> Result<Engine> {
    match choice {
        EngineChoice::Cpu => Engine::cpu(model),
        EngineChoice::CpuInt8 => Engine::cpu_int8(model),
        EngineChoice::Gpu => Engine::gpu(model).await,
        EngineChoice::Auto => {
            let (engine, no_gpu) = Engine::auto(model).await?;
            if let Some(error) = no_gpu {
                eprintln!("note: the CPU runs this, because {error}");
            }
            Ok(engine)
        }
    }
}

fn json(info: &ModelInfo, policy: &Policy, trace: &Trace, session: &Session, wanted: Logits, all: &[f32]) -> String {
    let mut document = Document::new(info, policy, trace);
    match wanted {
        Logits::None => {}
        Logits::Last => document.logits_last = Some(session.last_logits()),
        Logits::All => document.logits = Some(all.chunks_exact(info.vocabulary).collect()),
    }
    serde_json::to_string(&document).expect("plain data") + "\n"
}

/// One line for each token (its experts in every layer), then the balance of every layer.
fn text(info: &ModelInfo, trace: &Trace) -> String {
    let mut out = format!("{}: {} experts, top-{}, {} layers\n", info.name, info.experts, info.top_k, info.layers);
    for (position, token) in trace.tokens.iter().enumerate() {
        let experts = trace.layers.iter().map(|layer| {
            let pair = |(expert, weight): (&u32, &f32)| format!("{expert}:{weight:.2}");
            let pairs = layer.selected_of(position).iter().zip(layer.weights_of(position)).map(pair);
            pairs.collect::<Vec<_>>().join(" ")
        });
        out += &format!(
            "{position:>5}  {:<16}  {}\n",
            format!("{:?}", token.text),
            experts.collect::<Vec<_>>().join(" | ")
        );
    }
    for layer in &trace.layers {
        let b = balance(layer);
        let load = b.load.iter().map(|f| format!("{:.0}%", f * 100.0)).collect::<Vec<_>>().join(" ");
        out += &format!(
            "layer {}: load {load}; cv {:.2}, entropy {:.2}, max/mean {:.2}, aux loss {:.2}\n",
            layer.layer, b.cv, b.entropy, b.max_over_mean, b.aux_loss
        );
    }
    out
}
