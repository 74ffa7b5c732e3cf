//! What the worker works on: a loaded model, its engine and the page's text.

use super::clock::{breathe, now};
use super::gpu;
use super::protocol::{BackendChoice, Logits, Overflow, Profile, Prompt, Sampling, Timed};
use moescope::engine::cpu::ablation::Ablation;
use moescope::engine::cpu::pool::PoolFigures;
use moescope::engine::gpu::GpuEngine;
use moescope::engine::gpu::device::Gpu;
use moescope::engine::{Engine, LogitsOf, check_prompt};
use moescope::error::{Error, Result};
use moescope::model::{Model, ModelFiles, ModelInfo};
use moescope::routing::effect::KPoint;
use moescope::routing::json::Document;
use moescope::routing::lens::{LayerLens, TriedSets};
use moescope::routing::{Limit, Policy, Setting, Trace};
use moescope::session::{ByChoices, Lens, Session, choices_sweep, sweep_point};
use moescope::shape::own_settings;
use moescope::tokenizer::{Token, Tokenizer};
use std::rc::Rc;
use wasm_bindgen::JsValue;

/// No token of a byte-level vocabulary is longer. Text beyond this many bytes for each token of the context is not
/// tokenized.
const MOST_BYTES_PER_TOKEN: usize = 64;

/// A loaded model with its engine and the page's text.
pub struct Desk {
    model: Rc<Model>,
    tokenizer: Option<Tokenizer>,
    /// The text under the model's own routing.
    session: Session,
    /// The policy in use; the default policy changes nothing.
    policy: Policy,
    /// The text under the policy, on a fork of the engine. It is kept for the next policy when the policy is reset.
    changed: Option<Session>,
    /// Whether to look for a GPU later.
    wants_gpu: bool,
    /// Made when the first token is inspected.
    lens: Option<Lens>,
    /// Whether this model is used only until the one that was asked for has arrived.
    pub stands_in: bool,
    /// The model's description that the page gets.
    pub info: ModelInfo,
}

impl Desk {
    /// Makes the engine of `model` while its weights come. With `WebGpu` it is the GPU engine; where there is no GPU,
    /// and the weights can be read again, the CPU engine and a note in `info`. With `Auto` it is the CPU engine, which
    /// is ready first. With `resident`, that share of each layer's experts is in memory at once.
    pub async fn new(files: &ModelFiles, model: Model, choice: BackendChoice, resident: Option<f64>) -> Result<Self> {
        let model = Rc::new(model);
        let vocabulary = model.architecture.vocabulary;
        let tokenizer = files.tokenizer.as_ref().map(|json| Tokenizer::new(json, vocabulary)).transpose()?;
        let (engine, note) = match (choice, resident) {
            (_, Some(share)) => (Engine::cpu_on_demand(&model, share).await?, None),
            (BackendChoice::WebGpu, None) => chosen_gpu_engine(&model).await?,
            (BackendChoice::Auto | BackendChoice::Cpu | BackendChoice::CpuInt8, None) => {
                (Engine::cpu_arriving(&model, choice == BackendChoice::CpuInt8).await?, None)
            }
        };
        model.whole().await?;
        let info = model.info(engine.backend(), note);
        let wants_gpu = choice == BackendChoice::Auto && resident.is_none();
        let (session, policy) = (Session::new(engine), Policy::default());
        let mut desk =
            Self { model, tokenizer, session, policy, changed: None, wants_gpu, lens: None, stands_in: false, info };
        desk.release_files();
        Ok(desk)
    }

    /// Frees the model's files, where the CPU engine has packed its weights and no other engine will be made.
    fn release_files(&mut self) {
        let is_done = matches!(self.session.engine(), Engine::Cpu(_)) || self.model.is_read_once();
        if !self.wants_gpu && is_done {
            // The model is shared while a GPU engine is being made.
            Rc::get_mut(&mut self.model).into_iter().for_each(Model::release_files);
        }
    }

    /// A future that looks for a GPU and makes an engine on it, where the visitor left the choice open; `None` after
    /// the first call. It takes a while, and the CPU engine answers meanwhile.
    pub fn prepare_gpu(&mut self) -> Option<impl Future<Output = Result<Engine>> + use<>> {
        let model = self.model.clone();
        std::mem::take(&mut self.wants_gpu).then_some(async move { gpu_engine(gpu::open_real().await?, &model).await })
    }

    /// Times the CPU engine in use and `gpu` on the beginning of the text: a prefill, then a few tokens one by one,
    /// both twice. `rate` is what the CPU engine does per second, where that is known. Returns `None` where the page
    /// asks for something meanwhile.
    ///
    /// # Errors
    /// The GPU fails.
    pub async fn time(&mut self, gpu: &mut Engine, rate: Option<f64>, is_idle: Idle<'_>) -> Result<Option<Timed>> {
        let vocabulary = self.model.architecture.vocabulary as u32;
        let affordable = rate.map_or(TIMED_TOKENS / 4, |rate| (rate * TIMED_MS / 1000.0) as usize);
        let most = affordable.clamp(2, TIMED_TOKENS).min(self.model.architecture.context.saturating_sub(TIMED_ONES));
        let mut ids = self.session.ids().to_vec();
        // A text that is too short is continued with any tokens: only the time counts.
        ids.extend((0..vocabulary).cycle().take((most + TIMED_ONES).saturating_sub(ids.len())));
        let (prompt, ones) = (&ids[..most], &ids[most..most + TIMED_ONES]);
        let mut cpu = self.session.engine().fork(own_settings(&self.model.architecture)).await?;
        let mut timed = Timed { prefill: prompt.len(), decoded: ones.len(), cpu_ms: f64::MAX, gpu_ms: f64::MAX };
        // The first round compiles the GPU's shaders.
        for round in 0..3 {
            let Some(gpu_ms) = time_one(gpu, prompt, ones, is_idle).await? else { return Ok(None) };
            if round == 0 {
                continue;
            }
            let Some(cpu_ms) = time_one(&mut cpu, prompt, ones, is_idle).await? else { return Ok(None) };
            (timed.cpu_ms, timed.gpu_ms) = (timed.cpu_ms.min(cpu_ms), timed.gpu_ms.min(gpu_ms));
        }
        Ok(Some(timed))
    }

    /// Replaces the CPU engine by the GPU engine, or notes why there is none. The trace stays; the GPU engine's KV
    /// cache is filled when the text runs next.
    pub fn take_over(&mut self, gpu: Result<Engine>) {
        let note = match gpu {
            Ok(engine) => {
                self.session.replace_engine(engine);
                // A policy in use stays on its own engine. The next policy gets a fork of the GPU engine.
                if !self.is_changed() {
                    self.changed = None;
                }
                None
            }
            Err(error) => Some(on_the_cpu(&error)),
        };
        self.info = self.model.info(self.session.engine().backend(), note);
        self.release_files();
    }

    /// What was asked of the pool of experts, where experts are read on demand.
    pub fn pool(&self) -> Option<PoolFigures> {
        self.session.engine().pool()
    }

    /// The session of the page's text: under the policy, where one is in use.
    pub fn session(&mut self) -> &mut Session {
        in_use(&self.policy, &mut self.changed, &mut self.session)
    }

    /// The page's text under the model's own routing, while a policy is in use.
    pub fn baseline(&mut self) -> Option<&mut Session> {
        self.is_changed().then_some(&mut self.session)
    }

    fn is_changed(&self) -> bool {
        self.policy != Policy::default()
    }

    /// The policy in use.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// For each layer, the capacity of its experts, where one capacity holds for the whole text.
    pub fn limits(&mut self) -> Vec<Option<Limit>> {
        let one = |settings: &Vec<Setting>| {
            let limit = settings.first()?.limit;
            limit.filter(|_| settings.iter().all(|setting| setting.limit == limit))
        };
        self.session().engine().settings().iter().map(one).collect()
    }

    /// Routes under `policy` from now on. The text has not run under it yet. A policy that changes nothing switches
    /// back to the baseline, with what it has run.
    pub async fn set_policy(&mut self, policy: &Policy) -> Result<()> {
        let Some(settings) = policy.settings(&self.model.architecture)? else {
            let ids = self.session().ids().to_vec();
            self.policy = Policy::default();
            self.session.set(ids);
            return Ok(());
        };
        let ids = self.session().ids().to_vec();
        match &mut self.changed {
            Some(changed) => changed.set_settings(settings),
            none => *none = Some(Session::new(self.session.engine().fork(settings).await?)),
        }
        self.policy = policy.clone();
        self.session().set(Vec::new());
        self.session().set(ids);
        Ok(())
    }

    /// Runs the next chunk of the text. If the GPU fails, the CPU engine takes over; the text stays and runs again.
    pub async fn advance(&mut self, most: usize) -> Result<Advance> {
        let tokenizer = self.tokenizer.as_ref();
        let session = in_use(&self.policy, &mut self.changed, &mut self.session);
        let routed = session.advance(tokenizer, most, |_| {}).await;
        self.routed(routed).await
    }

    /// Draws the next token and runs it, with up to `ahead` steps in flight. If the GPU fails, it does as
    /// [`Self::advance`] does.
    pub async fn draw(&mut self, sampling: &Sampling, ahead: usize) -> Result<Advance> {
        let tokenizer = self.tokenizer.as_ref();
        let session = in_use(&self.policy, &mut self.changed, &mut self.session);
        let routed = session.draw(sampling, ahead, tokenizer).await;
        self.routed(routed).await
    }

    /// Whether the last token of the page's text is an end-of-text token.
    pub fn text_ended(&mut self) -> bool {
        let last = self.session().ids().last().copied();
        last.is_some_and(|id| self.model.ends.contains(&id))
    }

    async fn routed(&mut self, routed: Result<Trace>) -> Result<Advance> {
        match routed {
            Ok(trace) => Ok(Advance::Routed(trace)),
            Err(Error::Device(why)) => {
                self.fall_back(&why).await?;
                Ok(Advance::EngineChanged)
            }
            Err(error) => Err(error),
        }
    }

    /// Runs the next chunk of the baseline (the model's own routing).
    pub async fn advance_baseline(&mut self, most: usize) -> Result<Trace> {
        self.session.advance(self.tokenizer.as_ref(), most, |_| {}).await
    }

    /// The base run of an ablation: the page's text under the policy.
    pub fn ablation(&mut self) -> Result<Ablation> {
        let (ids, bytes) = self.swept()?;
        let settings = self.session().engine().settings().clone();
        Ablation::check(&settings)?;
        Ok(Ablation::new(self.lens()?.engine(), settings, &ids, bytes))
    }

    /// The policies of a sweep over k, and the page's text.
    pub fn choices(&mut self) -> Result<(ByChoices, Vec<u32>)> {
        let (ids, _) = self.swept()?;
        Ok((choices_sweep(&self.policy, &self.model.architecture)?, ids))
    }

    /// Runs the page's text with `k` experts per token.
    pub async fn choices_point(
        &mut self,
        session: &mut Option<Session>,
        k: usize,
        policy: &Policy,
        ids: &[u32],
    ) -> Result<KPoint> {
        let architecture = &self.model.architecture;
        let settings = policy.settings_or_own(architecture)?;
        let session = match session {
            Some(session) => {
                session.set_settings(settings);
                session
            }
            none => none.insert(Session::new(self.session.engine().fork(settings).await?)),
        };
        sweep_point(session, architecture, ids, self.tokenizer.as_ref(), k, now).await
    }

    /// The text that a sweep runs: its ids, and its bytes without the first token.
    fn swept(&mut self) -> Result<(Vec<u32>, usize)> {
        let ids = self.session().ids().to_vec();
        if ids.len() < 2 {
            return Err(Error::Input("type a text first: the loss needs at least two tokens".into()));
        }
        let bytes = self.tokenizer()?.tokens(&ids, 1).iter().map(Token::text_bytes).sum();
        Ok((ids, bytes))
    }

    /// Replaces a GPU engine that failed by the CPU engine.
    async fn fall_back(&mut self, why: &str) -> Result<()> {
        let ids = self.session().ids().to_vec();
        self.session.replace_engine(Engine::cpu(&self.model)?);
        if let Some(changed) = self.changed.take() {
            let settings = changed.engine().settings().clone();
            let mut changed = Session::new(self.session.engine().fork(settings).await?);
            changed.set(ids);
            self.changed = Some(changed);
        }
        self.info = self.model.info(self.session.engine().backend(), Some(format!("The CPU took over: {why}")));
        self.release_files();
        Ok(())
    }

    /// Makes `text` the page's text. Returns how many tokens of the old trace stay valid, and where the text exceeds
    /// the context.
    pub fn set_text(&mut self, text: &str) -> Result<(usize, Option<Overflow>)> {
        let context = self.model.architecture.context;
        let head = head(text, context * MOST_BYTES_PER_TOKEN);
        let (ids, ends) = self.tokenizer()?.encode(head)?;
        let overflow = (ids.len() > context || head.len() < text.len()).then(|| Overflow {
            context,
            routed_bytes: ends.get(context.min(ends.len()).saturating_sub(1)).copied().unwrap_or(0),
        });
        if self.is_changed() {
            self.session.set(ids.clone());
        }
        Ok((self.session().set(ids), overflow))
    }

    /// The token ids of a prompt, checked against the vocabulary.
    pub fn ids(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let ids = match prompt {
            Prompt::Text(text) => self.tokenizer()?.encode(text)?.0,
            Prompt::Ids(ids) => ids.clone(),
        };
        check_prompt(&ids, &self.model.architecture)?;
        Ok(ids)
    }

    /// What each layer did to the token at `position` of the page's text (the logit lens).
    pub fn inspect(&mut self, position: usize) -> Result<Vec<LayerLens>> {
        let session = self.session();
        session.check_causal("look inside a token")?;
        let settings = session.engine().settings().clone();
        let ids = session.ids().get(..=position);
        let ids = ids.ok_or_else(|| Error::Input(format!("the text has no token at position {position}")))?.to_vec();
        self.lens()?.set_settings(&settings);
        let tokenizer = self.tokenizer.as_ref();
        self.lens.as_mut().map_or(Ok(Vec::new()), |lens| lens.inspect(&ids, tokenizer))
    }

    /// Every set of experts that the token at `position` could go to in `layer`, as the model routes by itself.
    pub fn try_sets(&mut self, layer: usize, position: usize) -> Result<TriedSets> {
        self.session.check_causal("try experts for one token")?;
        let own = own_settings(&self.model.architecture);
        let ids = self.session().ids().get(..=position + 1);
        let ids = ids.ok_or_else(|| Error::Input(format!("no token follows the one at position {position}")))?.to_vec();
        let lens = self.lens()?;
        lens.set_settings(&own);
        lens.try_sets(layer, &ids)
    }

    /// What the GPU's kernels take on the page's text: its beginning as a prompt, and its last token.
    pub async fn profile(&mut self) -> Result<Profile> {
        let session = self.session();
        let ids = session.ids().to_vec();
        let Engine::Gpu(engine) = session.engine_mut() else {
            return Err(Error::Input("only a GPU's kernels can be timed, and the model runs on the CPU".into()));
        };
        let Some(last) = ids.len().checked_sub(1) else {
            return Err(Error::Input("type a text first: the kernels are timed on it".into()));
        };
        let prompt = &ids[..ids.len().min(engine.chunk(LogitsOf::All))];
        Ok(Profile {
            tokens: prompt.len(),
            prompt: engine.profile(prompt, 0).await?,
            token: engine.profile(&ids[last..], last).await?,
        })
    }

    fn lens(&mut self) -> Result<&mut Lens> {
        match &mut self.lens {
            Some(lens) => Ok(lens),
            none => Ok(none.insert(Lens::new(&self.model, self.session.engine())?)),
        }
    }

    /// Runs `ids` without changing the page's text, and returns the JSON of `moescope trace`.
    pub async fn trace(&mut self, ids: &[u32], wanted: Logits) -> Result<String> {
        let page = self.session().ids().to_vec();
        let mut traced = self.run(ids).await;
        if let Err(Error::Device(why)) = &traced {
            self.fall_back(why).await?;
            traced = self.run(ids).await;
        }
        let last = self.session().last_logits().to_vec();
        self.session().set(page);
        let (trace, logits) = traced?;
        let mut document = Document::new(&self.info, &self.policy, &trace);
        match wanted {
            Logits::None => {}
            Logits::Last => document.logits_last = Some(&last),
            Logits::All => document.logits = Some(logits.chunks_exact(self.info.vocabulary).collect()),
        }
        Ok(serde_json::to_string(&document).expect("plain data"))
    }

    /// Continues `ids` without changing the page's text. Returns `{"ids", "text", "trace", "prefill_ms",
    /// "decode_ms"}`.
    pub async fn complete(&mut self, ids: &[u32], tokens: usize, sampling: Sampling) -> Result<String> {
        self.session().check_causal("generation")?;
        let page = self.session().ids().to_vec();
        let mut completed = self.continue_from(ids, tokens, sampling).await;
        if let Err(Error::Device(why)) = &completed {
            self.fall_back(why).await?;
            completed = self.continue_from(ids, tokens, sampling).await;
        }
        self.session().set(page);
        let (trace, prefill_ms, decode_ms) = completed?;
        Ok(self.completion(&self.policy, &trace, ids.len(), (prefill_ms, decode_ms)))
    }

    /// As [`Self::complete`], under the model's own routing, whatever policy is in use.
    pub async fn complete_plainly(&mut self, ids: &[u32], tokens: usize, sampling: Sampling) -> Result<String> {
        if !self.is_changed() {
            return self.complete(ids, tokens, sampling).await;
        }
        let page = self.session.ids().to_vec();
        let completed = continue_on(&mut self.session, self.tokenizer.as_ref(), ids, tokens, sampling).await;
        self.session.set(page);
        let (trace, prefill_ms, decode_ms) = completed?;
        Ok(self.completion(&Policy::default(), &trace, ids.len(), (prefill_ms, decode_ms)))
    }

    /// The JSON of a generation. The first `before` tokens of `trace` are the prompt, the rest are new.
    fn completion(&self, policy: &Policy, trace: &Trace, before: usize, (prefill_ms, decode_ms): (f64, f64)) -> String {
        let new = &trace.tokens[before..];
        let json = serde_json::json!({
            "ids": new.iter().map(|token| token.id).collect::<Vec<_>>(),
            "text": new.iter().map(|token| token.text.as_str()).collect::<String>(),
            "trace": Document::new(&self.info, policy, trace),
            "prefill_ms": prefill_ms,
            "decode_ms": decode_ms,
        });
        json.to_string()
    }

    async fn continue_from(&mut self, ids: &[u32], tokens: usize, sampling: Sampling) -> Result<(Trace, f64, f64)> {
        let start = now();
        let session = in_use(&self.policy, &mut self.changed, &mut self.session);
        let mut trace = session.run_routing(ids, self.tokenizer.as_ref()).await?;
        let prefilled = now();
        for left in (1..=tokens).rev() {
            if !self.session().has_room() {
                break;
            }
            // Nothing is shown before the last token, so as many steps as possible may be in flight.
            match self.draw(&sampling, left).await? {
                Advance::Routed(more) => {
                    trace.extend(&more);
                    if self.text_ended() {
                        break;
                    }
                }
                Advance::EngineChanged => {
                    return Err(Error::Input(
                        "the GPU failed during this request; send it again, the CPU engine is ready".into(),
                    ));
                }
            }
        }
        Ok((trace, prefilled - start, now() - prefilled))
    }

    /// Runs `ids` from the beginning. Returns the trace and the logits of all tokens, `[T, V]`.
    async fn run(&mut self, ids: &[u32]) -> Result<(Trace, Vec<f32>)> {
        let mut logits = Vec::new();
        let session = in_use(&self.policy, &mut self.changed, &mut self.session);
        let trace = session.run(ids, self.tokenizer.as_ref(), |rows| logits.extend_from_slice(rows)).await?;
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

/// Whether the page asks for nothing.
pub type Idle<'a> = &'a dyn Fn() -> bool;

/// The most tokens of the prefill on which engines are timed, the time that it may take, and the tokens after it.
const TIMED_TOKENS: usize = 32;
const TIMED_MS: f64 = 200.0;
const TIMED_ONES: usize = 4;

/// Milliseconds for `prompt` and then `ones`, one by one; `None` where the page asks for something meanwhile.
async fn time_one(engine: &mut Engine, prompt: &[u32], ones: &[u32], is_idle: Idle<'_>) -> Result<Option<f64>> {
    engine.truncate(0);
    let mut ms = 0.0;
    for ids in std::iter::once(prompt).chain(ones.chunks(1)) {
        breathe().await;
        if !is_idle() {
            engine.truncate(0);
            return Ok(None);
        }
        let start = now();
        engine.step(ids, LogitsOf::All).await?;
        ms += now() - start;
    }
    engine.truncate(0);
    Ok(Some(ms))
}

/// Whether the browser has WebGPU. There may still be no adapter.
pub fn has_webgpu() -> bool {
    let get = |object: &JsValue, key: &str| js_sys::Reflect::get(object, &JsValue::from_str(key));
    get(&js_sys::global(), "navigator").and_then(|navigator| get(&navigator, "gpu")).is_ok_and(|gpu| gpu.is_truthy())
}

/// An engine on the GPU; where there is none, or it cannot hold the model, one on the CPU and a note that says why.
async fn chosen_gpu_engine(model: &Model) -> Result<(Engine, Option<String>)> {
    let made = match gpu::open().await {
        Ok(gpu) => gpu_engine(gpu, model).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(engine) => Ok((engine, None)),
        Err(Error::Device(why)) if model.is_read_once() => {
            Err(Error::Device(format!("{why}; what came of the model is used up: open it again, on the CPU")))
        }
        Err(error @ Error::Device(_)) => Ok((Engine::cpu_arriving(model, false).await?, Some(on_the_cpu(&error)))),
        Err(error) => Err(error),
    }
}

fn on_the_cpu(why: &Error) -> String {
    format!("Running on the CPU: {why}")
}

async fn gpu_engine(gpu: Gpu, model: &Model) -> Result<Engine> {
    Ok(Engine::Gpu(Box::new(GpuEngine::on(gpu, model).await?)))
}

/// The outcome of running a chunk.
pub enum Advance {
    /// More of the text was routed.
    Routed(Trace),
    /// Another engine is in use; it has not run the text yet.
    EngineChanged,
}

/// Runs `ids` on `session` and generates `tokens` more. Returns the trace of all of them, the milliseconds of the
/// prompt and those of the new tokens.
async fn continue_on(
    session: &mut Session,
    tokenizer: Option<&Tokenizer>,
    ids: &[u32],
    tokens: usize,
    sampling: Sampling,
) -> Result<(Trace, f64, f64)> {
    let start = now();
    let mut trace = session.run_routing(ids, tokenizer).await?;
    let prefilled = now();
    for left in (1..=tokens).rev() {
        if !session.has_room() {
            break;
        }
        trace.extend(&session.draw(&sampling, left, tokenizer).await?);
    }
    Ok((trace, prefilled - start, now() - prefilled))
}

fn in_use<'a>(policy: &Policy, changed: &'a mut Option<Session>, own: &'a mut Session) -> &'a mut Session {
    match changed {
        Some(changed) if *policy != Policy::default() => changed,
        _ => own,
    }
}

/// The start of `text`, at most `most` bytes, cut between characters.
fn head(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}
