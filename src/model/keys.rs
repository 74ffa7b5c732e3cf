//! The keys of `config.json`: each value is checked, and no key that could change the numbers is ignored.

use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Keys that do not change the numbers of a routed text: names of the model and its files, and options for training,
/// for other tasks, for generation and for `transformers` itself.
const HARMLESS: [&str; 82] = [
    "architectures",
    "attention_dropout",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "license",
    "max_length",
    "max_sequence_length",
    "max_window_layers",
    "min_length",
    "model_max_length",
    "model_name",
    "model_type",
    "name",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "output_scores",
    "pad_token_id",
    "pretraining_tp",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "embd_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "router_z_loss_coef",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "tokenizer_file",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "training",
    "transformers_version",
    "transformers.js_config",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_flash_attn",
    "use_return_dict",
    "vocab_file",
];

/// The keys of a config.
pub struct Keys<'a>(&'a Map<String, Value>);

impl<'a> Keys<'a> {
    /// The keys of `config`, which must be an object.
    pub fn of(config: &'a Value) -> Result<Self> {
        config.as_object().map(Self).ok_or_else(|| wrong("is no JSON object; is this a model directory?".into()))
    }

    /// The value of `key`; `None` where it is missing or null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there, null or not.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The value of `key`, a whole number in `range`; `None` where it is missing or null.
    pub fn size(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| range.contains(size));
        size.map(Some).ok_or_else(|| {
            wrong(format!(
                "{key} is {}; it must be a whole number from {} to {}",
                short(value),
                range.start(),
                range.end()
            ))
        })
    }

    /// As [`Self::size`], for a required key.
    pub fn needed(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize> {
        let missing = || wrong(format!("{key} is missing; the keys are those of Hugging Face's config of this family"));
        self.size(key, range)?.ok_or_else(missing)
    }

    /// The value of `key`, a number in `range`; `None` where it is missing or null.
    pub fn number(&self, key: &str, range: RangeInclusive<f32>) -> Result<Option<f32>> {
        self.get(key).map(|value| number(key, value, range)).transpose()
    }

    /// The value of `key`, true or false; false where it is missing or null.
    pub fn flag(&self, key: &str) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(false) };
        value.as_bool().ok_or_else(|| wrong(format!("{key} is {}; it must be true or false", short(value))))
    }

    /// Rejects any value of `key` besides `only`, as JSON writes it; the key may be missing.
    pub fn only(&self, key: &str, only: &str) -> Result<()> {
        match self.get(key).map(|value| (value, value.to_string())).filter(|(_, written)| written != only) {
            None => Ok(()),
            Some((value, _)) => Err(wrong(format!("{key} is {}; only {only} is known in this family", short(value)))),
        }
    }

    /// Rejects any key that is not `known`, not harmless and not switched off (null or false).
    pub fn refuse_others(&self, known: &[&str]) -> Result<()> {
        let off = |value: &Value| value.is_null() || *value == false;
        let other = self.0.iter().find(|(key, value)| {
            !off(value) && !key.starts_with('_') && !known.contains(&key.as_str()) && !HARMLESS.contains(&key.as_str())
        });
        match other {
            None => Ok(()),
            Some((key, value)) => Err(wrong(format!(
                "{key} is {}, an option of this family that is not known and may change the numbers; \
                 take another checkpoint (or take the key out, if it changes nothing)",
                short(value)
            ))),
        }
    }
}

/// Checks that `value` of `key` is a number in `range`.
pub fn number(key: &str, value: &Value, range: RangeInclusive<f32>) -> Result<f32> {
    let number = value.as_f64().map(|number| number as f32).filter(|number| range.contains(number));
    let (least, most) = (range.start(), range.end());
    number.ok_or_else(|| wrong(format!("{key} is {}; it must be a number from {least} to {most}", short(value))))
}

/// An error about `config.json`.
pub fn wrong(why: String) -> Error {
    Error::model("config.json", why)
}

/// A value as text, cut where it is long.
pub fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
