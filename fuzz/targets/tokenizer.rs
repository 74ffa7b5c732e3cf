//! A tokenizer.json, and a chat template.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moescope::tokenizer::Tokenizer;
use moescope::tokenizer::chat::{ChatTemplate, Message};

fuzz_target!(|data: &[u8]| {
    if let Ok(tokenizer) = Tokenizer::new(data, 4096) {
        for text in ["", "A text, 12 \u{4f60} <s>", "aaaaaaaaaaaaaaaaaaaa"] {
            if let Ok((ids, _)) = tokenizer.encode(text) {
                let _ = tokenizer.tokens(&ids, 0);
            }
        }
    }
    if let Ok(template) = ChatTemplate::new(data) {
        let _ = template.render(&[Message { role: "user", content: "a" }]);
    }
});
