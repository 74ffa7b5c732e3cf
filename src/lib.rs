//! Moescope: see a sparse Mixture-of-Experts transformer think.
//!
//! Data flow: text -> [`tokenizer`] -> ids -> [`engine`] step -> [`routing`] trace (append-only) -> pure functions
//! (balance, cost) -> views. It never flows back.
//!
//! A whole program: it opens a model, routes a text, reads how evenly the experts are used, and switches one off.
//!
//! ```
//! use moescope::engine::Engine;
//! use moescope::model::{Model, files::read_dir};
//! use moescope::routing::effect::effect;
//! use moescope::routing::{Policy, balance};
//! use moescope::session::Session;
//! use moescope::tokenizer::Tokenizer;
//!
//! # fn main() -> moescope::error::Result<()> {
//! // A directory as Hugging Face has it: config.json, tokenizer.json, model.safetensors.
//! let files = read_dir("www/models/main".as_ref())?;
//! let model = Model::new(&files)?;
//! let json = files.tokenizer.as_ref().expect("this model has a tokenizer");
//! let tokenizer = Tokenizer::new(json, model.architecture.vocabulary)?;
//! let (ids, _) = tokenizer.encode("The cat sat on the mat, and so did the dog.")?;
//!
//! // Route the text: which experts of layer 2 does each token go to, and with which weights?
//! let mut session = Session::new(Engine::cpu(&model)?);
//! let trace = pollster::block_on(session.run(&ids, Some(&tokenizer), |_logits| {}))?;
//! let layer = trace.layer(2).expect("layer 2 has experts");
//! for (position, token) in trace.tokens.iter().enumerate() {
//!     println!("{:?}: {:?} {:?}", token.text, layer.selected_of(position), layer.weights_of(position));
//! }
//! assert!((0..trace.len()).all(|position| layer.selected_of(position).len() == layer.top_k));
//!
//! // The balance: the share of each expert in the layer's assignments.
//! let figures = balance(layer);
//! let busiest = (0..layer.experts).max_by(|&a, &b| figures.load[a].total_cmp(&figures.load[b])).unwrap();
//! assert!(figures.max_over_mean >= 1.0);
//!
//! // A policy switches the busiest expert of that layer off; the weights are shared with the first engine.
//! let policy = Policy::parse(&format!(r#"{{"layers": [2], "off": [{busiest}]}}"#))?;
//! let settings = policy.settings_or_own(&model.architecture)?;
//! let mut changed = Session::new(pollster::block_on(session.engine().fork(settings))?);
//! let under_policy = pollster::block_on(changed.run(&ids, Some(&tokenizer), |_logits| {}))?;
//! assert!(under_policy.layer(2).unwrap().assignments().all(|expert| expert as usize != busiest));
//! println!("loss: {:?} -> {:?}", effect(&trace, &under_policy).before, effect(&trace, &under_policy).after);
//! # Ok(())
//! # }
//! ```
//!
//! From the ground up; a module imports only from the modules above it in this list (tests/layers.rs):
//!
//! - [`shape`]: plain data that describes a computation: architecture, gates, number formats.
//! - [`model`]: checkpoints: configuration, tensors, loading, checks.
//! - [`tokenizer`]: turns text into ids, and ids into text to show.
//! - [`kernels`]: the CPU twin of every WGSL shader, one file for each kernel.
//! - [`layer`]: a layer as a list of typed operations.
//! - [`engine`]: two engines with one interface, and the KV cache.
//! - [`routing`]: policies, traces, balance: pure functions.
//! - [`session`]: one text on one engine; an edit runs only what it changed.
//!
//! The crate in `page/` is the page; the crate in `page/worker/` is the worker that owns its engine.

pub mod engine;
pub mod error;
pub mod kernels;
pub mod layer;
pub mod model;
pub mod routing;
pub mod session;
pub mod shape;
pub mod tokenizer;
