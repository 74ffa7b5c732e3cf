//! A config of any family; the weights are those of one of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moescope::model::Model;
use moescope::model::files::ModelFiles;
use std::rc::Rc;

const WEIGHTS: &[u8] = include_bytes!("../../tests/golden/fixtures/basic/model.safetensors");

fuzz_target!(|data: &[u8]| {
    let files = ModelFiles {
        name: "m".into(),
        config: data.to_vec(),
        tokenizer: None,
        generation: Some(data.to_vec()),
        chat: None,
        weights: vec![("model.safetensors".into(), Rc::new(WEIGHTS))],
    };
    let _ = Model::new(&files);
});
