//! The tokenizer that all models share: byte-level BPE, so that every text has tokens and comes back unchanged.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};
use tokenizers::{Tokenizer, TokenizerImpl};

use crate::corpus;

/// Tokens it knows.
pub const VOCABULARY: usize = 2048;
/// The token between two documents and before the first.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Its id.
pub const END_OF_TEXT_ID: u16 = 0;
/// Text of each domain that the merges are counted on.
const SAMPLE: usize = 2_000_000;

/// Trains on an equal part of every domain's text and returns `tokenizer.json`.
pub fn train(texts: &[String]) -> Result<String> {
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(VOCABULARY)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .build();
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer: TokenizerImpl<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    > = TokenizerImpl::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(byte_level)));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(byte_level)));
    let sample = texts.iter().flat_map(|text| {
        corpus::documents(text).scan(0, |bytes, document| {
            *bytes += document.len();
            (*bytes < SAMPLE).then_some(document)
        })
    });
    tokenizer.train(&mut trainer, sample).map_err(|e| anyhow!("the tokenizer could not be trained: {e}"))?;
    let size = tokenizer.get_vocab_size(true);
    ensure!(size == VOCABULARY, "the text is too little for {VOCABULARY} tokens: it gave {size}");
    tokenizer.to_string(true).map_err(|e| anyhow!("the tokenizer could not be written: {e}"))
}

/// Reads `tokenizer.json`.
pub fn read(path: &Path) -> Result<Tokenizer> {
    Tokenizer::from_file(path).map_err(|e| anyhow!("{e}")).with_context(|| format!("cannot read {}", path.display()))
}

/// All documents as one stream of ids, each after [`END_OF_TEXT`].
pub fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u16>> {
    let documents: Vec<&str> = corpus::documents(text).collect();
    let mut ids = Vec::with_capacity(text.len() / 3);
    for batch in documents.chunks(256) {
        let encodings =
            tokenizer.encode_batch_fast(batch.to_vec(), false).map_err(|e| anyhow!("cannot encode: {e}"))?;
        for encoding in encodings {
            ids.push(END_OF_TEXT_ID);
            ids.extend(encoding.get_ids().iter().map(|&id| id as u16));
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_documents_begin_with_the_separator() {
        // Varied enough for 2,048 tokens: pseudo-words in two scripts.
        let word = |i: u64| -> String {
            let letter = |k: u64| char::from(b'a' + (crate::random::hash(i, k) % 26) as u8);
            (0..3 + i % 5).map(letter).chain([char::from_u32(0x4e00 + (i % 300) as u32).unwrap()]).collect()
        };
        let text: String = (0..4000).map(|i| word(i % 1300) + " ").collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, train(&[text]).unwrap()).unwrap();
        let tokenizer = read(&path).unwrap();
        assert_eq!(tokenizer.token_to_id(END_OF_TEXT), Some(u32::from(END_OF_TEXT_ID)));
        let strange = " Größe\t\u{1f980}\u{0}\r\n  中文 naïve";
        let ids = encode(&tokenizer, strange).unwrap();
        assert_eq!(ids[0], END_OF_TEXT_ID);
        // The zero byte stands between two documents.
        let parts: Vec<Vec<u32>> =
            ids[1..].split(|&id| id == END_OF_TEXT_ID).map(|p| p.iter().map(|&id| id.into()).collect()).collect();
        let back: Vec<String> = parts.iter().map(|p| tokenizer.decode(p, false).unwrap()).collect();
        assert_eq!(back.join("\0"), strange);
        assert!(train(&["too little".into()]).unwrap_err().to_string().contains("too little for 2048 tokens"));
    }
}
