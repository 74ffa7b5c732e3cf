//! Random damage to input files: no panic, no hang, and at most twice the input plus 200 MB of memory. It runs a few
//! thousand cases with a fixed seed; `MOESCOPE_DAMAGES=100000` runs more.

use moescope::engine::Engine;
use moescope::model::files::{ModelFiles, all_of, read_dir, shards};
use moescope::model::{Model, gguf};
use moescope::routing::Policy;
use moescope::session::Session;
use moescope::tokenizer::Tokenizer;
use moescope::tokenizer::chat::{ChatTemplate, Message};
use serde_json::{Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An allocator that counts the bytes in use.
struct Counted;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it hands every call to the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps what `alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps what `dealloc` asks for, and `place` came from the same allocator.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// A random number generator (xorshift).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    /// Changes a few bytes: flips bits, removes or repeats a piece, or truncates.
    fn bytes(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                return;
            }
            let (at, length) = (self.below(bytes.len()), self.below(20));
            let end = (at + length).min(bytes.len());
            match self.below(5) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => bytes.truncate(at),
            }
        }
    }

    /// Changes a few values of a document.
    fn json(&mut self, document: &mut Value) {
        for _ in 0..=self.below(2) {
            let mut value = &mut *document;
            loop {
                let count = match &*value {
                    Value::Array(list) => list.len(),
                    Value::Object(fields) => fields.len(),
                    _ => 0,
                };
                if count == 0 || self.below(6) == 0 {
                    break;
                }
                let n = self.below(count);
                value = match value {
                    Value::Array(list) => &mut list[n],
                    Value::Object(fields) => fields.values_mut().nth(n).expect("there are more"),
                    _ => unreachable!("it has none"),
                };
            }
            match (self.below(5), value) {
                (0, Value::Object(fields)) => {
                    let n = self.below(fields.len());
                    if let Some(key) = fields.keys().nth(n).cloned() {
                        fields.remove(&key);
                    }
                }
                (0, Value::Array(list)) => {
                    let n = self.below(list.len());
                    list.truncate(n);
                }
                (1, Value::Array(list)) if !list.is_empty() => {
                    let copy = list[self.below(list.len())].clone();
                    list.push(copy);
                }
                (_, value) => *value = self.value(),
            }
        }
    }

    /// A value that often causes errors.
    fn value(&mut self) -> Value {
        let values = [
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(1),
            json!(-1),
            json!(2),
            json!(3),
            json!(255),
            json!(1u64 << 31),
            json!(1u64 << 32),
            json!(1u64 << 60),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(0.5),
            json!(1e-40),
            json!(1e38),
            json!(-1e300),
            json!(10_000_000),
            json!(""),
            json!("a"),
            json!("mixtral"),
            json!("x*"),
            json!("(?i)s"),
            json!("$A"),
            json!("\u{10ffff}é"),
            json!([]),
            json!({}),
            json!([1, 2]),
            json!({"a": 1}),
            json!({"Regex": "(a+)+b"}),
            json!({"String": ""}),
            json!("ByteLevel"),
            json!("A"),
        ];
        values[self.below(values.len())].clone()
    }

    /// `json` with damage to its values or to its bytes.
    fn damaged(&mut self, json: &Value) -> Vec<u8> {
        let mut json = json.clone();
        if self.below(3) > 0 {
            self.json(&mut json);
            return serde_json::to_vec(&json).unwrap();
        }
        let mut bytes = serde_json::to_vec(&json).unwrap();
        self.bytes(&mut bytes);
        bytes
    }
}

fn fixture(name: &str) -> ModelFiles {
    read_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures").join(name)).unwrap()
}

fn content(files: &ModelFiles) -> Vec<u8> {
    pollster::block_on(all_of(&*files.weights[0].1)).unwrap().into_owned()
}

/// Runs a few tokens; where that succeeds, all numbers must be finite.
fn run(files: &ModelFiles) -> bool {
    let Ok(model) = Model::new(files) else { return false };
    let Ok(engine) = Engine::cpu(&model) else { return false };
    let ids: Vec<u32> = [1, 5, 3].into_iter().filter(|id| *id < model.architecture.vocabulary as u32).collect();
    let mut logits = Vec::new();
    let routed = pollster::block_on(Session::new(engine).run(&ids, None, |rows| logits.extend_from_slice(rows)));
    assert!(routed.is_err() || logits.iter().all(|x| x.is_finite()), "numbers that are none");
    routed.is_ok()
}

/// As [`run`], of a GGUF file, and reads a text with its tokenizer.
fn run_gguf(bytes: Vec<u8>) -> bool {
    let files = pollster::block_on(gguf::model_files("m".into(), vec![("m.gguf".into(), Rc::new(bytes))]));
    let Ok(files) = files else { return false };
    run(&files) && files.tokenizer.as_ref().is_none_or(|json| read(json))
}

/// Tokenizers with every kind of part.
fn tokenizers() -> Vec<Value> {
    let added = json!([{"id": 0, "content": "<s>", "single_word": false, "lstrip": true, "rstrip": true,
        "normalized": true, "special": true}]);
    let template = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        {"type": "TemplateProcessing", "pair": [],
         "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
         "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}}]});
    let whole = |normalizer: Value, pre_tokenizer: Value, model: Value| {
        json!({"version": "1.0", "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst",
            "stride": 1}, "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "?"}, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": template, "decoder": {"type": "Fuse"}, "model": model})
    };
    // A trie of one block without an entry, and no replacements.
    let mut map = 1024u32.to_le_bytes().to_vec();
    map.extend([0; 1024]);
    let map = base64(&map);
    let normalizer = json!({"type": "Sequence", "normalizers": [
        {"type": "Precompiled", "precompiled_charsmap": map}, {"type": "NFKC"}, {"type": "Lowercase"},
        {"type": "Strip", "strip_left": true, "strip_right": true}, {"type": "StripAccents"},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "_"}, {"type": "Prepend", "prepend": "_"},
        {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
         "lowercase": true}]});
    let byte_level = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": r"\s+(?!\S)|[^a-z]+|(?i:'s)"}, "behavior": "MergedWithPrevious",
         "invert": true}, {"type": "Digits", "individual_digits": true}, {"type": "FixedLength", "length": 5},
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}]});
    let meta = json!({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": true});
    let bert = json!({"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"},
        {"type": "Punctuation", "behavior": "Isolated"}, {"type": "CharDelimiterSplit", "delimiter": "-"}]});
    let bpe = json!({"type": "BPE", "dropout": null, "unk_token": "?", "continuing_subword_prefix": "",
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
        "vocab": {"?": 0, "a": 1, "b": 2, "ab": 3, "<0xC3>": 4}, "merges": [["a", "b"]]});
    let unigram = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false,
        "vocab": [["?", 0.0], ["a", -1.5], ["ab", -1.0], ["_", -2.0]]});
    let pieces = json!({"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": {"?": 0, "a": 1, "##b": 2}});
    vec![
        whole(normalizer.clone(), byte_level, bpe),
        whole(normalizer.clone(), meta, unigram),
        whole(normalizer, bert, pieces),
    ]
}

fn base64(bytes: &[u8]) -> String {
    let letter =
        |six: u32| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[six as usize & 63]);
    let three = |bytes: &[u8]| {
        let word = (0..3).fold(0, |word, n| word << 8 | u32::from(bytes.get(n).copied().unwrap_or(0)));
        let letters = (0..=bytes.len()).map(move |n| letter(word >> (18 - 6 * n)));
        letters.chain(std::iter::repeat_n('=', 3 - bytes.len())).collect::<String>()
    };
    bytes.chunks(3).map(three).collect()
}

/// Encodes texts with a damaged tokenizer. A panic, even a caught one, is a failure, because it would end the worker
/// in the browser.
fn read(json: &[u8]) -> bool {
    let caught =
        |message: String| assert!(!message.contains("library failed"), "{message}\n{}", String::from_utf8_lossy(json));
    let tokenizer = match Tokenizer::new(json, 4096) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            caught(error.to_string());
            return false;
        }
    };
    for text in
        ["", "ab  a<s> b", "Ab é\n\t12 ǅ ﬁ 你 👩‍👩 '\u{301}s--", "   ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
    {
        match tokenizer.encode(text) {
            Ok((ids, _)) => drop(tokenizer.tokens(&ids, 0)),
            Err(error) => caught(error.to_string()),
        }
    }
    true
}

#[test]
fn damaged_files_are_errors() {
    let cases = std::env::var("MOESCOPE_DAMAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(6000);
    let seed = std::env::var("MOESCOPE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x9e37_79b9);
    let mut chance = Chance(seed);
    let names = ["basic", "gpt-oss-mxfp4", "granitehybrid", "llama", "sigmoid-bias", "hierarchical", "fused", "afmoe"];
    let more = ["deepseek-v3", "lfm2-moe", "hunyuan", "phimoe", "ernie", "smollm3"];
    let models: Vec<ModelFiles> = names.into_iter().chain(more).map(fixture).collect();
    let config = |files: &ModelFiles| serde_json::from_slice::<Value>(&files.config).unwrap();
    let configs: Vec<Value> = models.iter().map(config).collect();
    // Weights, with the length of the header and the header.
    let split = |files: &ModelFiles| {
        let whole = content(files);
        let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
        let head: Value = serde_json::from_slice(&whole[8..header]).unwrap();
        (whole, header, head)
    };
    let weights: Vec<(Vec<u8>, usize, Value)> = models[..3].iter().map(split).collect();
    let index = json!({"metadata": {"total_size": 9}, "weight_map": {"a": "x.safetensors", "b": "y.safetensors"}});
    let policy = json!([{"off": [1], "force": [2], "swap": [[3, 4]], "top_k": 2, "temperature": 0.5, "noise": 0.1,
        "bias": [0, 0, 0, 0, 0, 0, 0, 1], "tokens": [0, 4], "layers": [0, 1], "seed": 3, "capacity_factor": 1.5,
        "overflow": "next-best", "renormalise": true, "gate": "noisy-top-k"}, {"gate": "expert-choice"}]);
    let gguf = |name: &str| std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gguf").join(name)).unwrap();
    let families = ["qwen2-moe", "granitemoe", "deepseek-v3", "granitehybrid", "phimoe", "gpt-oss"];
    let ggufs: Vec<Vec<u8>> = std::iter::once(gguf("llama.gguf"))
        .chain(families.iter().map(|name| gguf(&format!("families/{name}.gguf"))))
        .collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat.json");
    let templates: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(ggufs.iter().all(|gguf| run_gguf(gguf.clone())), "whole");
    let (tokenizers, model) = (tokenizers(), Model::new(&models[0]).unwrap());
    let engine = Engine::cpu(&model).unwrap();
    tokenizers.iter().for_each(|json| assert!(read(&serde_json::to_vec(json).unwrap()), "whole: {json}"));
    assert!(models.iter().all(run), "whole");
    let mut opened = [0; 7];
    for case in 0..cases {
        let (kind, before, start) = (case % 7, NOW.load(Ordering::Relaxed), Instant::now());
        MOST.store(before, Ordering::Relaxed);
        let mut input = 0;
        let mut weighed = |bytes: &Vec<u8>| input = bytes.len();
        opened[kind] += usize::from(match kind {
            0 => {
                let n = case / 7 % weights.len();
                let (whole, header, head) = &weights[n];
                let (mut bytes, header) = (whole.clone(), *header);
                if chance.below(2) == 0 {
                    let damaged = chance.damaged(head);
                    bytes = [&(damaged.len() as u64).to_le_bytes(), damaged.as_slice(), &whole[header..]].concat();
                } else {
                    let mut start = bytes.drain(..header + 8).collect();
                    chance.bytes(&mut start);
                    bytes.splice(..0, start);
                }
                weighed(&bytes);
                run(&ModelFiles { weights: vec![("model.safetensors".into(), Rc::new(bytes))], ..fixture(names[n]) })
            }
            1 => shards(&chance.damaged(&index)).is_ok(),
            2 => {
                let n = chance.below(models.len());
                let config = chance.damaged(&configs[n]);
                let files = &models[n];
                let (name, weights) = (files.name.clone(), files.weights.clone());
                run(&ModelFiles { name, config, tokenizer: None, generation: None, chat: None, weights })
            }
            3 => {
                // Of a header of 3 KB a few bytes; or of all.
                let mut bytes = ggufs[case / 7 % ggufs.len()].clone();
                if chance.below(4) > 0 {
                    let mut start = bytes.drain(..3200).collect();
                    chance.bytes(&mut start);
                    bytes.splice(..0, start);
                } else {
                    chance.bytes(&mut bytes);
                }
                weighed(&bytes);
                run_gguf(bytes)
            }
            4 => {
                let json = chance.damaged(&tokenizers[chance.0 as usize % tokenizers.len()]);
                weighed(&json);
                read(&json)
            }
            5 => {
                let mut json = templates[case / 7 % 8].clone();
                let mut template = json["template"].as_str().unwrap().as_bytes().to_vec();
                chance.bytes(&mut template);
                json["chat_template"] = String::from_utf8_lossy(&template).into();
                weighed(&template);
                let message = Message { role: "user", content: "a\nb" };
                let template = ChatTemplate::new(&serde_json::to_vec(&json).unwrap());
                template.and_then(|template| template.render(&[message])).is_ok()
            }
            _ => {
                let json = chance.damaged(&policy);
                let policy = Policy::parse(&String::from_utf8_lossy(&json));
                match policy.and_then(|policy| policy.settings(&model.architecture)) {
                    Ok(Some(settings)) => {
                        let fork = pollster::block_on(engine.fork(settings)).unwrap();
                        let trace = pollster::block_on(Session::new(fork).run(&[1, 5, 3], None, |_| {}));
                        let finite = |trace: &moescope::routing::Trace| {
                            trace.layers.iter().all(|layer| layer.weights.iter().all(|weight| weight.is_finite()))
                        };
                        assert!(trace.as_ref().map_or(true, finite), "{}", String::from_utf8_lossy(&json));
                        trace.is_ok()
                    }
                    other => other.is_ok(),
                }
            }
        });
        let memory = MOST.load(Ordering::Relaxed).saturating_sub(before);
        assert!(memory < 2 * input + 200_000_000, "case {case}: {memory} bytes for {input}");
        assert!(start.elapsed() < Duration::from_secs(20), "case {case} took {:?}", start.elapsed());
    }
    println!(
        "{cases} cases; opened all the same, of weights, index, config, GGUF, tokenizer, template, policy: {opened:?}"
    );
    assert!(
        opened.iter().all(|count| *count > 0),
        "nothing opens: the damage is too much to say anything ({opened:?})"
    );
}
