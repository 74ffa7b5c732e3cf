//! Damaged checkpoints and bad texts: each gives an error message that says what is wrong, where, and what to do. The
//! damaged checkpoints are made here from the fixture `basic`.

use moescope::engine::Engine;
use moescope::error::{Error, Result};
use moescope::model::files::{ModelFiles, all_of, read_dir, shards};
use moescope::model::{Architecture, Backend, Model};
use moescope::session::{Lens, Sampling, Session};
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

/// The error message of loading `files`, which must fail.
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

/// The fixture `basic` with its config changed.
fn with_config(change: impl Fn(&mut Value)) -> ModelFiles {
    let mut files = files();
    let mut config: Value = serde_json::from_slice(&files.config).unwrap();
    change(&mut config);
    files.config = serde_json::to_vec(&config).unwrap();
    files
}

/// The fixture `basic` with the bytes of its tensors changed; where `change` returns false, the tensor is removed.
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

/// The bytes of the model's only weights file.
fn content(files: &ModelFiles) -> Vec<u8> {
    pollster::block_on(all_of(&*files.weights[0].1)).unwrap().into_owned()
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

/// After a model's files are released, existing engines keep working, and a new engine is an error.
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
    assert_says(&message, &["config.json", "\"gpt2\"", "known families: mixtral, llama, moescope, olmoe"]);
    let message = refusal(&with_config(|config| drop(config.as_object_mut().unwrap().remove("model_type"))));
    assert_says(&message, &["(none)", "known families"]);
    for (family, needs) in
        [("qwen3_next", "gated DeltaNet"), ("jamba", "Mamba"), ("nemotron_h", "Mamba-2"), ("jetmoe", "experts within")]
    {
        let message = refusal(&with_config(|config| config["model_type"] = json!(family)));
        assert_says(&message, &["config.json", family, "needs", needs, "known families"]);
    }
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
        ("num_hidden_layers", json!(0), "num_hidden_layers is 0; it must be a whole number from 1 to 1024"),
    ];
    for (key, value, says) in cases {
        assert_says(&refusal(&with_config(|config| config[key] = value.clone())), &["config.json", says]);
    }
}

#[test]
fn options_that_would_change_the_numbers() {
    let message = refusal(&with_config(|config| config["hidden_act"] = json!("gelu")));
    assert_says(&message, &["hidden_act", "\"gelu\"", "silu"]);
    let message = refusal(&with_config(|config| config["rope_parameters"]["rope_type"] = json!("dynamic")));
    assert_says(&message, &["rope_scaling", "\"dynamic\"", "known types: default, linear, llama3, yarn"]);
    let message = refusal(&with_config(|config| config["rope_scaling"] = json!({"type": "linear", "factor": 0.0})));
    assert_says(&message, &["rope_scaling.factor is 0.0"]);
}

/// A router whose tokens use the experts of `per_token` of `groups` groups.
fn limited(groups: usize, per_token: usize, score: &str) -> serde_json::Value {
    json!({"kind": "sigmoid-bias", "group_limit": {"groups": groups, "per_token": per_token, "score": score}})
}

/// A `router` with impossible values, or with values that would be ignored.
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
        (json!({"kind": "hierarchical", "groups": 4, "groups_per_token": 2, "scale": 2.0}), "leave it out"),
        (json!({"kind": "softmax-top-k", "jitter": 0.1}), "leave it out"),
        (json!({"kind": "softmax-top-k", "epsilon": -1.0}), "a number from 0"),
        (json!({"kind": "softmax-bias", "least_sum": 0.0}), "a number from"),
        (limited(3, 2, "max"), "must divide the"),
        (limited(4, 5, "max"), "must be 1 to 4"),
        (limited(8, 2, "two-best"), "the sum of two"),
        (limited(8, 1, "max"), "num_experts_per_tok is 2"),
        (limited(4, 1, "worst"), "unknown variant"),
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

/// Unusual texts are encoded and decoded without loss and without a replacement character.
#[test]
fn odd_texts_are_shown_whole() {
    let tokenizer = Tokenizer::new(&tokenizer_json(None), 256).unwrap();
    let right_to_left = "שלום עולם مرحبا";
    for text in ["", "\u{0}\u{7}\u{1b}[31m", "👩‍👩‍👧‍👦 naïve", right_to_left, "e\u{301}\u{200f}\u{feff}", "\r\n\t  x"]
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
    // The session continues with a valid text.
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

/// A lost GPU is an error of its own type, so that the CPU engine can take over.
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

/// A GPU is lost while it draws tokens, one by one or with several steps in flight: the CPU continues with exactly the
/// tokens that the GPU would have drawn.
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
        // Steps whose results had arrived before may still be read.
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

/// The trace of three tokens on the CPU, with the logits after each.
fn run(files: &ModelFiles) -> Result<(moescope::routing::Trace, Vec<f32>)> {
    let model = Model::new(files)?;
    let (mut session, mut logits) = (Session::new(Engine::cpu(&model)?), Vec::new());
    let trace = pollster::block_on(session.run(&[5, 3, 8], None, |rows| logits.extend_from_slice(rows)))?;
    Ok((trace, logits))
}

/// Rotary parameters as transformers 5.24 reads them (`convert_rope_params_to_dict`): a non-empty `rope_scaling`
/// overrides `rope_parameters`, `rope_type` overrides `type`, and a base within it overrides the one at the top level.
#[test]
fn rotary_positions_are_read_as_transformers_reads_them() {
    let theta = |keys: Value| {
        let files = with_config(|config| {
            config.as_object_mut().unwrap().remove("rope_parameters");
            config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        });
        Model::new(&files).map(|model| model.architecture.layers[0].attention().unwrap().rope.clone().unwrap())
    };
    let cases = [
        (json!({}), 1e6),
        (json!({"rope_theta": 5.0}), 5.0),
        (json!({"rope_scaling": null, "rope_parameters": null, "rope_theta": 5.0}), 5.0),
        (json!({"rope_scaling": {}}), 1e6),
        (json!({"rope_scaling": {"rope_type": "default"}}), 1e6),
        (json!({"rope_scaling": {"type": "default"}, "rope_theta": 5.0}), 5.0),
        (json!({"rope_scaling": {"rope_type": "default", "rope_theta": 7.0}, "rope_theta": 5.0}), 7.0),
        (json!({"rope_parameters": {"rope_type": "default"}, "rope_theta": 5.0}), 5.0),
        (json!({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}, "rope_theta": 5.0}), 7.0),
        (json!({"rope_parameters": {"rope_theta": 3.0}}), 3.0),
        (json!({"rope_parameters": {"type": "linear", "rope_type": "default", "factor": 4.0}}), 1e6),
        (json!({"rope_parameters": {"type": "linear"}, "rope_scaling": {"type": "default", "rope_theta": 2.0}}), 2.0),
    ];
    for (keys, expected) in cases {
        assert_eq!(theta(keys.clone()).unwrap().theta, expected, "{keys}");
    }
    let scaled = [
        json!({"rope_scaling": {"type": "linear"}}),
        json!({"rope_parameters": {"rope_type": "yarn", "factor": "four"}}),
        json!({"rope_parameters": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0}}),
        json!({"rope_parameters": {"rope_type": "longrope", "factor": 4.0}}),
        json!({"rope_parameters": {"rope_theta": 3.0}, "rope_scaling": {"type": "dynamic", "factor": 2.0}}),
        json!({"rope_parameters": {"rope_theta": 3.0, "partial_rotary_factor": 0.5}}),
        json!({"partial_rotary_factor": 0.5}),
    ];
    for keys in scaled {
        let message = theta(keys.clone()).expect_err(&keys.to_string()).to_string();
        assert!(
            message.contains("rope_scaling.factor is missing")
                || message.contains("rope_parameters.factor is \"four\"")
                || message.contains("rope_parameters.high_freq_factor is missing")
                || message.contains("the type \"longrope\"")
                || message.contains("the type \"dynamic\"")
                || message.contains("partial_rotary_factor is 0.5"),
            "{keys}: {message}"
        );
    }
}

/// Sizes are checked before they are used, and the message has the key, its value and the allowed range.
#[test]
fn sizes_that_cannot_be() {
    let sizes = [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "num_local_experts",
        "num_experts",
    ];
    let values = [json!(10_000_000_000u64), json!(1u64 << 60), json!(1u64 << 63), json!(-1), json!(1e300), json!(2.5)];
    for key in sizes {
        for value in values.iter().chain([&json!("12"), &json!([1]), &json!({})]) {
            let message = refusal(&with_config(|config| config[key] = value.clone()));
            assert_says(&message, &["config.json", &format!("{key} is {value}; it must be a whole number from")]);
        }
    }
    for (key, value) in [("num_hidden_layers", 10_000_000u64), ("num_hidden_layers", 1 << 31), ("head_dim", 1 << 31)] {
        assert_says(&refusal(&with_config(|config| config[key] = json!(value))), &[key, "whole number from 1 to"]);
    }
    let message = refusal(&with_config(|config| drop(config.as_object_mut().unwrap().remove("vocab_size"))));
    assert_says(&message, &["config.json", "vocab_size is missing"]);
}

/// Numbers that would make other numbers infinite.
#[test]
fn numbers_that_cannot_be() {
    let cases = [
        ("/rope_parameters/rope_theta", json!(0)),
        ("/rope_parameters/rope_theta", json!(-10000.0)),
        ("/rope_parameters/rope_theta", json!(0.0001)),
        ("/rope_parameters/rope_theta", json!(1e39)),
        ("/rope_parameters/rope_theta", json!("10000")),
        ("/rms_norm_eps", json!(-1e-5)),
        ("/rms_norm_eps", json!(1e38)),
        ("/rms_norm_eps", json!(true)),
    ];
    for (key, value) in cases {
        let message = refusal(&with_config(|config| *config.pointer_mut(key).unwrap() = value.clone()));
        let name = key.rsplit('/').next().unwrap();
        assert_says(&message, &["config.json", &format!("{name} is {value}; it must be a number from")]);
    }
    for scale in [1e38, -1.0] {
        let message = refusal(&with_config(|config| {
            config["model_type"] = json!("moescope");
            config["router"] = json!({"kind": "sigmoid-bias", "scale": scale});
        }));
        assert_says(&message, &["config.json", "router.scale is", "a number from 0"]);
    }
}

/// Numbers that overflow during the computation are an error, never NaN in a trace.
#[test]
fn numbers_that_overflow() {
    let files = with_tensors(|name, bytes| {
        if name.ends_with("input_layernorm.weight") {
            bytes.as_chunks_mut::<4>().0.iter_mut().for_each(|x| *x = 3e38f32.to_le_bytes());
        }
        true
    });
    let error = run(&files).expect_err("it overflows").to_string();
    assert_says(&error, &["not finite", "config.json"]);
    // The lens runs an engine of its own.
    let model = Model::new(&files).unwrap();
    let mut lens = Lens::new(&model, &Engine::cpu(&model).unwrap()).unwrap();
    let error = lens.inspect(&[1, 2], None).expect_err("it overflows").to_string();
    assert_says(&error, &["not finite after layer 0", "config.json"]);
    let error = lens.try_sets(0, &[1, 2, 3]).expect_err("it overflows").to_string();
    assert_says(&error, &["not finite with the experts [0, 1] of layer 0", "config.json"]);
}

/// An unknown option that is not switched off is an error that names it; options that do not change the numbers are
/// allowed.
#[test]
fn options_that_are_not_known() {
    let cases = [
        ("attention_bias", json!(true), "attention_bias"),
        ("mlp_bias", json!(true), "mlp_bias"),
        ("use_qk_norm", json!(true), "use_qk_norm is true"),
        ("final_logit_softcapping", json!(30.0), "final_logit_softcapping is 30.0"),
        ("shared_expert_intermediate_size", json!(64), "shared_expert_intermediate_size is 64"),
        ("quantization_config", json!({"quant_method": "fp8"}), "quantization_config is {"),
        ("logits_scaling", json!([1, 2]), "logits_scaling is [1,2]"),
    ];
    for (key, value, says) in cases {
        assert_says(&refusal(&with_config(|config| config[key] = value.clone())), &["config.json", says]);
    }
    for (key, value) in [
        ("use_qk_norm", json!(false)),
        ("quantization_config", json!(null)),
        ("_attn_implementation_autoset", json!(true)),
        ("router_aux_loss_coef", json!(0.02)),
        ("unsloth_version", json!("2025.1")),
        ("hidden_act", json!("swish")),
    ] {
        assert!(run(&with_config(|config| config[key] = value.clone())).unwrap() == run(&files()).unwrap(), "{key}");
    }
}

/// Embedding rows of unused tokens may hold anything, as in transformers; a token that uses such a row is an error.
/// The output's rows are used in every step.
#[test]
fn embeddings_that_nobody_uses_may_be_anything() {
    let bad = |tensor: &str, row: usize| {
        let tensor = tensor.to_owned();
        with_tensors(move |name, bytes| {
            if name == tensor {
                bytes[row * 32 * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
            }
            true
        })
    };
    assert!(run(&bad("model.embed_tokens.weight", 9)).unwrap() == run(&files()).unwrap());
    let error = run(&bad("model.embed_tokens.weight", 3)).expect_err("token 3 is used").to_string();
    assert_says(&error, &["token 3 cannot be used", "model.embed_tokens.weight", "not finite"]);
    assert_says(&refusal(&bad("lm_head.weight", 9)), &["lm_head.weight", "number 288", "not finite"]);
}

/// `num_experts` is another name of `num_local_experts` (MixtralConfig.attribute_map) and overrides it.
#[test]
fn the_number_of_experts_has_two_names() {
    let with = |first: Option<u64>, second: u64| {
        with_config(|config| {
            config["num_local_experts"] = json!(first);
            config["num_experts"] = json!(second);
        })
    };
    assert!(run(&with(None, 8)).unwrap() == run(&files()).unwrap());
    assert!(run(&with(Some(4), 8)).unwrap() == run(&files()).unwrap());
    assert_says(&refusal(&with(Some(8), 4)), &["gate.weight", "[8, 32]", "[4, 32]"]);
}

/// Policies whose numbers exceed the range of f32.
#[test]
fn policies_whose_numbers_are_too_large() {
    let architecture = Model::new(&files()).unwrap().architecture;
    for (policy, says) in [
        (r#"{"noise": 1e38, "off": [1]}"#, "noise is 1"),
        (r#"{"temperature": 1e-38}"#, "temperature is 0"),
        (r#"{"bias": [1e38, 0, 0, 0, 0, 0, 0, 0]}"#, "number 0 of bias"),
    ] {
        let error = moescope::routing::Policy::parse(policy).and_then(|policy| policy.settings(&architecture));
        assert_says(&error.expect_err(policy).to_string(), &["policy: ", says]);
    }
    let unlimited = moescope::routing::Policy::parse(r#"{"capacity_factor": 1e38}"#).unwrap();
    let settings = unlimited.settings(&architecture).unwrap().unwrap();
    assert!(settings[0][0].limit.unwrap().most <= 128, "a GPU counts in 32 bits");
}

// The following faults were reported for other projects, which are named.

/// A tensor that is in two shards: vllm-project/vllm#54230 and JustVugg/colibri#1479 (the one that was read last was
/// used, without a warning).
#[test]
fn a_tensor_in_two_files() {
    let mut twice = files();
    let whole = content(&twice);
    twice.weights = ["a", "b"].map(|name| (format!("{name}.safetensors"), Rc::new(whole.clone()) as _)).to_vec();
    assert_says(&refusal(&twice), &["b.safetensors, tensor ", "is in a.safetensors too"]);
}

/// An index that maps nothing, or to no file: huggingface/huggingface_hub#4728 (entries were not checked).
#[test]
fn an_index_that_names_no_file() {
    let error = |index: &str| shards(index.as_bytes()).unwrap_err().to_string();
    assert_says(&error(r#"{"weight_map": {}}"#), &["index.json", "empty weight_map"]);
    assert_says(
        &error(r#"{"weight_map": {"a": "x.safetensors", "b": 7}}"#),
        &["index.json", "the tensor b", "no file"],
    );
    assert_says(&error(r#"{"weight_map": ["a"]}"#), &["index.json", "no weight_map"]);
}

/// A name twice in a header: safetensors/safetensors#401 (the message only mentioned offsets; it still names the
/// file).
#[test]
fn a_name_twice_in_a_header() {
    let entry = |from: usize| format!(r#""a":{{"dtype":"F32","shape":[1],"data_offsets":[{from},{}]}}"#, from + 4);
    let header = format!("{{{},{}}}", entry(0), entry(4));
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat();
    assert_says(
        &refusal(&with_weights(bytes)),
        &["model.safetensors", "not a whole safetensors file", "fetch it again"],
    );
}

/// Empty metadata in a header: foundation-model-stack/fastsafetensors#89 (KeyError).
#[test]
fn empty_metadata_in_a_header() {
    let whole = content(&files());
    let length = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    header["__metadata__"] = json!({});
    let header = serde_json::to_vec(&header).unwrap();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_slice(), &whole[8 + length..]].concat();
    assert!(run(&with_weights(bytes)).unwrap() == run(&files()).unwrap());
}

/// A config with tied embeddings and weights with a separate output matrix: huggingface/transformers#42612 (the file's
/// output matrix was overwritten by the embeddings).
#[test]
fn tied_in_the_config_and_apart_in_the_file() {
    assert!(run(&with_config(|config| config["tie_word_embeddings"] = json!(true))).unwrap() == run(&files()).unwrap());
}

/// A sliding window in a Llama's config, which LlamaForCausalLM does not use; similar to vllm-project/vllm#2064 (a
/// window that changed the numbers).
#[test]
fn a_window_that_the_family_does_not_have() {
    let files = read_dir(&fixture().with_file_name("llama")).unwrap();
    let mut config: Value = serde_json::from_slice(&files.config).unwrap();
    config["sliding_window"] = json!(2);
    let windowed = ModelFiles { config: serde_json::to_vec(&config).unwrap(), ..files };
    assert_says(&refusal(&windowed), &["config.json", "sliding_window is 2", "not known"]);
}

/// A window of 2^32 tokens or more, which a GPU would read as no window: no text is that long.
#[test]
fn a_window_beyond_every_text() {
    for window in [64u64, 1 << 32, u64::MAX] {
        let model = Model::new(&with_config(|config| config["sliding_window"] = json!(window))).unwrap();
        assert_eq!(model.architecture.layers[0].attention().unwrap().window, None, "{window}");
    }
}

/// The end-of-text token as a number or a list, in generation_config.json or config.json: Blaizzy/mlx-vlm#2112 and
/// alibaba/ChatLearn#263 (lists were not read, and generation did not stop).
#[test]
fn the_ids_that_end_a_text() {
    let ends = |config: Value, generation: Option<&str>| {
        let files = with_config(|keys| keys["eos_token_id"] = config.clone());
        let generation = generation.map(|json| json.as_bytes().to_vec());
        Model::new(&ModelFiles { generation, ..files }).unwrap().ends
    };
    assert_eq!(ends(json!(7), None), [7]);
    assert_eq!(ends(json!([7, 9]), None), [7, 9]);
    assert_eq!(ends(json!(null), None), [0u32; 0]);
    assert_eq!(ends(json!(7), Some(r#"{"eos_token_id": [3, 4]}"#)), [3, 4]);
    assert_eq!(ends(json!(7), Some(r#"{"eos_token_id": 3}"#)), [3]);
    assert_eq!(ends(json!(7), Some("{}")), [7]);
    assert_eq!(ends(json!(7), Some("<html>")), [7]);
    assert_eq!(ends(json!([-1, "x", 7]), None), [7]);
}

/// Numbers of kinds that are not known are called by their name: guoqingbao/xinfer#222 and
/// huggingface/transformers#36828 are of the kind (here the tensor was said to be missing).
#[test]
fn numbers_of_an_unknown_kind() {
    let whole = content(&files());
    let length = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let header = String::from_utf8(whole[8..8 + length].to_vec()).unwrap().replace("\"F32\"", "\"I32\"");
    let bytes = [&whole[..8], header.as_bytes(), &whole[8 + length..]].concat();
    assert_says(&refusal(&with_weights(bytes)), &["kind I32", "F32, F16, BF16", "convert the checkpoint"]);
}

/// The fixture of another family with its config changed.
fn family_with(name: &str, change: impl Fn(&mut Value)) -> ModelFiles {
    let files = read_dir(&fixture().with_file_name(name)).unwrap();
    let mut config: Value = serde_json::from_slice(&files.config).unwrap();
    change(&mut config);
    ModelFiles { config: serde_json::to_vec(&config).unwrap(), ..files }
}

/// Options of families that would change the numbers, and values that no option can have.
#[test]
fn options_of_other_families() {
    let cases = [
        ("olmoe", "clip_qkv", json!(8.0), "clip_qkv is 8.0"),
        ("olmoe", "num_experts_per_tok", json!(9), "num_experts_per_tok is 9"),
        ("qwen3-moe", "mlp_only_layers", json!("1"), "mlp_only_layers is \"1\"; it must be a list"),
        ("qwen3-moe", "rope_parameters", json!({"rope_type": "dynamic", "factor": 2.0}), "the type \"dynamic\""),
        ("qwen2-moe", "shared_expert_intermediate_size", json!(0), "shared_expert_intermediate_size is 0"),
        ("qwen2-moe-odd", "layer_types", json!(["full_attention"]), "a type for each of 2 layers"),
        ("granitemoe", "logits_scaling", json!(0), "logits_scaling is 0"),
        ("lfm2-moe", "layer_types", json!(["conv", "mamba", "conv", "conv"]), "layer_types has \"mamba\""),
        ("lfm2-moe", "conv_L_cache", json!(0), "conv_L_cache is 0"),
        ("deepseek-v2", "scoring_func", json!("sigmoid"), "only softmax is known"),
        ("deepseek-v2", "topk_method", json!("dice"), "topk_method is \"dice\""),
        ("deepseek-v3", "n_group", json!(3), "3 groups; they must divide the 8 experts"),
        ("deepseek-v3", "moe_layer_freq", json!(2), "moe_layer_freq is 2"),
        ("gpt-oss", "quantization_config", json!({"quant_method": "gptq"}), "only quant_method \"mxfp4\" is known"),
        ("afmoe", "score_func", json!("softmax"), "score_func is \"softmax\"; only \"sigmoid\" is known"),
        ("afmoe", "layer_types", json!(["conv", "conv", "conv"]), "layer_types has \"conv\""),
        ("hunyuan", "num_shared_expert", json!([1, 2]), "layers that differ"),
        ("hunyuan", "moe_topk", json!([1]), "moe_topk is [1]; it must be a number, or a list"),
        ("hunyuan", "rope_parameters", json!({"rope_type": "dynamic", "factor": 2.0}), "the type \"dynamic\""),
        ("smollm3", "no_rope_layers", json!([1, 2, 0, 1]), "no_rope_layers is [1,2,0,1]"),
        ("granitehybrid", "mamba_n_groups", json!(2), "mamba_n_groups is 2; only 1 is known"),
        ("granitehybrid", "mamba_n_heads", json!(5), "mamba_n_heads (5) times mamba_d_head (16)"),
        ("granitehybrid", "mamba_d_conv", json!(0), "mamba_d_conv is 0"),
        ("granitehybrid", "time_step_limit", json!([0.001, 0.1]), "time_step_limit is [0.001,0.1]"),
        ("granitehybrid", "layer_types", json!(["mamba", "rwkv", "mamba"]), "layer_types has \"rwkv\""),
        ("phimoe", "num_experts_per_tok", json!(3), "this family's gate chooses 2"),
        (
            "phimoe",
            "rope_parameters",
            json!({"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0]}),
            "4 pairs of dimensions turn, and there are 3 factors",
        ),
        ("ernie", "use_bias", json!(true), "use_bias is true"),
        ("minimax-m2", "rotary_dim", json!(18), "18 dimensions of a head turn"),
        ("glm4-moe", "partial_rotary_factor", json!(2.0), "partial_rotary_factor"),
        ("dots1", "first_k_dense_replace", json!(-1), "first_k_dense_replace is -1"),
    ];
    for (name, key, value, says) in cases {
        let message = refusal(&family_with(name, |config| {
            config[key] = value.clone();
            if key == "partial_rotary_factor" {
                config["rope_parameters"].as_object_mut().unwrap().remove(key);
            }
        }));
        assert_says(&message, &["config.json", says]);
    }
}
