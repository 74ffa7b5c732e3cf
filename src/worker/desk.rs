//! What the worker has on its desk: a loaded model, its engine and the page's text.

use super::protocol::{BackendChoice, Logits, Overflow, Prompt, Sampling};
use crate::engine::gpu::GpuEngine;
use crate::engine::gpu::device::Gpu;
use crate::engine::{Engine, check_prompt};
use crate::error::{Error, Result};
use crate::model::{Model, ModelFiles, ModelInfo};
use crate::routing::Trace;
use crate::routing::json::Document;
use crate::routing::lens::LayerLens;
use crate::session::{Lens, Sampler, Session};
use crate::tokenizer::Tokenizer;
use std::rc::Rc;

/// No token of a byte-level vocabulary is longer; text beyond the context need not be tokenized.
const MOST_BYTES_PER_TOKEN: usize = 64;

/// A model in use.
pub struct Desk {
    model: Rc<Model>,
    tokenizer: Option<Tokenizer>,
    session: Session,
    /// A GPU that no engine has been made on yet.
    gpu: Option<Gpu>,
    /// Made when somebody looks inside a token.
    lens: Option<Lens>,
    /// What the page is told of it.
    pub info: ModelInfo,
}

impl Desk {
    /// Checks the files and makes the engine. `gpu` is what was found where WebGPU may be used.
    pub async fn new(files: &ModelFiles, choice: BackendChoice, gpu: Option<Result<Gpu>>) -> Result<Self> {
        let model = Rc::new(Model::new(files)?);
        let vocabulary = model.architecture.vocabulary;
        let tokenizer = files.tokenizer.as_ref().map(|json| Tokenizer::new(json, vocabulary)).transpose()?;
        let (mut note, mut ready) = (None, None);
        let engine = match (choice, gpu) {
            (BackendChoice::WebGpu, Some(gpu)) => Engine::Gpu(Box::new(GpuEngine::on(gpu?, &model).await?)),
            (_, Some(Ok(gpu))) => {
                ready = Some(gpu);
                Engine::cpu(&model)?
            }
            (_, Some(Err(error))) => {
                note = Some(format!("Running on the CPU: {error}"));
                Engine::cpu(&model)?
            }
            (_, None) => Engine::cpu(&model)?,
        };
        let info = model.info(engine.backend(), note);
        Ok(Self { model, tokenizer, session: Session::new(engine), gpu: ready, lens: None, info })
    }

    /// The work that makes the GPU engine, where a GPU waits for it: compiling takes a while, and the CPU
    /// engine answers meanwhile.
    pub fn prepare_gpu(&mut self) -> Option<impl Future<Output = Result<Engine>> + use<>> {
        let (gpu, model) = (self.gpu.take()?, self.model.clone());
        Some(async move { Ok(Engine::Gpu(Box::new(GpuEngine::on(gpu, &model).await?))) })
    }

    /// Puts the GPU engine in the CPU engine's place, or says why it is not to be had. What was routed stays; the
    /// cache is filled when the text runs next.
    pub fn take_over(&mut self, gpu: Result<Engine>) {
        let note = match gpu {
            Ok(engine) => {
                self.session.replace_engine(engine);
                None
            }
            Err(error) => Some(format!("Running on the CPU: {error}")),
        };
        self.info = self.model.info(self.session.engine().backend(), note);
    }

    /// The page's text, being routed.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Runs the next chunk of the text. Where the GPU fails, the CPU engine takes over: the text stays, and
    /// what was routed runs again.
    pub async fn advance(&mut self, most: usize) -> Result<Advance> {
        match self.session.advance(self.tokenizer.as_ref(), most, |_| {}).await {
            Ok(trace) => Ok(Advance::Routed(trace)),
            Err(Error::Device(why)) => {
                self.fall_back(&why)?;
                Ok(Advance::EngineChanged)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the CPU engine in the place of a GPU that failed.
    fn fall_back(&mut self, why: &str) -> Result<()> {
        self.session.replace_engine(Engine::cpu(&self.model)?);
        self.info = self.model.info(self.session.engine().backend(), Some(format!("The CPU took over: {why}")));
        Ok(())
    }

    /// Makes `text` the page's text. Returns how many tokens of the old trace still hold, and where the
    /// text did not fit.
    pub fn set_text(&mut self, text: &str) -> Result<(usize, Option<Overflow>)> {
        let context = self.model.architecture.context;
        let head = head(text, context * MOST_BYTES_PER_TOKEN);
        let (ids, ends) = self.tokenizer()?.encode(head)?;
        let overflow = (ids.len() > context || head.len() < text.len()).then(|| Overflow {
            context,
            routed_bytes: ends.get(context.min(ends.len()).saturating_sub(1)).copied().unwrap_or(0),
        });
        Ok((self.session.set(ids), overflow))
    }

    /// The ids of a prompt, checked.
    pub fn ids(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let ids = match prompt {
            Prompt::Text(text) => self.tokenizer()?.encode(text)?.0,
            Prompt::Ids(ids) => ids.clone(),
        };
        check_prompt(&ids, &self.model.architecture)?;
        Ok(ids)
    }

    /// What each layer did to the token at `position` of the page's text.
    pub fn inspect(&mut self, position: usize) -> Result<Vec<LayerLens>> {
        let ids = self.session.ids().get(..=position);
        let ids = ids.ok_or_else(|| Error::Input(format!("the text has no token at position {position}")))?;
        let lens = match &mut self.lens {
            Some(lens) => lens,
            none => none.insert(Lens::new(&self.model)?),
        };
        Ok(lens.inspect(ids, self.tokenizer.as_ref()))
    }

    /// Traces `ids` beside the page's text, and gives the JSON of `moescope trace`.
    pub async fn trace(&mut self, ids: &[u32], wanted: Logits) -> Result<String> {
        let page = self.session.ids().to_vec();
        let mut traced = self.run(ids).await;
        if let Err(Error::Device(why)) = &traced {
            self.fall_back(why)?;
            traced = self.run(ids).await;
        }
        let last = self.session.last_logits().to_vec();
        self.session.set(page);
        let (trace, logits) = traced?;
        let mut document = Document::new(&self.info, &trace);
        match wanted {
            Logits::None => {}
            Logits::Last => document.logits_last = Some(&last),
            Logits::All => document.logits = Some(logits.chunks_exact(self.info.vocabulary).collect()),
        }
        Ok(serde_json::to_string(&document).expect("plain data"))
    }

    /// Generates after `ids` beside the page's text: `{"ids", "text", "trace", "prefill_ms", "decode_ms"}`.
    pub async fn complete(&mut self, ids: &[u32], tokens: usize, sampling: Sampling) -> Result<String> {
        let page = self.session.ids().to_vec();
        let mut completed = self.continue_from(ids, tokens, sampling).await;
        if let Err(Error::Device(why)) = &completed {
            self.fall_back(why)?;
            completed = self.continue_from(ids, tokens, sampling).await;
        }
        self.session.set(page);
        let (trace, prefill_ms, decode_ms) = completed?;
        let new = &trace.tokens[ids.len()..];
        let json = serde_json::json!({
            "ids": new.iter().map(|token| token.id).collect::<Vec<_>>(),
            "text": new.iter().map(|token| token.text.as_str()).collect::<String>(),
            "trace": Document::new(&self.info, &trace),
            "prefill_ms": prefill_ms,
            "decode_ms": decode_ms,
        });
        Ok(json.to_string())
    }

    async fn continue_from(&mut self, ids: &[u32], tokens: usize, sampling: Sampling) -> Result<(Trace, f64, f64)> {
        let start = now();
        let (mut trace, _) = self.run(ids).await?;
        let prefilled = now();
        let mut sampler = Sampler::new(sampling);
        for _ in 0..tokens {
            if !self.session.has_room() {
                break;
            }
            self.session.push(sampler.next(self.session.last_logits()));
            trace.extend(&self.session.advance(self.tokenizer.as_ref(), 1, |_| {}).await?);
        }
        Ok((trace, prefilled - start, now() - prefilled))
    }

    /// Runs `ids` from scratch: the trace and the logits of all of them.
    async fn run(&mut self, ids: &[u32]) -> Result<(Trace, Vec<f32>)> {
        let mut logits = Vec::new();
        let trace = self.session.run(ids, self.tokenizer.as_ref(), |rows| logits.extend_from_slice(rows)).await?;
        Ok((trace, logits))
    }

    fn tokenizer(&self) -> Result<&Tokenizer> {
        let missing = || {
            Error::Input(
                "the model has no tokenizer.json, so text cannot be read; open that file together with the weights"
                    .into(),
            )
        };
        self.tokenizer.as_ref().ok_or_else(missing)
    }
}

/// What a chunk led to.
pub enum Advance {
    /// More of the text was routed.
    Routed(Trace),
    /// Another engine is in use; nothing is routed on it yet.
    EngineChanged,
}

/// The start of `text`, at most `most` bytes, cut between characters.
fn head(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

/// Milliseconds since the worker started.
pub fn now() -> f64 {
    use wasm_bindgen::JsCast;
    js_sys::global().unchecked_into::<web_sys::WorkerGlobalScope>().performance().map_or(0.0, |clock| clock.now())
}
