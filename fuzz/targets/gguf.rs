//! A GGUF file: its metadata, its tensors and its tokenizer.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use moescope::engine::{Engine, LogitsOf};
use moescope::model::{Model, gguf};
use moescope::tokenizer::Tokenizer;
use std::rc::Rc;

fuzz_target!(|data: &[u8]| {
    let weights = vec![("m.gguf".into(), Rc::new(data.to_vec()) as _)];
    let Ok(files) = block_on(gguf::model_files("m".into(), weights)) else { return };
    if let Some(json) = &files.tokenizer
        && let Ok(tokenizer) = Tokenizer::new(json, 4096)
    {
        let _ = tokenizer.encode("A text, 12 \u{4f60}");
    }
    if let Ok(model) = Model::new(&files)
        && let Ok(mut engine) = Engine::cpu(&model)
    {
        let _ = block_on(engine.step(&[1], LogitsOf::All));
    }
});
