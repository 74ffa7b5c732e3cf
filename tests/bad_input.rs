//! Checkpoints and texts that are not what they should be: each gets one sentence that says what is wrong,
//! where, and what to do. The damaged checkpoints are made here, from the fixture `basic`.

use moescope::engine::Engine;
use moescope::error::{Error, Result};
use moescope::model::files::{ModelFiles, read_dir, shards};
use moescope::model::{Architecture, Backend, Model};
use moescope::session::{Sampling, Session};
use moescope::tokenizer::Tokenizer;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::rc::Rc;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures/basic")
}

fn files() -> ModelFiles {
    read_dir(&fixture()).unwrap()
}

/// The message of loading `files`; they must not load.
fn refusal(files: &ModelFiles) -> String {
    match Model::new(files).and_then(|model| Engine::cpu(&model)) {
        Ok(_) => panic!("it loaded"),
        Err(error) => error.to_string(),
    }
}

fn assert_says(message: &str, parts: &[&str]) {
    assert!(!message.contains('\n'), "more than a line: {message}");
    for part in parts {
        assert!(message.contains(part), "\"{message}\" does not say \"{part}\"");
    }
}

/// `basic` with its config changed.
fn with_config(change: impl Fn(&mut Value)) -> ModelFiles {
    let mut files = files();
    let mut config: Value = serde_json::from_slice(&files.config).unwrap();
    change(&mut config);
    files.config = serde_json::to_vec(&config).unwrap();
    files
}

/// `basic` with the bytes of its tensors changed; false drops a tensor.
fn with_tensors(change: impl Fn(&str, &mut Vec<u8>) -> bool) -> ModelFiles {
    let mut files = files();
    let file = content(&files);
    let whole = SafeTensors::deserialize(&file).unwrap();
    let mut tensors = Vec::new();
    for (name, view) in whole.iter() {
        let mut bytes = view.data().to_vec();
        if change(name, &mut bytes) {
            tensors.push((name.to_owned(), view.dtype(), view.shape().to_vec(), bytes));
        }
    }
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let file = safetensors::serialize(views, None).unwrap();
    files.weights = vec![("model.safetensors".into(), Rc::new(file))];
    files
}

/// The bytes of its only file of weights.
fn content(files: &ModelFiles) -> Vec<u8> {
    let file = &files.weights[0].1;
    file.read(0..pollster::block_on(file.arrived(usize::MAX))).into_owned()
}

fn with_weights(bytes: Vec<u8>) -> ModelFiles {
    ModelFiles { weights: vec![("model.safetensors".into(), Rc::new(bytes))], ..files() }
}

#[test]
fn the_fixture_itself_loads() {
    Model::new(&with_tensors(|_, _| true)).unwrap();
    Model::new(&with_config(|_| ())).unwrap();
}

#[test]
fn a_missing_directory_and_a_missing_file() {
    let error = |path: &Path| read_dir(path).err().expect("it is not there").to_string();
    assert_says(&error(Path::new("/no/such/model")), &["/no/such/model", "no such file or directory"]);
    let dir = std::env::temp_dir().join(format!("moescope-empty-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    assert_says(&error(&dir), &["cannot read", "model.safetensors"]);
    std::fs::remove_dir_all(dir).unwrap();
}

/// Once a model's file was let go, engines that are there go on, and others are told.
#[test]
fn weights_whose_files_were_released() {
    let files = files();
    let expected = Model::new(&files).unwrap();
    let mut model = Model::new(&files).unwrap();
    let trace = |engine: Engine| pollster::block_on(Session::new(engine).run(&[5, 3, 8], None, |_| {})).unwrap();
    let same = trace(Engine::cpu(&expected).unwrap());
    let engine = Engine::cpu(&model).unwrap();
    let fork = pollster::block_on(engine.fork(engine.settings().clone())).unwrap();
    model.release_files();
    assert!(trace(engine) == same && trace(fork) == same);
    assert_eq!(model.info(Backend::Cpu, None).weight_bytes, expected.info(Backend::Cpu, None).weight_bytes);
    let error = Engine::cpu(&model).err().expect("no weights").to_string();
    assert_says(&error, &["model.safetensors", "no longer in memory", "load the model again"]);
}

#[test]
fn not_a_safetensors_file() {
    let length = |n: u64| [n.to_le_bytes().as_slice(), b"{}"].concat();
    for bytes in [vec![1, 2, 3], length(3), length(u64::MAX), length(1), length(2)[..8].to_vec()] {
        assert_says(&refusal(&with_weights(bytes)), &["model.safetensors", "not a whole safetensors file"]);
    }
    let message = refusal(&with_weights(b"<!doctype html><html><body>Not found</body></html>".to_vec()));
    assert_says(&message, &["model.safetensors", "not a whole safetensors file", "fetch it again"]);
    assert_says(&refusal(&with_weights(Vec::new())), &["model.safetensors", "safetensors file"]);
}

#[test]
fn a_truncated_file() {
    let whole = content(&files());
    for length in [whole.len() - 1, whole.len() / 2, 9] {
        assert_says(&refusal(&with_weights(whole[..length].to_vec())), &["model.safetensors", "fetch it again"]);
    }
}

#[test]
fn a_wrong_shape() {
    let message = refusal(&with_config(|config| config["intermediate_size"] = json!(41)));
    assert_says(&message, &["experts.0.w1", "[40, 32]", "[41, 32]", "do not belong together"]);
}

#[test]
fn a_missing_tensor() {
    let message = refusal(&with_tensors(|name, _| name != "model.layers.1.block_sparse_moe.gate.weight"));
    assert_says(&message, &["model.layers.1.block_sparse_moe.gate.weight", "missing"]);
}

#[test]
fn an_unknown_model_type() {
    let message = refusal(&with_config(|config| config["model_type"] = json!("gpt2")));
    assert_says(&message, &["config.json", "\"gpt2\"", "known families: mixtral, llama, moescope"]);
    let message = refusal(&with_config(|config| drop(config.as_object_mut().unwrap().remove("model_type"))));
    assert_says(&message, &["(none)", "known families"]);
}

#[test]
fn a_config_that_is_no_json_or_lacks_keys() {
    let message = refusal(&ModelFiles { config: b"<html>".to_vec(), ..files() });
    assert_says(&message, &["config.json", "not JSON"]);
    let message = refusal(&with_config(|config| drop(config.as_object_mut().unwrap().remove("hidden_size"))));
    assert_says(&message, &["config.json", "hidden_size"]);
}

#[test]
fn impossible_shapes() {
    let cases: [(&str, Value, &str); 7] = [
        ("num_experts_per_tok", json!(9), "between 1 and num_local_experts (8)"),
        ("num_experts_per_tok", json!(0), "between 1 and num_local_experts"),
        ("num_key_value_heads", json!(3), "must divide num_attention_heads"),
        ("num_attention_heads", json!(5), "must divide hidden_size"),
        ("head_dim", json!(7), "even number"),
        ("sliding_window", json!(0), "sliding_window is 0"),
        ("num_hidden_layers", json!(0), "at least 1"),
    ];
    for (key, value, says) in cases {
        assert_says(&refusal(&with_config(|config| config[key] = value.clone())), &["config.json", says]);
    }
}

#[test]
fn options_that_would_change_the_numbers() {
    let message = refusal(&with_config(|config| config["hidden_act"] = json!("gelu")));
    assert_says(&message, &["hidden_act", "\"gelu\"", "silu"]);
    let message = refusal(&with_config(|config| config["rope_parameters"]["rope_type"] = json!("yarn")));
    assert_says(&message, &["rope_scaling"]);
    let message = refusal(&with_config(|config| config["rope_scaling"] = json!({"type": "linear", "factor": 2.0})));
    assert_says(&message, &["rope_scaling"]);
}

/// A `router` that says something impossible, or something that would be ignored.
#[test]
fn routers_that_cannot_be() {
    let cases = [
        (json!({"kind": "dice"}), "known kinds: softmax-top-k"),
        (json!({"kind": "hierarchical", "groups": 4}), "needs router.groups_per_token"),
        (json!({"kind": "hierarchical", "groups": 3, "groups_per_token": 1}), "must divide num_local_experts (8)"),
        (json!({"kind": "hierarchical", "groups": 4, "groups_per_token": 5}), "at most router.groups (4)"),
        (
            json!({"kind": "hierarchical", "groups": 8, "groups_per_token": 1}),
            "2 experts of a group, and a group has 1",
        ),
        (json!({"kind": "softmax-top-k", "scale": 2.0}), "leave it out"),
        (json!({"kind": "softmax-top-k", "capacity_factor": 0.0}), "above 0"),
        (json!({"kind": "softmax-top-k", "temperature": 2.0}), "temperature"),
    ];
    for (router, says) in cases {
        let files = with_config(|config| {
            config["model_type"] = json!("moescope");
            config["router"] = router.clone();
        });
        assert_says(&refusal(&files), &["config.json", says]);
    }
    let message = refusal(&with_config(|config| config["model_type"] = json!("moescope")));
    assert_says(&message, &["config.json", "router"]);
}

#[test]
fn weights_that_are_not_finite() {
    for bad in [f32::NAN, f32::INFINITY] {
        let files = with_tensors(|name, bytes| {
            if name == "model.layers.1.self_attn.k_proj.weight" {
                bytes[40..44].copy_from_slice(&bad.to_le_bytes());
            }
            true
        });
        assert_says(&refusal(&files), &["model.layers.1.self_attn.k_proj.weight", "number 10", "not finite"]);
    }
}

#[test]
fn a_shard_index_that_is_wrong() {
    let error = |index: &str| shards(index.as_bytes()).unwrap_err().to_string();
    assert_says(&error("no"), &["index.json", "not JSON"]);
    assert_says(&error("{}"), &["weight_map"]);
    assert_says(&error(r#"{"weight_map": {"a": "../../etc/passwd"}}"#), &["outside its directory"]);
}

/// A byte-level tokenizer of 256 bytes and no merges, with one more token where `extra` is given.
fn tokenizer_json(extra: Option<u32>) -> Vec<u8> {
    let bytes = (0..=0x143u32).filter_map(char::from_u32).filter(|&c| moescope::tokenizer::byte_of_char(c).is_some());
    let mut vocab: serde_json::Map<String, Value> =
        bytes.zip(0u32..).map(|(c, id)| (c.to_string(), json!(id))).collect();
    if let Some(id) = extra {
        vocab.insert("theend".into(), json!(id));
    }
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []}
    });
    serde_json::to_vec(&tokenizer).unwrap()
}

#[test]
fn a_tokenizer_whose_ids_exceed_the_vocabulary() {
    let error = Tokenizer::new(&tokenizer_json(Some(5000)), 256).err().expect("refused").to_string();
    assert_says(&error, &["tokenizer.json", "\"theend\"", "5000", "vocab_size is 256"]);
    Tokenizer::new(&tokenizer_json(None), 256).unwrap();
    assert_says(&Tokenizer::new(b"{}", 256).err().expect("refused").to_string(), &["tokenizer.json", "no tokenizer"]);
}

/// Odd texts go through the tokenizer and come back whole, with no replacement character.
#[test]
fn odd_texts_are_shown_whole() {
    let tokenizer = Tokenizer::new(&tokenizer_json(None), 256).unwrap();
    for text in ["", "\u{0}\u{7}\u{1b}[31m", "👩‍👩‍👧‍👦 naïve", "שלום עולם مرحبا", "e\u{301}\u{200f}\u{feff}", "\r\n\t  x"]
    {
        let (ids, ends) = tokenizer.encode(text).unwrap();
        let shown: String = tokenizer.tokens(&ids, 0).into_iter().map(|token| token.text).collect();
        assert_eq!(shown, text);
        assert_eq!(ids.len(), text.len());
        assert_eq!(ends.len(), ids.len());
    }
}

fn session() -> (Session, Architecture) {
    let model = Model::new(&files()).unwrap();
    (Session::new(Engine::cpu(&model).unwrap()), model.architecture)
}

#[test]
fn a_token_out_of_range() -> Result<()> {
    let (mut session, _) = session();
    session.set(vec![3, 96]);
    let error = pollster::block_on(session.advance(None, 8, |_| {})).unwrap_err();
    assert!(matches!(error, Error::Input(_)));
    assert_says(&error.to_string(), &["token 96 at position 1", "96 entries (0 to 95)"]);
    // The session goes on with a text that is right.
    session.set(vec![3, 95]);
    assert_eq!(pollster::block_on(session.advance(None, 8, |_| {}))?.len(), 2);
    Ok(())
}

#[test]
fn a_text_beyond_the_context_is_cut_to_it() -> Result<()> {
    let (mut session, architecture) = session();
    session.set(vec![1; architecture.context + 10]);
    assert_eq!(session.pending(), architecture.context);
    while session.pending() > 0 {
        pollster::block_on(session.advance(None, 50, |_| {}))?;
    }
    assert!(!session.has_room());
    Ok(())
}

/// A lost GPU is an error of its own kind, so that the CPU engine can take over.
#[test]
fn a_lost_gpu() {
    let model = Model::new(&files()).unwrap();
    let Engine::Gpu(gpu) = pollster::block_on(Engine::gpu(&model)).unwrap() else { panic!("asked for the GPU") };
    gpu.lose_device();
    let mut session = Session::new(Engine::Gpu(gpu));
    session.set(vec![1, 2, 3]);
    let error = pollster::block_on(session.advance(None, 8, |_| {})).unwrap_err();
    assert!(matches!(error, Error::Device(_)), "{error}");
    session.replace_engine(Engine::cpu(&model).unwrap());
    assert_eq!(pollster::block_on(session.advance(None, 8, |_| {})).unwrap().len(), 3);
}

/// A GPU that is lost while it draws tokens, one by one or with others on their way: the CPU goes on with those that
/// it would have drawn, neither more nor fewer.
#[test]
fn a_gpu_lost_while_it_draws() {
    let model = Model::new(&files()).unwrap();
    let sampling = Sampling { temperature: 1.0, top_p: 1.0, seed: 4 };
    let start = |session: &mut Session| pollster::block_on(session.run(&[1, 2, 3], None, |_| {})).unwrap();
    for ahead in [1, 8] {
        let draw =
            |session: &mut Session| pollster::block_on(session.draw(&sampling, ahead, None)).map(|trace| trace.len());
        let mut expected = Session::new(Engine::cpu(&model).unwrap());
        start(&mut expected);
        (0..10).for_each(|_| assert_eq!(draw(&mut expected).unwrap(), 1));

        let mut session = Session::new(pollster::block_on(Engine::gpu(&model)).unwrap());
        start(&mut session);
        (0..4).for_each(|_| assert_eq!(draw(&mut session).unwrap(), 1));
        let Engine::Gpu(gpu) = session.engine() else { panic!("asked for the GPU") };
        gpu.lose_device();
        // What had arrived before may still be read.
        let came = (0..9).map(|_| draw(&mut session)).take_while(Result::is_ok).count();
        assert!(came < 9, "all nine came from a lost GPU");
        let error = draw(&mut session).unwrap_err();
        assert!(matches!(error, Error::Device(_)), "{error}");
        session.replace_engine(Engine::cpu(&model).unwrap());
        assert_eq!(pollster::block_on(session.advance(None, 16, |_| {})).unwrap().len(), 7 + came);
        (7 + came..13).for_each(|_| assert_eq!(draw(&mut session).unwrap(), 1));
        assert_eq!(session.ids(), expected.ids());
    }
}
