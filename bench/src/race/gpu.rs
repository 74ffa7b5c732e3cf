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
/// Prompts, in tokens.
const PROMPTS: [usize; 2] = [64, 256];
/// The longest that its peer is asked for: it takes about a second a token where the GPU is a processor.
const PEER_PROMPT: usize = 64;
/// Tokens that Moescope generates after the shortest prompt.
const DECODED: usize = 32;
/// And its peer, which takes seconds for each where the GPU is a processor.
const PEER_DECODED: usize = 2;

/// For one call of the peer: a prompt takes it minutes where the GPU is a processor.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the GPU can do, and its name.
#[derive(Deserialize)]
struct Device {
    name: String,
    limits: Limits,
}

impl Stage {
    /// The race; `None` where the browser has no WebGPU.
    pub(super) async fn on_gpu(&self, rounds: usize) -> Result<Option<Race>> {
        self.browser.switch_to_window(self.other.clone()).await?;
        let Some(device) = self.page.promise::<Option<Device>>("return await window.gpuLimits();", Vec::new()).await?
        else {
            eprintln!("This browser has no WebGPU: the race on it is left out");
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

    /// Whether the peer has opened one of its graphs.
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

    /// Opens the graph for one token, with the keys and values of its last prompt, and checks it. Whether it could be opened.
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

    /// What a call of the peer gives.
    async fn onnx<T: serde::de::DeserializeOwned>(&self, call: &str, arguments: Vec<Value>) -> Result<T> {
        self.browser.switch_to_window(self.other.clone()).await?;
        self.page
            .promise_within(PATIENCE, &format!("return (await window.peers.onnx.{call}) ?? null;"), arguments)
            .await
    }
}
