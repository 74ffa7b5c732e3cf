//! Translates the tokenizer in the metadata of a GGUF file to a `tokenizer.json`.

use super::metadata::Metadata;
use super::pre_tokenizer::{Words, words};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::HashMap;

/// Values of `tokenizer.ggml.token_type`.
mod kind {
    pub const NORMAL: u8 = 1;
    pub const UNKNOWN: u8 = 2;
    pub const CONTROL: u8 = 3;
    pub const USER_DEFINED: u8 = 4;
}

/// The character for a space in vocabularies of SentencePiece.
const SPACE: &str = "\u{2581}";

/// The tokens of a file.
struct Tokens<'a> {
    texts: Vec<Cow<'a, str>>,
    kinds: Vec<u8>,
    ids: HashMap<&'a str, usize>,
}

/// The tokenizer of the file `file`; `None` where it has none or one of a kind that is not supported, so that only ids
/// can be routed.
///
/// # Errors
/// The tokenizer is damaged, or splits words in an unknown way.
pub fn translated(file: &str, metadata: &Metadata) -> Result<Option<Value>> {
    if let Some(json) = metadata.text("tokenizer.huggingface.json") {
        let json = serde_json::from_str(&json);
        return json.map(Some).map_err(|e| wrong(file, format!("tokenizer.huggingface.json is not JSON ({e})")));
    }
    let Some(model) = metadata.text("tokenizer.ggml.model") else { return Ok(None) };
    let Some(texts) = metadata.texts("tokenizer.ggml.tokens") else { return Ok(None) };
    let kinds = kinds(file, metadata, texts.len())?;
    let tokens = Tokens { ids: ids(&texts), texts: texts.clone(), kinds };
    match &*model {
        "gpt2" => byte_level(file, metadata, &tokens).map(Some),
        "llama" => sentence_piece(file, metadata, &tokens).map(Some),
        _ => Ok(None),
    }
}

/// What the file says about conversations, by the keys of `tokenizer_config.json`.
pub fn chat(metadata: &Metadata) -> Option<Value> {
    let template = metadata.text("tokenizer.chat_template")?;
    let texts = metadata.texts("tokenizer.ggml.tokens").unwrap_or_default();
    let token = |kind: &str| {
        let id = metadata.size(&format!("tokenizer.ggml.{kind}_token_id"));
        id.and_then(|id| texts.get(id)).map_or(Value::Null, |text| Value::from(&**text))
    };
    Some(json!({"chat_template": template, "bos_token": token("bos"), "eos_token": token("eos")}))
}

fn wrong(file: &str, why: impl Into<String>) -> Error {
    Error::model(format!("{file}, metadata"), why)
}

/// The kind of each token; all are normal where the file does not say.
fn kinds(file: &str, metadata: &Metadata, tokens: usize) -> Result<Vec<u8>> {
    let key = "tokenizer.ggml.token_type";
    if metadata.get(key).is_none() {
        return Ok(vec![kind::NORMAL; tokens]);
    }
    let kinds = metadata.numbers(key).filter(|kinds| kinds.len() == tokens);
    let kinds = kinds.ok_or_else(|| wrong(file, format!("{key} must have one number for each token")))?;
    Ok(kinds.into_iter().map(|kind| kind as u8).collect())
}

/// Ids by the tokens' texts; the first of several equal texts. Padding of the vocabulary is left out.
fn ids<'a>(texts: &'a [Cow<'a, str>]) -> HashMap<&'a str, usize> {
    let mut ids = HashMap::new();
    for (id, text) in texts.iter().enumerate() {
        if **text != *format!("[PAD{id}]") {
            ids.entry(&**text).or_insert(id);
        }
    }
    ids
}

/// Byte-level pair encoding, as in GPT-2.
fn byte_level(file: &str, metadata: &Metadata, tokens: &Tokens) -> Result<Value> {
    let name = metadata.text("tokenizer.ggml.pre").unwrap_or(Cow::Borrowed("default"));
    let Words { patterns, whole_words, begins } = words(&name).ok_or_else(|| {
        wrong(
            file,
            format!("tokenizer.ggml.pre is \"{name}\", a way to split words that is not known; take another file"),
        )
    })?;
    let merges = metadata.texts("tokenizer.ggml.merges");
    let merges = merges.ok_or_else(|| wrong(file, "tokenizer.ggml.merges is missing; convert the model again"))?;
    let pair = |merge| {
        let why = || format!("tokenizer.ggml.merges has \"{merge}\", which is not two parts with a space between them");
        parts(merge).ok_or_else(|| wrong(file, why()))
    };
    let pairs = merges.iter().map(|merge| pair(merge)).collect::<Result<Vec<_>>>()?;
    let splits = patterns.iter().map(
        |pattern| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}),
    );
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let model = json!({"type": "BPE", "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": whole_words,
        "vocab": tokens.vocabulary(), "merges": tokens.known(pairs.into_iter())});
    Ok(json!({
        "version": "1.0", "added_tokens": tokens.added(), "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits.chain([bytes.clone()]).collect::<Vec<_>>()},
        "post_processor": around(file, metadata, tokens, begins)?,
        "decoder": bytes, "model": model
    }))
}

/// The two parts of a merge, which a space separates. A part can begin with a space.
fn parts(merge: &str) -> Option<(&str, &str)> {
    let first = merge.chars().next()?.len_utf8();
    let (left, right) = merge.split_at(first + merge[first..].find(' ')?);
    Some((left, &right[1..]))
}

/// SentencePiece's pair encoding: the rank of a pair is the score of the token that it becomes.
fn sentence_piece(file: &str, metadata: &Metadata, tokens: &Tokens) -> Result<Value> {
    let scores = metadata.numbers("tokenizer.ggml.scores").filter(|scores| scores.len() == tokens.texts.len());
    let scores = scores.ok_or_else(|| wrong(file, "tokenizer.ggml.scores must have one score for each token"))?;
    let mut merges = Vec::new();
    for (id, text) in tokens.texts.iter().enumerate() {
        if tokens.ids.get(&**text) != Some(&id) || tokens.is_added(id) {
            continue;
        }
        let mut pairs = Vec::new();
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(&a), Some(&b)) = (tokens.ids.get(left), tokens.ids.get(right)) {
                pairs.push((a, b, left, right));
            }
        }
        pairs.sort_unstable();
        merges.extend(pairs.into_iter().map(|(.., left, right)| (scores[id], left, right)));
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0));
    let unknown = tokens.kinds.iter().position(|kind| *kind == kind::UNKNOWN);
    let unknown = metadata.size("tokenizer.ggml.unknown_token_id").or(unknown).and_then(|id| tokens.texts.get(id));
    let prefix = metadata.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let normalizers = match prefix {
        true => vec![json!({"type": "Prepend", "prepend": SPACE}), replace],
        false => vec![replace],
    };
    let model = json!({"type": "BPE", "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
        "vocab": tokens.vocabulary(), "merges": merges.iter().map(|(_, a, b)| json!([a, b])).collect::<Vec<_>>()});
    Ok(json!({
        "version": "1.0", "added_tokens": tokens.added(),
        "normalizer": {"type": "Sequence", "normalizers": normalizers}, "pre_tokenizer": null,
        "post_processor": around(file, metadata, tokens, true)?,
        "decoder": null, "model": model
    }))
}

impl Tokens<'_> {
    fn vocabulary(&self) -> Map<String, Value> {
        self.ids.iter().map(|(text, id)| ((*text).to_owned(), json!(id))).collect()
    }

    /// Whether the token is searched for in a text before anything else.
    fn is_added(&self, id: usize) -> bool {
        matches!(self.kinds[id], kind::CONTROL | kind::USER_DEFINED)
    }

    fn added(&self) -> Vec<Value> {
        let mut ids: Vec<usize> = self.ids.values().copied().filter(|id| self.is_added(*id)).collect();
        ids.sort_unstable();
        let added = ids.into_iter().map(|id| {
            json!({"id": id, "content": self.texts[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": self.kinds[id] == kind::CONTROL})
        });
        added.filter(|token| token["content"] != "").collect()
    }

    /// The `pairs` whose parts and result are tokens.
    fn known<'b>(&self, pairs: impl Iterator<Item = (&'b str, &'b str)>) -> Vec<Value> {
        let is_known = |(left, right): &(&str, &str)| {
            let whole = format!("{left}{right}");
            [*left, *right, &whole].iter().all(|text| self.ids.contains_key(*text))
        };
        pairs.filter(is_known).map(|(left, right)| json!([left, right])).collect()
    }
}

/// A template with the tokens before and after a text; null where there are none.
fn around(file: &str, metadata: &Metadata, tokens: &Tokens, begins: bool) -> Result<Value> {
    let one = |adds: &str, default: bool, id: &str| -> Result<Option<usize>> {
        let wanted = metadata.flag(&format!("tokenizer.ggml.{adds}")).unwrap_or(default);
        let id = metadata.size(&format!("tokenizer.ggml.{id}"));
        match id.filter(|_| wanted) {
            Some(id) if tokens.texts.get(id).is_none_or(|text| tokens.ids.get(&**text) != Some(&id)) => {
                Err(wrong(file, format!("tokenizer.ggml.{adds} asks for the token {id}, which there is not")))
            }
            id => Ok(id),
        }
    };
    let (begin, end) = (one("add_bos_token", begins, "bos_token_id")?, one("add_eos_token", false, "eos_token_id")?);
    if begin.is_none() && end.is_none() {
        return Ok(Value::Null);
    }
    let name = |id: &usize| tokens.texts[*id].clone();
    let part = |id: usize| json!({"SpecialToken": {"id": name(&id), "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let single: Vec<Value> = begin.map(part).into_iter().chain([text]).chain(end.map(part)).collect();
    let special: Map<String, Value> = [begin, end]
        .iter()
        .flatten()
        .map(|id| (name(id).into_owned(), json!({"id": name(id), "ids": [id], "tokens": [name(id)]})))
        .collect();
    Ok(json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special}))
}
