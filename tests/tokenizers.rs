//! Tokenizer files from elsewhere: the results equal those of Python's `tokenizers` and `AutoTokenizer`, or there is a
//! one-line error. The expected pieces of patterns are in golden/patterns.json, written by golden/patterns.py.

use moescope::error::Result;
use moescope::tokenizer::Tokenizer;
use moescope::tokenizer::chat::{ChatTemplate, Message};
use serde_json::{Value, json};
use std::path::Path;

/// Entries of the shipped models' vocabulary.
const VOCABULARY: usize = 8192;

/// A tokenizer in which every piece is one unknown token, so that the tokens end where the pieces end.
fn pieces(pre_tokenizer: Value) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}
    })
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

fn open(tokenizer: &Value) -> Result<Tokenizer> {
    Tokenizer::new(&serde_json::to_vec(tokenizer).unwrap(), VOCABULARY)
}

/// The message of opening `tokenizer`, in one line.
fn refusal(tokenizer: &Value) -> String {
    let message = open(tokenizer).err().unwrap_or_else(|| panic!("it opened: {tokenizer}")).to_string();
    assert!(message.starts_with("tokenizer.json: ") && !message.contains('\n'), "{message}");
    assert!(!message.contains("library failed"), "a panic had to be caught: {message}");
    message
}

/// The shipped model's tokenizer after `change`.
fn shipped(change: impl Fn(&mut Value)) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("www/models/main/tokenizer.json");
    let mut tokenizer = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    change(&mut tokenizer);
    tokenizer
}

fn ids(tokenizer: &Value, text: &str) -> Vec<u32> {
    open(tokenizer).unwrap().encode(text).unwrap().0
}

const TEXT: &str =
    "The river was wide, and the old bridge (built in 1832) still stood; nobody had crossed it for years.";

#[test]
fn truncation_and_padding_of_the_file_are_left_out() {
    let whole = ids(&shipped(|_| ()), TEXT);
    assert!(whole.len() > 20);
    let truncation = json!({"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0});
    let padding = json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "?"});
    // A stride as long as the length and a padding of 2^63 have no effect either.
    for stride in [0, 8, 100] {
        let mut truncation = truncation.clone();
        truncation["stride"] = json!(stride);
        assert_eq!(ids(&shipped(|json| json["truncation"] = truncation.clone()), TEXT), whole);
    }
    for length in [64, 50_000_000, 1u64 << 63] {
        let mut padding = padding.clone();
        padding["strategy"]["Fixed"] = json!(length);
        assert_eq!(ids(&shipped(|json| json["padding"] = padding.clone()), TEXT), whole);
    }
}

/// Faults as in huggingface/tokenizers#2151 that make the crate panic. In the browser a panic ends the worker, so such
/// files are rejected before the crate reads them.
#[test]
fn what_would_panic_is_refused() {
    let normalizer = |part: Value| shipped(|json| json["normalizer"] = part.clone());
    let processor = |part: Value| shipped(|json| json["post_processor"] = part.clone());
    let template = |single: Value, tokens: Value| {
        processor(json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": tokens}))
    };
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let start = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let cases = [
        (normalizer(json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y"})), "may match nothing"),
        (normalizer(json!({"type": "Replace", "pattern": {"Regex": "(?=a)"}, "content": "y"})), "may match nothing"),
        (normalizer(json!({"type": "Replace", "pattern": {"String": ""}, "content": "y"})), "may match nothing"),
        (normalizer(json!({"type": "Prepend", "prepend": ""})), "nothing to prepend"),
        (normalizer(json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})), "damaged (it is too short)"),
        (normalizer(json!({"type": "Precompiled", "precompiled_charsmap": "!"})), "damaged (it is no base64)"),
        (normalizer(json!({"type": "Precompiled", "precompiled_charsmap": "/////wAAAAA="})), "damaged (it has 4 bytes"),
        (normalizer(json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="})), "points outside"),
        (template(json!([start, text]), json!({})), "\"<s>\", which it does not describe"),
        (template(json!([start, text]), json!({"<s>": {"id": "<s>", "ids": [1, 2], "tokens": ["<s>"]}})), "\"<s>\""),
        (template(json!([{"Sequence": {"id": "B", "type_id": 0}}]), json!({})), "asks for a second one"),
        (template(json!([text, text]), json!({})), "takes the text 2 times"),
        (shipped(|json| json["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0})), "length 0"),
        (
            normalizer(json!({"type": "nce", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": "="}]})),
            "the type \"nce\" is not known",
        ),
        (
            normalizer(json!({"type": "BertNormalizer", "normalizers": [{"type": "Precompiled",
                "precompiled_charsmap": "="}]})),
            "has no normalizers",
        ),
        (processor(json!({"type": "?", "single": [], "pair": [], "special_tokens": {}})), "the type \"?\" is not"),
        (shipped(|json| json["model"]["continuing_subword_prefix"] = json!("####")), "continuing_subword_prefix is"),
    ];
    for (tokenizer, says) in cases {
        let message = refusal(&tokenizer);
        assert!(message.contains(says), "{message}");
    }
}

/// A tokenizer that could take all memory or all time: georg-jung/FastBertTokenizer#156 measures WordPiece's long
/// words.
#[test]
fn what_would_never_end_is_refused() {
    let long = json!("y".repeat(100));
    let replace = json!({"type": "Replace", "pattern": {"String": "y"}, "content": long});
    let message = refusal(&shipped(|json| {
        json["normalizer"] = json!({"type": "Sequence", "normalizers": vec![replace.clone(); 5]});
    }));
    assert!(message.contains("more than 4096 characters of one"), "{message}");

    let mut deep = split("a");
    (0..20).for_each(|_| deep = json!({"type": "Sequence", "pretokenizers": [deep]}));
    assert!(refusal(&pieces(deep)).contains("more than 8 levels"));

    let model = json!({"type": "WordPiece", "vocab": {"?": 0}, "unk_token": "?", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 1_000_000_000});
    assert!(refusal(&shipped(|json| json["model"] = model.clone())).contains("max_input_chars_per_word is 1000000000"));
}

/// A long run of one letter: openai/tiktoken#195 (100,000 letters took minutes).
#[test]
fn a_long_run_of_one_letter() {
    let start = std::time::Instant::now();
    assert!(ids(&shipped(|_| ()), &"a".repeat(100_000)).len() > 1000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// Dropout is for training; if it were applied, a text would have other ids each time (huggingface/tokenizers#644).
#[test]
fn dropout_is_left_out() {
    let whole = ids(&shipped(|_| ()), TEXT);
    assert_eq!(ids(&shipped(|json| json["model"]["dropout"] = json!(0.9)), TEXT), whole);
}

/// Where a pattern takes too many steps, the text is rejected; otherwise the rest of it would become one piece, with
/// other ids.
#[test]
fn a_pattern_that_takes_too_long_is_an_error() {
    let text = "a".repeat(60);
    for pattern in ["(?:a+)+(?!a)b", "(?:a|a)+(?=b)", "(?:a*)*(?=c)c"] {
        let error = open(&pieces(split(pattern))).unwrap().encode(&text).unwrap_err().to_string();
        assert!(error.contains("takes too many steps") && !error.contains('\n'), "{error}");
        let replace = json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": "y"});
        let mut tokenizer = pieces(Value::Null);
        tokenizer["normalizer"] = replace;
        let error = open(&tokenizer).unwrap().encode(&text).unwrap_err().to_string();
        assert!(error.contains("takes too many steps"), "{error}");
    }
}

#[test]
fn patterns_split_as_oniguruma_splits() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/patterns.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let strings = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
    let (texts, cases) = (strings(&golden["texts"]), golden["cases"].as_array().unwrap());
    assert!(texts.len() >= 8 && cases.len() >= 24);
    let mut wrong = Vec::new();
    for case in cases {
        let pattern = case[0].as_str().unwrap();
        let tokenizer = open(&pieces(split(pattern))).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        for (text, expected) in texts.iter().zip(case[1].as_array().unwrap()) {
            let mut from = 0;
            let got: Vec<&str> = tokenizer
                .encode(text)
                .unwrap()
                .1
                .into_iter()
                .map(|to| &text[std::mem::replace(&mut from, to)..to])
                .collect();
            if got != strings(expected) {
                wrong.push(format!("{pattern:?} on {text:?}: {got:?}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A pattern that cannot be translated is rejected by name, never read with another meaning.
#[test]
fn patterns_that_are_not_known() {
    let cases = [
        ("(?i)ß", "'ß' in (?i)"),
        ("(?i)groSSe", "'SS' in (?i)"),
        ("(?i)[^a]", "'^' in (?i)"),
        (r"(?i)\p{Lu}", r"\p{Lu}"),
        (r"\X", r"\X"),
        (r"\p{In_Thai=x}", r"\p{In_Thai=x}"),
        (r"\p{InThai}", "InThai"),
        (r"\G", r"\G"),
        (r"(a)\1", r"\1"),
        ("(?s).", "(?s"),
        (r"\pL", r"\p"),
        (r"\xE4", r"\xE4"),
        ("a{2,1}", "{2,1}"),
        ("(?~a)", "(?~"),
        ("[[:punct:]]", "[[:punct"),
        ("a)", "')'"),
        ("(a", "a group without an end"),
        ("*a", "'*' with nothing"),
    ];
    for (pattern, says) in cases {
        let message = refusal(&pieces(split(pattern)));
        assert!(message.contains(says) && message.contains("pre_tokenizer: the pattern"), "{pattern}: {message}");
    }
    assert!(refusal(&pieces(split(&"(".repeat(10_000)))).contains("more than 64 levels"));
}

/// Added tokens may have ids outside of the vocabulary, as in transformers.
#[test]
fn added_tokens_beyond_the_vocabulary() {
    let pad = json!({"id": VOCABULARY, "content": "<pad>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true});
    let tokenizer = shipped(|json| json["added_tokens"].as_array_mut().unwrap().push(pad.clone()));
    assert_eq!(ids(&tokenizer, TEXT), ids(&shipped(|_| ()), TEXT));
    let beyond = ids(&tokenizer, "a<pad>");
    assert_eq!(beyond.last(), Some(&(VOCABULARY as u32)));
}

/// Ids without a token are shown by number, and are never drawn.
/// (pegainfer-project/pegainfer#673).
#[test]
fn ids_without_a_name() {
    let tokenizer = open(&pieces(Value::Null)).unwrap();
    let tokens = tokenizer.tokens(&[0, 1837], 0);
    assert_eq!((tokens[0].text.as_str(), tokens[1].text.as_str()), ("?", "<1837>"));
    assert_eq!(tokenizer.show(1837), "<1837>");
    assert_eq!(tokenizer.nameless().len(), VOCABULARY - 1);
    assert!(open(&shipped(|_| ())).unwrap().nameless().is_empty());
}

/// A tokenizer whose texts begin with a control token.
fn with_begin() -> Value {
    shipped(|json| {
        let special = |id: usize, content: &str| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
        };
        let added = json["added_tokens"].as_array_mut().unwrap();
        added.push(special(VOCABULARY, "<begin>"));
        added.push(special(VOCABULARY + 1, "<|im_end|>"));
        json["post_processor"] = json!({"type": "TemplateProcessing", "pair": [],
            "single": [{"SpecialToken": {"id": "<begin>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<begin>": {"id": "<begin>", "ids": [VOCABULARY], "tokens": ["<begin>"]}}});
    })
}

/// The beginning of a text is a token, and no part of the text. A control token that is typed is one, too, as in
/// transformers. A chat template writes the beginning itself.
#[test]
fn control_tokens_are_no_text() {
    let tokenizer = open(&with_begin()).unwrap();
    let plain = ids(&shipped(|_| ()), TEXT);
    let (found, ends) = tokenizer.encode(TEXT).unwrap();
    assert_eq!(found, [&[VOCABULARY as u32][..], &plain].concat());
    assert_eq!((ends[0], ends.last()), (0, Some(&TEXT.len())));
    let tokens = tokenizer.tokens(&found, 0);
    assert!(tokens[0].control && tokens[0].text == "<begin>" && !tokens[1].control);
    assert_eq!(tokens.iter().map(|token| token.text_bytes()).sum::<usize>(), TEXT.len());
    assert_eq!(tokenizer.encode_whole(TEXT).unwrap(), plain);
    let typed = tokenizer.encode("a<|im_end|>").unwrap().0;
    assert_eq!(typed.last(), Some(&(VOCABULARY as u32 + 1)));
    assert!(tokenizer.tokens(&typed, 0).last().unwrap().control);
}

/// The texts of golden/chat.json, which golden/chat.py writes.
#[test]
fn chat_templates_write_what_transformers_writes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(cases.len() >= 8);
    for case in cases {
        let config = json!({"chat_template": case["template"], "bos_token": {"content": "<s>"}, "eos_token": "</s>"});
        let template = ChatTemplate::new(&serde_json::to_vec(&config).unwrap()).unwrap();
        let content = case["text"].as_str().unwrap();
        assert_eq!(template.render(&[Message { role: "user", content }]).unwrap(), case["rendered"]);
    }
}

#[test]
fn chat_templates_that_cannot_be_used() {
    let render = |template: Value| {
        let json = serde_json::to_vec(&json!({"chat_template": template})).unwrap();
        ChatTemplate::new(&json)?.render(&[Message { role: "user", content: "a" }])
    };
    // Several templates: the one called default.
    let named =
        json!([{"name": "tools", "template": "t"}, {"name": "default", "template": "{{ messages[0].content }}"}]);
    assert_eq!(render(named).unwrap(), "a");
    for (template, says) in [
        (Value::Null, "has no chat_template"),
        (json!("{% if %}"), "cannot be used"),
        (json!("{{ raise_exception('roles must alternate') }}"), "roles must alternate"),
        (json!("{{ messages | unheard_of }}"), "unheard_of"),
        (json!("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"), "fuel"),
        (json!("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), "recursion"),
    ] {
        let message = render(template.clone()).unwrap_err().to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{template}: {message}");
    }
    assert!(ChatTemplate::new(b"<html>").is_err());
}
