//! A model of many layers, and measurements of its routing map under a moving pointer.

use crate::frames::{Moved, measured};
use crate::page::Page;
use crate::tools::Tools;
use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use safetensors::{SafeTensors, serialize};
use serde_json::{Value, json};

/// Layers of the model: those of `main`, repeated.
pub const LAYERS: usize = 32;

/// The model's context, in tokens.
pub const CONTEXT: usize = 512;

/// The path at which [`router`] serves it.
pub const PATH: &str = "/deep";

/// Serves the model's files.
///
/// # Errors
/// The site has no `main`.
pub fn router(tools: &Tools) -> Result<Router> {
    let main = tools.model("main");
    let read = |name: &str| std::fs::read(main.join(name)).with_context(|| format!("{}: no {name}", main.display()));
    let mut config: Value = serde_json::from_slice(&read("config.json")?)?;
    let layers = config["num_hidden_layers"].as_u64().context("no num_hidden_layers")? as usize;
    config["num_hidden_layers"] = json!(LAYERS);
    config["max_position_embeddings"] = json!(CONTEXT);
    let weights = repeated(&read("model.safetensors")?, layers)?;
    let files = [
        ("config.json", config.to_string().into_bytes()),
        ("model.safetensors", weights),
        ("tokenizer.json", read("tokenizer.json")?),
    ];
    Ok(files.into_iter().fold(Router::new(), |router, (name, contents)| {
        let contents = Bytes::from(contents);
        router.route(&format!("{PATH}/{name}"), any(|| async { contents }))
    }))
}

/// The weights of [`LAYERS`] layers, made by repeating those of `layers` layers.
fn repeated(weights: &[u8], layers: usize) -> Result<Vec<u8>> {
    let weights = SafeTensors::deserialize(weights)?;
    let names = weights.names().into_iter().flat_map(|name| match layer_of(name) {
        Some((before, layer, after)) => {
            (layer..LAYERS).step_by(layers).map(|n| (format!("{before}.{n}.{after}"), name)).collect()
        }
        None => vec![(name.to_owned(), name)],
    });
    let tensors = names.map(|(new, name)| Ok((new, weights.tensor(name)?)));
    Ok(serialize(tensors.collect::<Result<Vec<_>>>()?, None)?)
}

/// Splits the name of a layer's tensor: `model.layers.2.norm.weight` gives (`model.layers`, 2, `norm.weight`).
fn layer_of(name: &str) -> Option<(&str, usize, &str)> {
    let (before, rest) = name.split_once(".layers.")?;
    let (layer, after) = rest.split_once('.')?;
    Some((&name[..before.len() + ".layers".len()], layer.parse().ok()?, after))
}

/// Moves the pointer over the routing map, zooms it and pans it.
///
/// # Errors
/// There is no map.
pub async fn move_about(page: &Page) -> Result<Vec<Moved>> {
    let place = "const canvas = document.querySelector('.map canvas');
        canvas.scrollIntoView({ block: 'center' });
        const { x, y, width, height } = canvas.getBoundingClientRect();
        return [x, y, width, height];";
    let [x, y, width, height]: [f64; 4] = page.script(place, Vec::new()).await?;
    let at = |n: usize| (x + 40.0 + (n * 20) as f64 % (width - 60.0), y + 20.0 + (n * 7) as f64 % (height - 40.0));
    let event = |n: usize, more: Value| {
        let (x, y) = at(n);
        let mut event = json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": 0 });
        event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        event
    };
    const CONTROL: u32 = 2;
    Ok(vec![
        measured(page, "the crosshair follows", (0..60).map(|n| event(n, json!({ "type": "mouseMoved" })))).await?,
        measured(page, "zooming", (0..12).map(|_| event(5, json!({ "deltaY": -100, "modifiers": CONTROL })))).await?,
        measured(page, "panning", (0..40).map(|_| event(5, json!({ "deltaX": 60 })))).await?,
    ])
}
