//! One text on one engine. A change of the text costs only what follows the longest common prefix of
//! the old ids and the new ones: the KV cache is cut to it and the rest runs, chunk by chunk.

use super::shown::{guesses, tokens};
use crate::engine::{Engine, Logits, LogitsOf, Sampling, Step};
use crate::error::{Error, Result};
use crate::routing::Trace;
use crate::shape::{GROUP, Settings, experts_choose};
use crate::tokenizer::Tokenizer;

/// A text being routed.
pub struct Session {
    engine: Engine,
    /// Ids wanted; the engine's cache holds the first `engine.len()` of them.
    ids: Vec<u32>,
    /// Logits after the last token that ran, `[V]`; empty where they are not known.
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

    /// Puts another engine in place of this one; what was routed must be run again.
    pub fn replace_engine(&mut self, engine: Engine) {
        self.engine = engine;
        self.last.clear();
        self.replay = 0;
    }

    /// Makes the gates of an engine that is a fork do as `settings` say; what was routed must be run again.
    pub fn set_settings(&mut self, settings: Settings) {
        self.engine.set_settings(settings);
        self.last.clear();
        self.replay = 0;
    }

    /// Refuses what expert choice cannot do: later tokens change the earlier ones of their group.
    pub fn check_causal(&self, what: &str) -> Result<()> {
        if experts_choose(self.engine.settings()) {
            return Err(Error::Input(format!(
                "with expert choice the experts of a token depend on tokens after it, so there is no {what}; \
                 choose another gate for it"
            )));
        }
        Ok(())
    }

    /// The ids wanted.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Logits after the last token, `[V]`; empty where nothing ran.
    pub fn last_logits(&self) -> &[f32] {
        &self.last
    }

    /// Makes `ids` the text: at most the context's length of them. Returns how many tokens of what was
    /// routed before still hold.
    pub fn set(&mut self, mut ids: Vec<u32>) -> usize {
        ids.truncate(self.engine.architecture().context);
        let given = self.given();
        let mut keep = self.ids[..given].iter().zip(&ids).take_while(|(a, b)| a == b).count();
        // The last kept token is replayed: the surprise of the next one needs its logits.
        let mut replay = 1;
        if experts_choose(self.engine.settings()) && (keep, ids.len()) != (given, given) {
            // Where the experts choose, only whole groups can be kept and run again.
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

    /// Tokens whose trace the caller has.
    pub fn given(&self) -> usize {
        self.engine.len() + self.replay
    }

    /// Tokens that still have to run.
    pub fn pending(&self) -> usize {
        self.ids.len() - self.engine.len()
    }

    /// True where another token fits.
    pub fn has_room(&self) -> bool {
        self.ids.len() < self.engine.architecture().context
    }

    /// Runs `ids` from scratch and gives their whole trace; the rest as in [`Self::advance`].
    pub async fn run(
        &mut self,
        ids: &[u32],
        tokenizer: Option<&Tokenizer>,
        mut on_logits: impl FnMut(&[f32]),
    ) -> Result<Trace> {
        self.run_for(LogitsOf::All, ids, tokenizer, &mut on_logits).await
    }

    /// As [`Self::run`], but computes no logits except those after the last token: the trace has neither guesses nor
    /// surprise.
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

    /// Runs the next chunk of what is pending, at most `most` tokens, and gives its trace (empty where
    /// nothing is pending). `tokenizer` names the tokens where there is one; `on_logits` sees the logits of the
    /// tokens in the trace, `[T, V]`.
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

    /// Draws the next token and runs it. A GPU pipelines up to `ahead` decode steps, this one included, where every
    /// token may be drawn ([`Sampling::takes_all`]). Nothing may be pending, and there must be room for the token.
    pub async fn draw(&mut self, sampling: &Sampling, ahead: usize, tokenizer: Option<&Tokenizer>) -> Result<Trace> {
        let start = self.ids.len();
        debug_assert!(self.pending() == 0 && self.has_room() && !self.last.is_empty());
        let room = self.engine.architecture().context - start;
        // A token without a name is never drawn: models often have room for more than their tokenizer has.
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
                // A token that did not run was not drawn: another engine draws it again.
                run.inspect_err(|_| self.ids.truncate(start))
            }
        }
    }

    /// The trace of a step that began at the token `start`.
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

/// `logits` with those of tokens without a name impossible; none where all have one.
fn without_nameless(logits: &[f32], tokenizer: &Tokenizer) -> Option<Vec<f32>> {
    let nameless = tokenizer.nameless();
    (!nameless.is_empty()).then(|| {
        let mut logits = logits.to_vec();
        nameless.iter().for_each(|&id| logits[id as usize] = f32::NEG_INFINITY);
        logits
    })
}
