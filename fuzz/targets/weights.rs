//! A file of safetensors with a config that fits many, and an index of shards.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moescope::engine::{Engine, LogitsOf};
use moescope::model::files::{ModelFiles, shards};
use moescope::model::Model;
use std::rc::Rc;

const CONFIG: &str = include_str!("../../tests/golden/fixtures/basic/config.json");

fuzz_target!(|data: &[u8]| {
    let _ = shards(data);
    let files = ModelFiles {
        name: "m".into(),
        config: CONFIG.into(),
        tokenizer: None,
        generation: None,
        chat: None,
        weights: vec![("model.safetensors".into(), Rc::new(data.to_vec()))],
    };
    if let Ok(model) = Model::new(&files)
        && let Ok(mut engine) = Engine::cpu(&model)
    {
        let _ = futures::executor::block_on(engine.step(&[1, 2], LogitsOf::All));
    }
});
