//! The tokenizer that all models share: byte-level BPE, so that every text can be encoded and decoded unchanged.
//!
//! Merges stay within a word, so that a token is a word or a part of one: see [`RUNS`] and [`APOSTROPHES`].

use std::path::Path;

use ahash::AHashMap;
use anyhow::{Context, Result, anyhow, ensure};
use compact_str::CompactString;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, OffsetReferential, OffsetType, PostProcessorWrapper,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer, TokenizerImpl,
};

use crate::corpus;

/// The size of the vocabulary; ids fit into 16 bits.
pub const VOCABULARY: usize = 8192;
/// The token between two documents and before the first one.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Its id.
pub const END_OF_TEXT_ID: u16 = 0;
/// Bytes of each domain's text in which words are counted.
const SAMPLE: usize = 6_000_000;
/// Each domain's counts are scaled to a text of this many bytes, because the library counts pairs in 31 bits.
const COUNTED: f64 = 1e8;

/// The runs of characters within which merges stay. No run has letters of two scripts. No run has a letter next to a
/// digit or a punctuation mark, except the underscore before a part of a name and the apostrophes within a word, which
/// [`APOSTROPHES`] separates.
///
/// The pattern has no look-around. The `regex` crate, which the page uses through `fancy-regex`, therefore takes time
/// that is linear in the length of the text, and Oniguruma, which Python's `tokenizers` uses, gives the same matches.
const RUNS: &str = concat!(
    // Words with the space before them, or with the underscore within a name.
    r"[ _]?\p{Latin}[\p{Latin}\p{M}]*(?:['’]\p{Latin}[\p{Latin}\p{M}]*)*",
    r"| ?\p{Greek}[\p{Greek}\p{M}]*",
    r"| ?\p{Cyrillic}[\p{Cyrillic}\p{M}]*",
    r"| ?\p{Arabic}[\p{Arabic}\p{M}]*",
    r"| ?\p{Hebrew}[\p{Hebrew}\p{M}]*",
    r"| ?\p{Hangul}+",
    // Scripts without spaces. The sign for a long vowel occurs in both kinds of kana.
    r"|\p{Han}+|\p{Hiragana}[\p{Hiragana}ー]*|\p{Katakana}[\p{Katakana}ー]*",
    // A letter of any other script, a digit.
    r"| ?\p{L}\p{M}*",
    r"| ?\p{N}",
    // Punctuation and symbols, with the line end and the indentation after them.
    r"| ?[^\s\p{L}\p{N}]+(?:[\r\n]+[ \t]*)?",
    // Other line ends with the indentation after them, and other white space.
    r"|[ \t]*[\r\n]+[ \t]*|\s+",
);

/// Splits a word at its apostrophes. A French article or pronoun before an apostrophe keeps it ("l'", "qu'"), and so
/// does an English or German ending after one ("'s", "'ll").
const APOSTROPHES: &str = concat!(
    r"\A ?(?:[cdjlmnstCDJLMNST]|\p{Latin}*[qQ]u)['’]",
    r"|['’](?:[dmstDMST]|ll|re|ve|LL|RE|VE)\z",
    r"|[ _]?\p{Latin}[\p{Latin}\p{M}]*",
);

type ByteLevelBpe = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// The weight of a domain's words when merges are chosen; 1 for a domain that is not named. German words are many and
/// long, so they need more tokens than English ones; code, notations and old texts need few. Without a weight, each
/// Chinese character would be several tokens; with this one, frequent characters are one token.
pub fn weight(domain: &str) -> f64 {
    match domain {
        "german" => 4.0,
        "spanish" => 3.5,
        "french" => 3.0,
        "english" => 2.5,
        "c" => 1.5,
        "chinese" | "python" => 0.6,
        "literature" | "markup" => 0.4,
        "japanese" | "scripture" => 0.3,
        "dictionary" => 0.2,
        "mathematics" => 0.15,
        "chess" => 0.05,
        _ => 1.0,
    }
}

/// Chooses the merges and returns `tokenizer.json`. `texts` are the domains, each with its [`weight`]: the words of
/// each are counted on an equal part of its text.
///
/// # Errors
/// The text is too little for [`VOCABULARY`] tokens.
pub fn train(texts: &[(f64, String)]) -> Result<String> {
    train_to(VOCABULARY, texts)
}

fn train_to(vocabulary: usize, texts: &[(f64, String)]) -> Result<String> {
    let mut tokenizer: ByteLevelBpe = TokenizerImpl::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer()?));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(ByteLevel::new(false, true, false))));
    let words = count(texts, tokenizer.get_pre_tokenizer().context("it was set above")?)?;
    let end_of_text = AddedToken::from(END_OF_TEXT, true);
    let trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocabulary)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![end_of_text.clone()])
        .build();
    let mut model = BPE::default();
    trainer.do_train(&words, &mut model).map_err(|e| anyhow!("the tokenizer could not be trained: {e}"))?;
    tokenizer.with_model(model);
    tokenizer.add_special_tokens(&[end_of_text]);
    let size = tokenizer.get_vocab_size(true);
    ensure!(size == vocabulary, "the text is too little for {vocabulary} tokens: it gives only {size}; add text");
    tokenizer.to_string(true).map_err(|e| anyhow!("the tokenizer could not be written: {e}"))
}

/// Splits into runs, then words at their apostrophes, then bytes.
fn pre_tokenizer() -> Result<PreTokenizerWrapper> {
    let split = |pattern: &str| {
        let split = Split::new(SplitPattern::Regex(pattern.into()), SplitDelimiterBehavior::Isolated, false);
        split.map(PreTokenizerWrapper::Split).map_err(|e| anyhow!("{pattern}: {e}"))
    };
    let bytes = PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, false));
    Ok(PreTokenizerWrapper::Sequence(Sequence::new(vec![split(RUNS)?, split(APOSTROPHES)?, bytes])))
}

/// The number of times that each word would occur in [`COUNTED`] bytes of each domain's text, times the domain's
/// weight.
fn count(texts: &[(f64, String)], pre_tokenizer: &PreTokenizerWrapper) -> Result<AHashMap<CompactString, u64>> {
    let mut all = AHashMap::<CompactString, u64>::new();
    for (weight, text) in texts {
        let mut words = AHashMap::<CompactString, u64>::new();
        let mut bytes = 0;
        for document in corpus::documents(text) {
            let mut runs = PreTokenizedString::from(document);
            pre_tokenizer.pre_tokenize(&mut runs).map_err(|e| anyhow!("cannot divide the text into words: {e}"))?;
            for (word, _, _) in runs.get_splits(OffsetReferential::Normalized, OffsetType::None) {
                *words.entry(CompactString::from(word)).or_default() += 1;
            }
            bytes += document.len();
            if bytes >= SAMPLE {
                break;
            }
        }
        let scale = weight * COUNTED / bytes.max(1) as f64;
        for (word, count) in words {
            *all.entry(word).or_default() += (scale * count as f64).round() as u64;
        }
    }
    Ok(all)
}

/// Reads `tokenizer.json`.
pub fn read(path: &Path) -> Result<Tokenizer> {
    Tokenizer::from_file(path).map_err(|e| anyhow!("{e}")).with_context(|| format!("cannot read {}", path.display()))
}

/// Encodes all documents as one stream of ids, each after [`END_OF_TEXT`].
pub fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u16>> {
    let documents: Vec<&str> = corpus::documents(text).collect();
    let mut ids = Vec::with_capacity(text.len() / 3);
    for batch in documents.chunks(256) {
        let encodings = tokenizer
            .encode_batch_fast(batch.to_vec(), false)
            .map_err(|e| anyhow!("the tokenizer cannot encode the corpus: {e}"))?;
        for encoding in encodings {
            ids.push(END_OF_TEXT_ID);
            ids.extend(encoding.get_ids().iter().map(|&id| id as u16));
        }
    }
    Ok(ids)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn trained(vocabulary: usize, text: &str) -> Result<Tokenizer> {
        let json = train_to(vocabulary, &[(1.0, text.to_string())])?;
        Ok(json.parse().expect("what was written can be read"))
    }

    /// A tokenizer with the separator, the bytes and some merges.
    pub fn small(merges: usize, text: &str) -> Tokenizer {
        trained(257 + merges, text).unwrap()
    }

    /// The runs that merges stay within.
    fn runs(text: &str) -> Vec<String> {
        let PreTokenizerWrapper::Sequence(steps) = pre_tokenizer().unwrap() else { panic!("a sequence") };
        let mut runs = PreTokenizedString::from(text);
        for step in &steps.as_ref()[..2] {
            step.pre_tokenize(&mut runs).unwrap();
        }
        let runs = runs.get_splits(OffsetReferential::Original, OffsetType::Byte);
        runs.into_iter().map(|(run, _, _)| run.to_string()).collect()
    }

    #[test]
    fn merges_stay_within_words_scripts_and_digits() {
        let cases: [(&str, &[&str]); 9] = [
            ("The river's, I'll don't", &["The", " river", "'s", ",", " I", "'ll", " don", "'t"]),
            ("l'eau qu'il jusqu’à D'où", &["l'", "eau", " qu'", "il", " jusqu’", "à", " D'", "où"]),
            ("rock'n'roll ['self']", &["rock", "'", "n", "'", "roll", " ['", "self", "']"]),
            ("cafe\u{301} Größe x1 1984", &["cafe\u{301}", " Größe", " x", "1", " 1", "9", "8", "4"]),
            (
                "if a_b != __c\n  {\n        d();\n\n\t}",
                &["if", " a", "_b", " !=", " __", "c", "\n  ", "{\n        ", "d", "();\n\n\t", "}"],
            ),
            ("中文abc漢字かなカナー々", &["中文", "abc", "漢字", "かな", "カナー", "々"]),
            (" Привет мирworld ελληνικά", &[" Привет", " мир", "world", " ελληνικά"]),
            ("  a \u{a0}b  ", &["  ", "a", " \u{a0}", "b", "  "]),
            ("\u{1f980}\u{1f980}! ไท", &["\u{1f980}\u{1f980}!", " ไ", "ท"]),
        ];
        for (text, expected) in cases {
            assert_eq!(runs(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_run_takes_time_that_is_linear_in_its_length() {
        let seconds = |text: String| {
            let start = std::time::Instant::now();
            assert!(!runs(&text).is_empty());
            start.elapsed().as_secs_f64()
        };
        for unit in ["a", "中", "l'", "é\u{301}", "qu", " ", "!", "1"] {
            let (short, long) = (seconds(unit.repeat(5_000)), seconds(unit.repeat(100_000)));
            assert!(long < 200.0 * short.max(0.002), "{unit:?}: {short} s, then {long} s");
        }
    }

    #[test]
    fn every_text_comes_back_and_documents_begin_with_the_separator() {
        let tokenizer = small(10, &"the river and the boat ".repeat(300));
        assert_eq!(tokenizer.token_to_id(END_OF_TEXT), Some(u32::from(END_OF_TEXT_ID)));
        let strange = " Größe\t\u{1f980}\u{0}\r\n  中文 naïve the river";
        let ids = encode(&tokenizer, strange).unwrap();
        assert_eq!(ids[0], END_OF_TEXT_ID);
        // The zero byte stands between two documents.
        let parts: Vec<Vec<u32>> =
            ids[1..].split(|&id| id == END_OF_TEXT_ID).map(|p| p.iter().map(|&id| id.into()).collect()).collect();
        let back: Vec<String> = parts.iter().map(|p| tokenizer.decode(p, false).unwrap()).collect();
        assert_eq!(back.join("\0"), strange);
    }

    #[test]
    fn a_domain_of_more_weight_has_its_words_first() {
        // Seven merges: both words need eight.
        let knows_river_and_boat = |river, boat| {
            let texts = [(river, "\nriver".repeat(300)), (boat, "\nboats".repeat(300))];
            let tokenizer: Tokenizer = train_to(257 + 7, &texts).unwrap().parse().unwrap();
            ["river", "boats"].map(|word| tokenizer.token_to_id(word).is_some())
        };
        assert_eq!(knows_river_and_boat(2.0, 1.0), [true, false]);
        assert_eq!(knows_river_and_boat(1.0, 2.0), [false, true]);
    }

    #[test]
    fn too_little_text_is_refused() {
        let error = trained(VOCABULARY, "too little").unwrap_err().to_string();
        assert!(error.contains("too little for 8192 tokens"), "{error}");
    }
}
