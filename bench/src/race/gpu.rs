//! The race on WebGPU, against ONNX Runtime Web.

use super::{NEAR, Stage, probable, prompt, same_model};
use crate::files::{ON_GPU, graph_file};
use crate::onnx::Form;
use crate::report::{Figure, Limits, Race};
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

const PEER: &str = "ONNX Runtime Web";
/// Lengths of the prompts, in tokens.
const PROMPTS: [usize; 2] = [64, 256];
/// The longest prompt for the peer, which takes about a second a token on a software adapter.
const PEER_PROMPT: usize = 64;
/// Tokens that Moescope generates after the shortest prompt.
const DECODED: usize = 32;
/// Tokens that the peer generates. It takes seconds for each on a software adapter.
const PEER_DECODED: usize = 2;

/// The longest time for one call of the peer: a prompt takes it minutes on a software adapter.
const PATIENCE: Duration = Duration::from_secs(600);

/// The GPU's name, and what it can do at most.
#[derive(Deserialize)]
struct Device {
    name: String,
    limits: Limits,
}

impl Stage {
    /// Runs the race on WebGPU; `None` if the browser has none.
    pub(super) async fn on_gpu(&self, rounds: usize) -> Result<Option<Race>> {
        self.browser.switch_to_window(self.other.clone()).await?;
        let Some(device) = self.page.promise::<Option<Device>>("return await window.gpuLimits();", Vec::new()).await?
        else {
            eprintln!("This browser has no WebGPU: the race on WebGPU is left out");
            return Ok(None);
        };
        let (shape, limits) = (&ON_GPU.shape, device.limits);
        let model = format!("{} on WebGPU", ON_GPU.name());
        eprintln!("{model}: {rounds} rounds");
        self.open(&ON_GPU, "webgpu").await?;

        let has_peer = self.has_peer && self.open_graph(Form::Prefill).await?;
        if has_peer {
            self.check_prefill(&model).await?;
        }
        let mut figures = Vec::new();
        let mut times = [(); PROMPTS.len()].map(|()| (Vec::new(), Vec::new()));
        for _ in 0..rounds {
            for (&tokens, (own, peer)) in PROMPTS.iter().zip(&mut times) {
                self.browser.switch_to_window(self.own.clone()).await?;
                own.push(self.generate(tokens, 1).await?.prefill_ms / tokens as f64);
                if has_peer && tokens <= PEER_PROMPT {
                    peer.push(self.onnx("prefill(arguments[0])", vec![json!(prompt(tokens))]).await?);
                }
            }
        }
        for (&tokens, (own, peer)) in PROMPTS.iter().zip(&times) {
            let most = limits.multiply_add / shape.prefill_multiply_adds(tokens) as f64;
            figures.push(Figure::new(&model, format!("prefill {tokens}"), own, peer, most));
        }

        let has_peer = has_peer && self.open_decode(&model).await?;
        let (mut own, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            self.browser.switch_to_window(self.own.clone()).await?;
            let generated = self.generate(PROMPTS[0], DECODED).await?;
            own.push(generated.decode_ms / generated.ids.len() as f64);
            if has_peer {
                peer.push(self.onnx("decode(arguments[0])", vec![json!(PEER_DECODED)]).await?);
            }
        }
        let bytes = 4.0 * shape.active_parameters() as f64;
        figures.insert(0, Figure::new(&model, "decode".into(), &own, &peer, limits.read / bytes));
        Ok(Some(Race { peer: PEER, device: device.name, limits, figures, costs: Vec::new() }))
    }

    /// Opens one of the peer's graphs; false if it does not open.
    async fn open_graph(&self, form: Form) -> Result<bool> {
        self.browser.switch_to_window(self.other.clone()).await?;
        let (file, shape) = (graph_file(form), &ON_GPU.shape);
        let shape = json!({ "layers": shape.layers, "heads": shape.heads, "headDim": shape.head_dim() });
        let arguments = vec![json!(format!("/models/{file}")), shape];
        match self.onnx::<Value>("open(arguments[0], arguments[1])", arguments).await {
            Ok(_) => Ok(true),
            Err(error) => {
                eprintln!("{PEER} does not open {file}, and is left out: {error}");
                Ok(false)
            }
        }
    }

    async fn check_prefill(&self, model: &str) -> Result<()> {
        let ids = prompt(PROMPTS[0]);
        let own = self.own_guesses(&ids).await?;
        let its: Vec<f64> = self.onnx("prompt(arguments[0])", vec![json!(ids)]).await?;
        same_model(model, &own, PEER, &probable(&its), NEAR)
    }

    /// Opens the graph for one token with the keys and values of the last prompt, and checks that it is the same model.
    /// False if the peer does not open it.
    async fn open_decode(&self, model: &str) -> Result<bool> {
        let mut ids = prompt(PEER_PROMPT);
        self.onnx::<Value>("keep()", Vec::new()).await?;
        if !self.open_graph(Form::Decode).await? {
            return Ok(false);
        }
        ids.push(1);
        let own = self.own_guesses(&ids).await?;
        let its: Vec<f64> = self.onnx("next(1)", Vec::new()).await?;
        same_model(model, &own, PEER, &probable(&its), NEAR)?;
        Ok(true)
    }

    /// Calls a function of the peer (bench/page/onnx.js).
    async fn onnx<T: serde::de::DeserializeOwned>(&self, call: &str, arguments: Vec<Value>) -> Result<T> {
        self.browser.switch_to_window(self.other.clone()).await?;
        self.page
            .promise_within(PATIENCE, &format!("return (await window.peers.onnx.{call}) ?? null;"), arguments)
            .await
    }
}
