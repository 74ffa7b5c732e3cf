//! One text on one engine. An edit runs only what follows the longest common prefix of the old and the new ids: the KV
//! cache is cut to that prefix, and the rest runs chunk by chunk.

use super::shown::{guesses, tokens};
use crate::engine::{Engine, Logits, LogitsOf, Sampling, Step};
use crate::error::{Error, Result};
use crate::routing::Trace;
use crate::shape::{GROUP, Settings, experts_choose};
use crate::tokenizer::Tokenizer;

/// A text being routed.
pub struct Session {
    engine: Engine,
    /// Ids of the text; the engine's KV cache holds the first `engine.len()` of them.
    ids: Vec<u32>,
    /// Logits after the last token that ran, `[V]`; empty after an edit and before the first token.
    last: Vec<f32>,
    /// Tokens to replay: the next tokens to run that are already in the caller's trace, and run again only to rebuild
    /// logits (1) or, under expert choice, the whole window of 64 tokens; 0 otherwise.
    replay: usize,
}

impl Session {
    /// A session with no text.
    pub fn new(engine: Engine) -> Self {
        Self { engine, ids: Vec::new(), last: Vec::new(), replay: 0 }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, for calls that do not change the text in its cache.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Replaces the engine; the whole text must run again.
    pub fn replace_engine(&mut self, engine: Engine) {
        self.engine = engine;
        self.last.clear();
        self.replay = 0;
    }

    /// Changes the gates' settings of an engine that is a fork; the whole text must run again.
    pub fn set_settings(&mut self, settings: Settings) {
        self.engine.set_settings(settings);
        self.last.clear();
        self.replay = 0;
    }

    /// Returns an error under expert choice, where a later token may change the routing of earlier ones in its window.
    /// `what` names what therefore cannot be done.
    pub fn check_causal(&self, what: &str) -> Result<()> {
        if experts_choose(self.engine.settings()) {
            return Err(Error::Input(format!(
                "with expert choice the experts of a token depend on tokens after it, so there is no {what}; \
                 choose another gate for it"
            )));
        }
        Ok(())
    }

    /// Ids of the text.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Logits after the last token, `[V]`; empty where nothing ran.
    pub fn last_logits(&self) -> &[f32] {
        &self.last
    }

    /// Replaces the text by `ids`, cut to the model's context. Returns how many tokens of the old trace stay valid.
    pub fn set(&mut self, mut ids: Vec<u32>) -> usize {
        ids.truncate(self.engine.architecture().context);
        let given = self.given();
        let mut keep = self.ids[..given].iter().zip(&ids).take_while(|(a, b)| a == b).count();
        // The last kept token is replayed: the surprise of the next one needs its logits.
        let mut replay = 1;
        if experts_choose(self.engine.settings()) && (keep, ids.len()) != (given, given) {
            // Under expert choice, only whole windows can be kept and replayed.
            (keep, replay) = (keep / GROUP * GROUP, GROUP);
        }
        if keep < given {
            self.last.clear();
            self.replay = keep.min(replay);
            self.engine.truncate(keep - self.replay);
        }
        self.ids = ids;
        keep
    }

    /// The number of tokens whose trace the caller has.
    pub fn given(&self) -> usize {
        self.engine.len() + self.replay
    }

    /// The number of tokens that still have to run.
    pub fn pending(&self) -> usize {
        self.ids.len() - self.engine.len()
    }

    /// Whether the context has room for another token.
    pub fn has_room(&self) -> bool {
        self.ids.len() < self.engine.architecture().context
    }

    /// Runs `ids` from scratch and returns their whole trace. For the other parameters see [`Self::advance`].
    pub async fn run(
        &mut self,
        ids: &[u32],
        tokenizer: Option<&Tokenizer>,
        mut on_logits: impl FnMut(&[f32]),
    ) -> Result<Trace> {
        self.run_for(LogitsOf::All, ids, tokenizer, &mut on_logits).await
    }

    /// As [`Self::run`], but computes only the logits after the last token: the trace has no guesses and no surprise.
    pub async fn run_routing(&mut self, ids: &[u32], tokenizer: Option<&Tokenizer>) -> Result<Trace> {
        self.run_for(LogitsOf::Last, ids, tokenizer, |_| {}).await
    }

    async fn run_for(
        &mut self,
        wanted: LogitsOf,
        ids: &[u32],
        tokenizer: Option<&Tokenizer>,
        mut on_logits: impl FnMut(&[f32]),
    ) -> Result<Trace> {
        self.set(Vec::new());
        self.set(ids.to_vec());
        let mut trace = Trace::default();
        while self.pending() > 0 {
            trace.extend(&self.advance_for(wanted, tokenizer, usize::MAX, &mut on_logits).await?);
        }
        Ok(trace)
    }

    /// Runs the next chunk of the pending tokens, at most `most`, and returns its trace (empty where nothing is
    /// pending). `tokenizer` gives the tokens their text. `on_logits` is called with the logits of the tokens in the
    /// trace, `[T, V]`.
    pub async fn advance(
        &mut self,
        tokenizer: Option<&Tokenizer>,
        most: usize,
        on_logits: impl FnMut(&[f32]),
    ) -> Result<Trace> {
        self.advance_for(LogitsOf::All, tokenizer, most, on_logits).await
    }

    async fn advance_for(
        &mut self,
        wanted: LogitsOf,
        tokenizer: Option<&Tokenizer>,
        most: usize,
        mut on_logits: impl FnMut(&[f32]),
    ) -> Result<Trace> {
        let (start, replay) = (self.engine.len(), self.replay);
        let most = if experts_choose(self.engine.settings()) { GROUP } else { most.max(1).saturating_add(replay) };
        let count = self.pending().min(self.engine.chunk(wanted)).min(most);
        if count == 0 {
            return Ok(Trace::default());
        }
        let step = self.engine.step(&self.ids[start..start + count], wanted).await?;
        Ok(self.trace_of(step, start, wanted, tokenizer, &mut on_logits))
    }

    /// Draws the next token, runs it and returns its trace. A GPU keeps up to `ahead` decode steps in flight, this one
    /// included, where every token may be drawn ([`Sampling::takes_all`]). Nothing may be pending, and the context
    /// must have room for the token.
    pub async fn draw(&mut self, sampling: &Sampling, ahead: usize, tokenizer: Option<&Tokenizer>) -> Result<Trace> {
        let start = self.ids.len();
        debug_assert!(self.pending() == 0 && self.has_room() && !self.last.is_empty());
        let room = self.engine.architecture().context - start;
        // An id for which the tokenizer has no token is never drawn: the vocabulary is often padded.
        let nameless = tokenizer.and_then(|tokenizer| without_nameless(&self.last, tokenizer));
        let first = || sampling.choose(nameless.as_ref().unwrap_or(&self.last), start);
        match &mut self.engine {
            Engine::Gpu(engine) if ahead > 1 && sampling.takes_all() && nameless.is_none() => {
                let (id, step) = engine.draw(sampling, ahead.min(room), first).await?;
                self.ids.push(id);
                Ok(self.trace_of(step.checked()?, start, LogitsOf::All, tokenizer, &mut |_| {}))
            }
            _ => {
                self.ids.push(first());
                let run = self.advance(tokenizer, 1, |_| {}).await;
                // Where the step failed, the token is removed, so that another engine can draw it again.
                run.inspect_err(|_| self.ids.truncate(start))
            }
        }
    }

    /// Converts the result of a step that began at the position `start` to a trace, without the replayed tokens.
    fn trace_of(
        &mut self,
        mut step: Step,
        start: usize,
        wanted: LogitsOf,
        tokenizer: Option<&Tokenizer>,
        on_logits: &mut dyn FnMut(&[f32]),
    ) -> Trace {
        let (replay, vocabulary) = (self.replay, self.engine.architecture().vocabulary);
        let ids = &self.ids[..self.engine.len()];
        let rows: Vec<&[f32]> = step.logits.chunks_exact(vocabulary).collect();
        let (mut guessed, mut surprises) = (Vec::new(), Vec::new());
        if wanted == LogitsOf::All {
            let rows: Vec<Logits> =
                std::iter::once(self.last.as_slice()).chain(rows.iter().copied()).map(Logits::new).collect();
            surprises = rows.iter().zip(&ids[start..]).skip(replay).map(|(row, &id)| row.surprise(id)).collect();
            guessed = rows[1 + replay..].iter().map(|row| guesses(row, tokenizer)).collect();
            on_logits(&step.logits[replay * vocabulary..]);
        }
        let tokens = tokens(ids, start + replay, tokenizer);
        self.last = rows.last().map(|row| row.to_vec()).unwrap_or_default();
        self.replay = 0;
        step.layers.iter_mut().for_each(|layer| layer.forget_first(replay));
        Trace { tokens, layers: step.layers, guesses: guessed, surprise: surprises }
    }
}

/// `logits` with minus infinity for ids that have no token; `None` where every id has one.
fn without_nameless(logits: &[f32], tokenizer: &Tokenizer) -> Option<Vec<f32>> {
    let nameless = tokenizer.nameless();
    (!nameless.is_empty()).then(|| {
        let mut logits = logits.to_vec();
        nameless.iter().for_each(|&id| logits[id as usize] = f32::NEG_INFINITY);
        logits
    })
}
