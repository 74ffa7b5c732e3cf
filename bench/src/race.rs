//! The race: one browser with a tab for Moescope and a tab for the peers, which take turns.

mod gpu;
mod memory;

use crate::files::{EXPERTS, Entry, RACE};
use crate::report::{Cost, Figure, Limits, Outcome, Race};
use anyhow::{Result, bail};
use axum::Router;
use moescope_e2e::browser::{self, Driver, Visitor};
use moescope_e2e::median;
use moescope_e2e::page::Page;
use moescope_e2e::server::{self, Server};
use moescope_e2e::tools::Tools;
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use thirtyfour::WindowHandle;
use tower_http::services::{ServeDir, ServeFile};

/// Lengths of the prompts, in tokens.
const PROMPTS: [usize; 3] = [64, 256, 512];
/// How many times a model is opened to time its first token.
const STARTS: usize = 3;
/// Tokens generated after the shortest prompt.
const DECODED: usize = 64;
/// How many of the most probable next tokens both engines must agree on.
const GUESSES: usize = 5;
/// The largest difference of their log-probabilities: llama.cpp keeps keys and values in f16.
const NEAR: f64 = 0.02;
/// The same with weights of 8 bits, which the two engines round in different ways.
const NEAR_ROUNDED: f64 = 0.2;

/// What to race on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Devices {
    /// One thread of the browser.
    Cpu,
    /// WebGPU.
    Gpu,
    /// One after the other.
    Both,
}

/// Where the files of the race are.
pub struct Places {
    /// The models' directory.
    pub models: PathBuf,
    /// The peers' `node_modules`; `None` where they could not be fetched.
    pub peers: Option<PathBuf>,
    /// The WebAssembly of bench/probe.
    pub probe: PathBuf,
    /// The directory of the pages that drive the peers, bench/page.
    pub pages: PathBuf,
}

/// Runs the races on `devices`, each measurement `rounds` times.
///
/// # Errors
/// The page does not run, or the engines disagree about a model.
pub async fn run(tools: &Tools, places: &Places, rounds: usize, devices: Devices) -> Result<Outcome> {
    let stage = Stage::new(tools, places).await?;
    let outcome = stage.races(rounds, devices).await;
    stage.browser.clone().quit().await?;
    let mut outcome = outcome?;
    if let Some(cpu) = &mut outcome.cpu {
        cpu.costs.extend(memory::measure(tools, places).await?);
    }
    Ok(outcome)
}

/// A probable next token, and the natural logarithm of its probability.
type Guess = (u32, f64);

struct Stage {
    page: Page,
    browser: thirtyfour::WebDriver,
    own: WindowHandle,
    other: WindowHandle,
    has_peer: bool,
    _running: (Driver, [Server; 2]),
}

#[derive(Deserialize)]
struct Generated {
    ids: Vec<u32>,
    prefill_ms: f64,
    decode_ms: f64,
}

/// Milliseconds a token.
#[derive(Deserialize)]
struct PeerRun {
    prefill: f64,
    decode: f64,
}

impl Stage {
    /// A browser with both pages.
    async fn new(tools: &Tools, places: &Places) -> Result<Self> {
        let models = ServeDir::new(&places.models);
        let site = Router::new().nest_service("/race", models.clone()).fallback_service(server::site(tools)?);
        let mut peers =
            Router::new().nest_service("/models", models).route_service("/probe.wasm", ServeFile::new(&places.probe));
        if let Some(modules) = &places.peers {
            peers = peers.nest_service("/npm", ServeDir::new(modules));
        }
        let peers = Server::start(peers.fallback_service(ServeDir::new(&places.pages))).await?;
        let site = Server::start(site).await?;
        let driver = Driver::start(tools)?;
        let browser = browser::open(tools, &driver, Visitor::WEBGPU).await?;
        let page = Page::new(browser.clone());
        let own = browser.window().await?;
        page.goto(&site.url("/?backend=cpu")).await?;
        page.routed().await?;
        let other = browser.new_tab().await?;
        browser.switch_to_window(other.clone()).await?;
        page.goto(&peers.url("/peers.html")).await?;
        let has_peer = places.peers.is_some();
        Ok(Self { page, browser, own, other, has_peer, _running: (driver, [site, peers]) })
    }

    async fn races(&self, rounds: usize, devices: Devices) -> Result<Outcome> {
        let mut outcome = Outcome { cpu: None, gpu: None, more_experts: None };
        if devices != Devices::Gpu {
            outcome.cpu = Some(self.on_cpu(rounds).await?);
            outcome.more_experts = Some(self.more_experts(rounds).await?);
        }
        if devices != Devices::Cpu {
            outcome.gpu = self.on_gpu(rounds).await?;
        }
        Ok(outcome)
    }

    async fn on_cpu(&self, rounds: usize) -> Result<Race> {
        let limits = self.limits().await?;
        let (mut figures, mut costs) = (Vec::new(), Vec::new());
        for entry in RACE {
            eprintln!("{}: {rounds} rounds", entry.name());
            let mut has_peer = self.has_peer;
            let (mut own, mut peer) = (Vec::new(), Vec::new());
            for _ in 0..rounds.min(STARTS) {
                own.push(self.open(&entry, entry.backend).await? / 1e3);
                if has_peer {
                    let opened = self.open_peer(&entry).await?;
                    has_peer = opened.is_some();
                    peer.extend(opened.map(|ms| ms / 1e3));
                }
            }
            costs.push(Cost::new(&entry.name(), "first token, s", &own, &peer));
            if has_peer {
                self.check(&entry).await?;
            }
            let mut measured = Measured::default();
            for _ in 0..rounds {
                for tokens in PROMPTS.into_iter().filter(|&tokens| tokens < entry.shape.context) {
                    self.own_run(&mut measured, tokens).await?;
                    if has_peer && let Err(error) = self.peer_run(&mut measured, tokens).await {
                        eprintln!("wllama is left out of the rest of {}: {error}", entry.name());
                        has_peer = false;
                    }
                }
            }
            figures.extend(measured.figures(&entry, &limits));
        }
        Ok(Race { peer: "wllama", device: "One thread".into(), limits, figures, costs })
    }

    async fn limits(&self) -> Result<Limits> {
        self.browser.switch_to_window(self.other.clone()).await?;
        self.page.promise("return await window.limits('/probe.wasm');", Vec::new()).await
    }

    /// Opens a model on the page with the engine `backend`.
    /// Returns the milliseconds until the first token after a short prompt.
    async fn open(&self, entry: &Entry, backend: &str) -> Result<f64> {
        self.browser.switch_to_window(self.own.clone()).await?;
        let load = "
            const [address, backend, prompt] = arguments, start = performance.now();
            await window.moescope.load(`${location.origin}/${address}/`, { backend });
            await window.moescope.generate(prompt, { tokens: 1, temperature: 0 });
            return performance.now() - start;";
        self.page.promise(load, vec![json!(entry.address()), json!(backend), json!(prompt(PROMPTS[0]))]).await
    }

    /// As [`Self::open`], for the peer; `None` if it does not open its file. wllama fails occasionally, so it is tried
    /// three times.
    async fn open_peer(&self, entry: &Entry) -> Result<Option<f64>> {
        let Some(file) = entry.peer_file() else { return Ok(None) };
        self.browser.switch_to_window(self.other.clone()).await?;
        for _ in 0..3 {
            let open = "
                const [address, prompt] = arguments, start = performance.now();
                await window.peers.wllama.open(address);
                await window.peers.wllama.run(prompt, 1);
                return performance.now() - start;";
            let arguments = vec![json!(format!("/models/{file}")), json!(prompt(PROMPTS[0]))];
            match self.page.promise(open, arguments).await {
                Ok(ms) => return Ok(Some(ms)),
                Err(error) => eprintln!("wllama does not open {file}: {error}"),
            }
        }
        eprintln!("wllama is left out of {}", entry.name());
        Ok(None)
    }

    /// Fails if the two engines do not run the same model.
    async fn check(&self, entry: &Entry) -> Result<()> {
        let ids = prompt(PROMPTS[0]);
        let own = self.own_guesses(&ids).await?;
        self.browser.switch_to_window(self.other.clone()).await?;
        let its = "return await window.peers.wllama.guesses(arguments[0], arguments[1]);";
        let its: Vec<Guess> = self.page.promise(its, vec![json!(ids), json!(GUESSES)]).await?;
        let near = if entry.is_rounded() { NEAR_ROUNDED } else { NEAR };
        same_model(&entry.name(), &own, "wllama", &its, near)
    }

    async fn own_guesses(&self, ids: &[u32]) -> Result<Vec<Guess>> {
        self.browser.switch_to_window(self.own.clone()).await?;
        let own = "return (await window.moescope.trace(arguments[0], { logits: 'last' })).logits_last;";
        Ok(probable(&self.page.promise::<Vec<f64>>(own, vec![json!(ids)]).await?))
    }

    async fn own_run(&self, measured: &mut Measured, tokens: usize) -> Result<()> {
        self.browser.switch_to_window(self.own.clone()).await?;
        let wanted = decoded_after(tokens);
        let generated = self.generate(tokens, wanted).await?;
        measured.own.prefill(tokens, generated.prefill_ms / tokens as f64);
        if wanted > 1 {
            measured.own.decode.push(generated.decode_ms / generated.ids.len() as f64);
        }
        Ok(())
    }

    async fn generate(&self, tokens: usize, wanted: usize) -> Result<Generated> {
        let generate = "const { ids, prefill_ms, decode_ms } = await window.moescope.generate(arguments[0],
                { tokens: arguments[1], temperature: 0 });
            return { ids, prefill_ms, decode_ms };";
        self.page.promise(generate, vec![json!(prompt(tokens)), json!(wanted)]).await
    }

    async fn peer_run(&self, measured: &mut Measured, tokens: usize) -> Result<()> {
        self.browser.switch_to_window(self.other.clone()).await?;
        let wanted = decoded_after(tokens);
        let run = "return await window.peers.wllama.run(arguments[0], arguments[1]);";
        let run: PeerRun = self.page.promise(run, vec![json!(prompt(tokens)), json!(wanted)]).await?;
        measured.peer.prefill(tokens, run.prefill);
        if wanted > 1 {
            measured.peer.decode.push(run.decode);
        }
        Ok(())
    }

    /// The time to decode with 64 experts over the time with eight. Size and `top_k` of the experts are the same.
    async fn more_experts(&self, rounds: usize) -> Result<f64> {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..2 {
            for (entry, times) in EXPERTS.iter().zip(&mut times) {
                self.open(entry, "cpu").await?;
                for _ in 0..rounds {
                    times.push(self.generate(PROMPTS[0], DECODED).await?.decode_ms);
                }
            }
        }
        let [few, many] = times.map(median);
        Ok(many / few)
    }
}

/// The [`GUESSES`] most probable tokens of a row of logits.
fn probable(logits: &[f64]) -> Vec<Guess> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = logits.iter().map(|logit| (logit - most).exp()).sum::<f64>().ln() + most;
    let mut guesses: Vec<Guess> = (0..).zip(logits).map(|(id, logit)| (id, logit - sum)).collect();
    guesses.sort_by(|one, other| other.1.total_cmp(&one.1));
    guesses.truncate(GUESSES);
    guesses
}

/// Fails unless both engines find the same tokens the most probable, with log-probabilities that differ by less than
/// `near`. Where `near` is larger than [`NEAR`], tokens may change places.
fn same_model(model: &str, own: &[Guess], peer: &str, its: &[Guess], near: f64) -> Result<()> {
    let same = |(place, own): (usize, &Guess)| match its.iter().position(|its| its.0 == own.0) {
        Some(its_place) => (its_place == place || near > NEAR) && (own.1 - its[its_place].1).abs() < near,
        // The less probable ones may be missing from the other list.
        None => near > NEAR && 2 * place > GUESSES,
    };
    if own.len() != its.len() || !own.iter().enumerate().all(same) {
        bail!("{model}: the engines do not run the same model. Most probable tokens: Moescope {own:?}, {peer} {its:?}");
    }
    Ok(())
}

fn decoded_after(prompt: usize) -> usize {
    if prompt == PROMPTS[0] { DECODED } else { 1 }
}

/// A prompt of `tokens` ids without early repetition.
fn prompt(tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|n| 300 + n * n * 7 % 1500).collect()
}

/// Milliseconds a token, run by run.
#[derive(Default)]
struct Times {
    prefill: [Vec<f64>; PROMPTS.len()],
    decode: Vec<f64>,
}

impl Times {
    fn prefill(&mut self, tokens: usize, ms: f64) {
        let place = PROMPTS.iter().position(|&prompt| prompt == tokens).expect("one of the prompts");
        self.prefill[place].push(ms);
    }
}

#[derive(Default)]
struct Measured {
    own: Times,
    peer: Times,
}

impl Measured {
    fn figures(&self, entry: &Entry, limits: &Limits) -> Vec<Figure> {
        let shape = &entry.shape;
        let bytes = entry.bytes_of_a_number() * shape.active_parameters() as f64;
        let decode =
            Figure::new(&entry.name(), "decode".into(), &self.own.decode, &self.peer.decode, limits.read / bytes);
        let prefill = PROMPTS.iter().zip(&self.own.prefill).zip(&self.peer.prefill);
        let prefill = prefill.filter(|((_, own), _)| !own.is_empty()).map(|((&tokens, own), peer)| {
            let most = limits.multiply_add / shape.prefill_multiply_adds(tokens) as f64;
            Figure::new(&entry.name(), format!("prefill {tokens}"), own, peer, most)
        });
        std::iter::once(decode).chain(prefill).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_tokens_come_first() {
        let guesses = probable(&[0.0, 1e3, 2.0, 1e3, -5.0, 1.0, 0.5]);
        assert_eq!(guesses.iter().map(|guess| guess.0).collect::<Vec<_>>(), [1, 3, 2, 5, 6]);
        assert!((guesses[0].1 + 2f64.ln()).abs() < 1e-9);
    }
}
