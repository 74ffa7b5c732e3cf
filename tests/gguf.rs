//! GGUF files against the `gguf` package: every format's numbers, and whole models. `gguf/make.py` and
//! `gguf/families.py` write the fixtures.
#![cfg(not(target_arch = "wasm32"))]

use moescope::engine::Engine;
use moescope::engine::cpu::CpuEngine;
use moescope::error::Result;
use moescope::kernels::stored::Stored;
use moescope::model::files::{Bytes, read_dir};
use moescope::model::gguf;
use moescope::model::{Backend, Model};
use moescope::routing::Trace;
use moescope::session::Session;
use moescope::shape::Dtype;
use moescope::tokenizer::Tokenizer;
use safetensors::SafeTensors;
use serde_json::Value;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gguf").join(name)
}

#[test]
fn the_numbers_of_every_block_are_those_of_the_gguf_package() {
    let bytes = std::fs::read(fixture("blocks.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let formats: Vec<Dtype> = Dtype::ALL.into_iter().filter(|dtype| dtype.is_block()).collect();
    assert_eq!(2 * formats.len(), tensors.len());
    for dtype in formats {
        let tensor = |what| tensors.tensor(&format!("{}.{what}", dtype.name())).unwrap();
        let expected: Vec<f32> =
            tensor("numbers").data().as_chunks::<4>().0.iter().map(|&number| f32::from_le_bytes(number)).collect();
        let mut found = vec![0.0; expected.len()];
        dtype.widen(tensor("blocks").data(), &mut found);
        assert!(expected.iter().any(|number| *number > 0.0) && expected.iter().any(|number| *number < 0.0));
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found, expected, "{} {at}", dtype.name());
        }
    }
}

#[test]
fn a_scale_that_is_not_finite_is_found_in_every_format() {
    let bytes = std::fs::read(fixture("blocks.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for dtype in Dtype::ALL.into_iter().filter(|dtype| dtype.is_block()) {
        let mut blocks = tensors.tensor(&format!("{}.blocks", dtype.name())).unwrap().data().to_vec();
        assert_eq!(dtype.first_not_finite(&blocks), None, "{}", dtype.name());
        // The scale is at the end of a block of Q6_K, and at the start of all others.
        let second = dtype.block_bytes();
        match dtype {
            Dtype::Q6K => blocks[second + 208..][..2].copy_from_slice(&[0, 0x7c]),
            Dtype::Mxfp4 => blocks[second] = 255,
            _ => blocks[second..][..2].copy_from_slice(&[1, 0xfe]),
        }
        assert_eq!(dtype.first_not_finite(&blocks), Some(dtype.block()), "{}", dtype.name());
    }
}

/// Logits of every token, row by row, and the trace.
fn run(engine: Engine, ids: &[u32]) -> (Vec<f32>, Trace) {
    let mut logits = Vec::new();
    let trace = pollster::block_on(Session::new(engine).run(ids, None, |rows| logits.extend_from_slice(rows)));
    (logits, trace.unwrap())
}

fn open(file: &str) -> Result<Model> {
    Model::new(&read_dir(&fixture(file))?)
}

/// The results of `make.py`: ids, logits, and the experts of each layer and token.
fn expected(name: &str) -> (Vec<u32>, Vec<f32>, Vec<Vec<Vec<u32>>>) {
    let json: Value = serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap();
    let logits: Vec<Vec<f32>> = serde_json::from_value(json["logits"].clone()).unwrap();
    let read = |key: &str| json[key].clone();
    (serde_json::from_value(read("ids")).unwrap(), logits.concat(), serde_json::from_value(read("selected")).unwrap())
}

/// The largest absolute difference, divided by the largest absolute value.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    found.iter().zip(expected).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs())) / largest
}

fn check(model: &Model, engine: Engine, name: &str, tolerance: f32) {
    let (ids, logits, selected) = expected(name);
    let (found, trace) = run(engine, &ids);
    let off = difference(&found, &logits);
    assert!(off < tolerance, "{}: {off}", model.name);
    assert_eq!(trace.layers.len(), selected.len());
    for (layer, selected) in trace.layers.iter().zip(selected) {
        for (position, selected) in selected.iter().enumerate() {
            assert_eq!(layer.selected_of(position), selected, "layer {}, token {position}", layer.layer);
        }
    }
}

#[test]
fn a_mixtral_with_tensors_in_every_format_gives_the_logits_of_the_package() {
    let model = open("mixtral.gguf").unwrap();
    check(&model, Engine::cpu(&model).unwrap(), "mixtral.json", 1e-4);
    // Large models keep their weights this way.
    let as_it_is = Engine::Cpu(Box::new(CpuEngine::packed(&model, Stored::as_is).unwrap()));
    check(&model, as_it_is, "mixtral.json", 1e-4);
    match pollster::block_on(Engine::gpu(&model)) {
        Ok(engine) => check(&model, engine, "mixtral.json", 1e-3),
        Err(error) => assert!(std::env::var_os("VK_ICD_FILENAMES").is_none(), "{error}"),
    }
}

/// llama.cpp read a file with the same numbers in f32, which `moescope quantise` had written (gguf/with_llama_cpp.py).
#[test]
fn llama_cpp_gives_the_same_logits() {
    let json: Value = serde_json::from_slice(&std::fs::read(fixture("llama_cpp.json")).unwrap()).unwrap();
    let logits: Vec<Vec<f32>> = serde_json::from_value(json["logits"].clone()).unwrap();
    let ids: Vec<u32> = serde_json::from_value(json["ids"].clone()).unwrap();
    let model = open("mixtral.gguf").unwrap();
    let (found, _) = run(Engine::cpu(&model).unwrap(), &ids);
    let off = difference(&found, &logits.concat());
    assert!(off < 3e-3, "{off}");
}

#[test]
fn a_dense_model_opens_whole_and_split() {
    for file in ["llama.gguf", "llama-00001-of-00002.gguf", "llama-00002-of-00002.gguf"] {
        let model = open(file).unwrap();
        assert_eq!((model.name.as_str(), model.architecture.tied), ("llama", true));
        check(&model, Engine::cpu(&model).unwrap(), "llama.json", 1e-4);
    }
}

#[test]
fn a_directory_with_several_models_is_refused_by_their_names() {
    let message = open("").err().unwrap().to_string();
    assert!(message.contains("several GGUF models in it; name one of: llama, mixtral"), "{message}");
}

#[test]
fn the_tokenizer_comes_from_the_metadata() {
    let files = read_dir(&fixture("llama.gguf")).unwrap();
    let model = Model::new(&files).unwrap();
    assert_eq!(model.ends, [2]);
    let tokenizer = Tokenizer::new(files.tokenizer.as_ref().unwrap(), 64).unwrap();
    let (ids, _) = tokenizer.encode("the heä\n").unwrap();
    let shown: Vec<String> = ids.iter().map(|&id| tokenizer.show(id)).collect();
    assert_eq!(shown, ["<s>", " the", " ", "he", "\\xC3", "\\xA4", "\n"]);
    let text: String = tokenizer.tokens(&ids[1..], 0).into_iter().map(|token| token.text).collect();
    assert_eq!(text, " the heä\n");
}

/// Writes the model `from` in the format `to` with the command line, and opens what it wrote.
fn quantised(from: &Path, to: &str) -> Model {
    let name = from.file_stem().unwrap().to_string_lossy();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{to}.gguf"));
    let command = std::process::Command::new(env!("CARGO_BIN_EXE_moescope"))
        .arg("quantise")
        .arg(from)
        .args(["--to", to, "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
    Model::new(&read_dir(&out).unwrap()).unwrap()
}

#[test]
fn a_quantised_model_is_near_the_one_that_it_was() {
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("www/models/main");
    let files = read_dir(&main).unwrap();
    let model = Model::new(&files).unwrap();
    let text = "The old bridge was wide, and nobody had crossed it for years.";
    let ids = Tokenizer::new(files.tokenizer.as_ref().unwrap(), 8192).unwrap().encode(text).unwrap().0;
    let (expected, _) = run(Engine::cpu(&model).unwrap(), &ids);
    let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    for (to, most) in [("f32", 0.0), ("q8_0", 0.02), ("q4_k", 0.2), ("q4_0", 0.3)] {
        let (found, _) = run(Engine::cpu(&quantised(&main, to)).unwrap(), &ids);
        let off =
            squares(&mut found.iter().zip(&expected).map(|(a, b)| a - b)) / squares(&mut expected.iter().copied());
        assert!(off <= most, "{to}: {off}");
        assert!(off > 0.0 || to == "f32", "{to} rounds nothing");
    }
}

#[test]
fn a_quantised_model_keeps_its_tokenizer() {
    let before = read_dir(&fixture("llama.gguf")).unwrap();
    let json: Value = serde_json::from_slice(before.tokenizer.as_ref().unwrap()).unwrap();
    drop(quantised(&fixture("llama.gguf"), "q8_0"));
    let after = read_dir(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("llama.q8_0.gguf")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(after.tokenizer.as_ref().unwrap()).unwrap(), json);
}

/// The families of `gguf/families.py`: the file and the family that it opens as.
const FAMILIES: [(&str, &str); 20] = [
    ("llama3", "llama"),
    ("qwen2", "qwen2"),
    ("qwen2-moe", "qwen2_moe"),
    ("qwen3", "qwen3"),
    ("qwen3-moe", "qwen3_moe"),
    ("olmoe", "olmoe"),
    ("granitemoe", "granitemoe"),
    ("granitemoeshared", "granitemoeshared"),
    ("gpt-oss", "gpt_oss"),
    ("lfm2-moe", "lfm2_moe"),
    ("deepseek-v2", "deepseek_v2"),
    ("deepseek-v3", "deepseek_v3"),
    ("dots1", "dots1"),
    ("glm4-moe", "glm4_moe"),
    ("minimax-m2", "minimax_m2"),
    ("ernie", "ernie4_5_moe"),
    ("hunyuan", "hunyuan_v1_moe"),
    ("phimoe", "phimoe"),
    ("smollm3", "smollm3"),
    ("granitehybrid", "granitemoehybrid"),
];

/// The numbers that `transformers` computes for the checkpoint that a GGUF file was made of.
fn of_transformers(name: &str) -> Vec<u8> {
    let own = fixture(&format!("families/{name}.safetensors"));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures").join(name);
    std::fs::read(if own.exists() { own } else { golden.join("expected.safetensors") }).unwrap()
}

#[test]
fn other_families_give_the_logits_and_experts_of_transformers() {
    for (name, family) in FAMILIES {
        let model = open(&format!("families/{name}.gguf")).unwrap();
        assert_eq!(model.info(Backend::Cpu, None).family, family);
        let bytes = of_transformers(name);
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let words = |key: &str| expected.tensor(key).unwrap().data().as_chunks::<4>().0.to_vec();
        let whole = |key: &str| -> Vec<u32> { words(key).into_iter().map(u32::from_le_bytes).collect() };
        let logits: Vec<f32> = words("logits").into_iter().map(f32::from_le_bytes).collect();
        let ids = whole("ids");
        let (found, trace) = run(Engine::cpu(&model).unwrap(), &ids);
        let off = difference(&found, &logits);
        assert!(off < 1e-4, "{name}: {off}");
        let routed = expected.names().iter().filter(|key| key.starts_with("selected.")).count();
        assert_eq!(trace.layers.len(), routed, "{name}");
        for layer in &trace.layers {
            let selected = whole(&format!("selected.{}", layer.layer));
            for (position, selected) in selected.chunks_exact(selected.len() / ids.len()).enumerate() {
                assert_eq!(layer.selected_of(position), selected, "{name}, layer {}, token {position}", layer.layer);
            }
        }
    }
}

#[test]
fn options_and_tensors_that_a_family_does_not_know_are_refused_by_their_names() {
    let refused = |name: &str, from: &str, to: &str, says: &str| {
        let file = format!("families/{name}.gguf");
        assert_eq!(from.len(), to.len());
        let message = changed_file(&file, |bytes| {
            let place = place_of(bytes, from);
            bytes.splice(place, to.bytes());
        })
        .err()
        .unwrap_or_else(|| panic!("it opened: {says}"))
        .to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
    };
    refused(
        "qwen3-moe",
        "qwen3moe.expert_feed",
        "qwen3moe.expert_food",
        "qwen3moe.expert_food_forward_length is an option",
    );
    refused(
        "granitemoe",
        "granitemoe.residual_scale",
        "granitemoe.residual_scalx",
        "granitemoe.residual_scale is missing",
    );
    refused(
        "granitemoe",
        "granitemoe.attention.scale",
        "granitemoe.attention.scalx",
        "granitemoe.attention.scale is missing",
    );
    refused("qwen2", "blk.0.attn_q.bias", "blk.0.ffn_up.bias", "blk.0.ffn_up.bias: is no tensor of a \"qwen2\"");
    refused("olmoe", "blk.0.attn_q_norm", "blk.0.attn_q_narm", "blk.0.attn_q_narm.weight: is no tensor");
    refused(
        "qwen2-moe",
        "blk.0.ffn_gate_inp_shexp",
        "blk.0.ffn_gate_inp_shexx",
        "ffn_gate_inp_shexx.weight: is no tensor",
    );
}

#[test]
fn gates_that_a_family_does_not_compute_are_refused() {
    // A key that changes no number gives its place to another.
    let refused = |name: &str, key: &str, value: &[u8], says: &str| {
        let old = format!("{name}.vocab_size");
        let change = |bytes: &mut Vec<u8>| {
            let Range { start, end } = place_of(bytes, &old);
            let length = (name.len() + 1 + key.len()) as u64;
            let mut new = length.to_le_bytes().to_vec();
            new.extend(format!("{name}.{key}").as_bytes());
            new.extend(value);
            // The length before the key, and a type and a number of four bytes each after it.
            bytes.splice(start - 8..end + 8, new);
        };
        let message = changed_file(&format!("families/{name}.gguf"), change).err();
        let message = message.unwrap_or_else(|| panic!("it opened: {says}")).to_string();
        assert!(message.contains(says), "{message}");
    };
    let number = |number: u32| [4u32.to_le_bytes(), number.to_le_bytes()].concat();
    let float = |number: f32| [6u32.to_le_bytes(), number.to_le_bytes()].concat();
    let no = [&7u32.to_le_bytes()[..], &[0]].concat();
    refused("olmoe", "expert_gating_func", &number(2), "olmoe.expert_gating_func is 2; only 1 (softmax)");
    refused("olmoe", "expert_weights_scale", &float(2.5), "olmoe.expert_weights_scale is 2.5; only 1");
    refused("olmoe", "attention.clamp_kqv", &float(8.0), "olmoe.attention.clamp_kqv is an option");
    refused("olmoe", "expert_weights_norm", &number(1), "olmoe.expert_weights_norm must be true or false");
    refused("gpt-oss", "rope.scaling.yarn_beta_fast", &float(8.0), "gpt-oss.rope.scaling.yarn_beta_fast is an option");
    refused("granitemoe", "expert_weights_norm", &no, "granitemoe.expert_weights_norm is false");
    refused("granitemoe", "rope.scaling.finetuned", &no, "no rotary positions");
    refused("qwen3", "attention.sliding_window", &number(8), "qwen3.attention.sliding_window is an option");
}

#[test]
fn factors_of_rotary_positions_are_checked() {
    let refused = |skip: usize, new: &[u8], says: &str| {
        let message = changed_file("families/llama3.gguf", |bytes| put(bytes, "rope_freqs.weight", skip, new)).err();
        let message = message.unwrap_or_else(|| panic!("it opened: {says}")).to_string();
        assert!(message.contains(says), "{message}");
    };
    // The number of dimensions comes first, then the dimension, the format, and the place of the four numbers.
    refused(4, &3u64.to_le_bytes(), "4 pairs of dimensions turn, and there are 3 factors for them");
    refused(12, &1u32.to_le_bytes(), "must hold a number in F32");
    let nan = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(8).position(|window| window == [[0, 0, 0, 0x41], [0, 0, 0, 0x41]].concat()).unwrap();
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    let message = changed_file("families/llama3.gguf", nan).err().unwrap().to_string();
    assert!(message.contains("rope_scaling.factors"), "{message}");
}

/// Where a text is.
fn place_of(bytes: &[u8], text: &str) -> Range<usize> {
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    at..at + text.len()
}

/// A file in memory, changed.
fn changed(change: impl Fn(&mut Vec<u8>)) -> Result<Model> {
    changed_file("llama.gguf", change)
}

fn changed_file(file: &str, change: impl Fn(&mut Vec<u8>)) -> Result<Model> {
    let mut bytes = std::fs::read(fixture(file)).unwrap();
    change(&mut bytes);
    let weights: Vec<(String, Bytes)> = vec![("m.gguf".into(), Rc::new(bytes))];
    Model::new(&pollster::block_on(gguf::model_files("m".into(), weights))?)
}

fn put(bytes: &mut Vec<u8>, text: &str, skip: usize, new: &[u8]) {
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap() + text.len() + skip;
    bytes.splice(at..at + new.len(), new.iter().copied());
}

#[test]
fn damaged_files_are_refused_in_one_line() {
    let refused = |change: &dyn Fn(&mut Vec<u8>), says: &str| {
        let message = changed(change).err().unwrap_or_else(|| panic!("it opened: {says}")).to_string();
        assert!(message.starts_with("m.gguf") && message.contains(says) && !message.contains('\n'), "{message}");
    };
    assert!(changed(|_| ()).is_ok());
    refused(&|bytes| bytes.truncate(100), "it ends in its header");
    refused(&|bytes| bytes.truncate(bytes.len() - 40), "is cut off");
    refused(&|bytes| bytes[4] = 9, "its version is 9");
    refused(&|bytes| bytes[4..8].reverse(), "big-endian");
    refused(&|bytes| bytes[8..16].fill(0xff), "tensors");
    refused(&|bytes| put(bytes, "general.architecture", 4, &u64::MAX.to_le_bytes()), "bytes of text");
    refused(&|bytes| put(bytes, "general.architecture", 12, b"mamba"), "its architecture is \"mamba\"");
    refused(&|bytes| put(bytes, "llama.block_count", 4, &9u32.to_le_bytes()), "model.layers.2");
    refused(&|bytes| put(bytes, "llama.attention.head_count", 4, &0u32.to_le_bytes()), "head_count is 0");
    refused(&|bytes| put(bytes, "llama.context_length", 0, &99u32.to_le_bytes()), "of the type 99");
    refused(&|bytes| put(bytes, "llama.rope.freq_base", 4, &f32::NAN.to_le_bytes()), "must be a number");
    // The name and four bytes with the number of dimensions come first, then the dimensions.
    refused(&|bytes| put(bytes, "token_embd.weight", 4, &u64::MAX.to_le_bytes()), "token_embd.weight has");
    refused(&|bytes| put(bytes, "token_embd.weight", 20, &0u32.to_le_bytes()), "overlap");
    refused(&|bytes| put(bytes, "token_embd.weight", 20, &19u32.to_le_bytes()), "numbers of the kind IQ1_S");
    refused(&|bytes| put(bytes, "blk.0.attn_", 0, b"x"), "blk.0.attn_x");
}

/// A file of metadata alone; each value with its type and its bytes.
fn metadata(pairs: &[(&str, u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = [b"GGUF".as_slice(), &3u32.to_le_bytes(), &0u64.to_le_bytes()].concat();
    bytes.extend((pairs.len() as u64).to_le_bytes());
    for (key, kind, value) in pairs {
        bytes.extend(text(key));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
    }
    bytes
}

/// A text as it is in a file: its length, then its bytes.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// An array as it is in a file.
fn array(kind: u32, items: &[Vec<u8>]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(items.len() as u64).to_le_bytes(), &items.concat()].concat()
}

/// Headers as other readers of GGUF met them, in reports on their public trackers.
#[test]
fn headers_that_other_readers_mistook() {
    let refused = |bytes: &[u8], says: &str| {
        let message = gguf::Header::parse("m.gguf", bytes).err().unwrap_or_else(|| panic!("{says}")).to_string();
        assert!(message.starts_with("m.gguf") && message.contains(says) && !message.contains('\n'), "{message}");
    };
    // An array of an unknown type was skipped as if it were empty: gittensor-ai-lab/sparkinfer#5.
    let unknown = array(99, &[vec![0; 8]]);
    refused(&metadata(&[("a.list", 9, unknown)]), "the key a.list has an array of the type 99");
    // The size of an array overflowed: the same report.
    let endless = [&10u32.to_le_bytes()[..], &(u64::MAX / 4).to_le_bytes()].concat();
    refused(&metadata(&[("a.list", 9, endless)]), "values in an array");
    // A key of 2^48 bytes was allocated: leejet/stable-diffusion.cpp#1397.
    let mut long = metadata(&[("a.key", 4, vec![0; 4])]);
    long[24..32].copy_from_slice(&0xffff_ffff_ffffu64.to_le_bytes());
    refused(&long, "bytes of text");
    // More than eight dimensions were written beyond an array: antirez/gguf-tools#25.
    let mut wide = metadata(&[]);
    wide[8] = 1;
    wide.extend([text("t"), 9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().repeat(9), vec![0; 12]].concat());
    refused(&wide, "the tensor t has 9 dimensions");
    // A type of 256 was read as its lowest byte: cdxgen/cdxgen#4119.
    refused(&metadata(&[("general.name", 256, text("x"))]), "has a value of the type 256");
    // Numbers of another kind where one whole number belongs: EricLBuehler/mistral.rs#2215.
    for key in ["split.count", "split.no", "general.alignment"] {
        refused(&metadata(&[(key, 8, text("2"))]), &format!("{key} must be one whole number"));
    }
}

/// Tokenizers as other readers of GGUF met them: EricLBuehler/mistral.rs#2215 (they ended the process, or cut the
/// vocabulary without a word).
#[test]
fn tokenizers_that_other_readers_mistook() {
    let texts = |items: &[&str]| array(8, &items.iter().map(|item| text(item)).collect::<Vec<_>>());
    let numbers = |items: &[u32]| array(4, &items.iter().map(|item| item.to_le_bytes().to_vec()).collect::<Vec<_>>());
    let translated = |changes: &[(&'static str, u32, Vec<u8>)]| {
        let mut pairs = vec![
            ("tokenizer.ggml.model", 8, text("gpt2")),
            ("tokenizer.ggml.tokens", 9, texts(&["a", "b", "ab"])),
            ("tokenizer.ggml.merges", 9, texts(&["a b"])),
        ];
        pairs.retain(|pair| changes.iter().all(|change| change.0 != pair.0));
        pairs.extend_from_slice(changes);
        let bytes = metadata(&pairs);
        let header = gguf::Header::parse("m.gguf", &bytes).unwrap();
        gguf::tokenizer::translated("m.gguf", &header.metadata).map_err(|error| error.to_string())
    };
    let refused = |change: (&'static str, u32, Vec<u8>), says: &str| {
        let message = translated(&[change]).expect_err(says);
        assert!(message.starts_with("m.gguf, metadata") && message.contains(says), "{message}");
    };
    assert_eq!(translated(&[]).unwrap().unwrap()["model"]["merges"], serde_json::json!([["a", "b"]]));
    refused(("tokenizer.ggml.token_type", 4, vec![1, 0, 0, 0]), "one number for each token");
    refused(("tokenizer.ggml.token_type", 9, numbers(&[1, 1])), "one number for each token");
    refused(("tokenizer.ggml.merges", 9, texts(&["ab"])), "merges has \"ab\"");
    // Whole numbers of any width are kinds; 3 is a control token.
    let kinds = translated(&[("tokenizer.ggml.token_type", 9, numbers(&[1, 1, 3]))]).unwrap().unwrap();
    assert_eq!(kinds["added_tokens"][0]["content"], "ab");
    let begin = [("tokenizer.ggml.add_bos_token", 7, vec![1]), ("tokenizer.ggml.bos_token_id", 4, vec![9, 0, 0, 0])];
    let message = translated(&begin).expect_err("a token that is not there");
    assert!(message.contains("add_bos_token asks for the token 9"), "{message}");
    // Too few scores cut the vocabulary.
    let scores = array(6, &[0f32.to_le_bytes().to_vec()]);
    let pieces = [("tokenizer.ggml.model", 8, text("llama")), ("tokenizer.ggml.scores", 9, scores)];
    assert!(translated(&pieces).expect_err("scores").contains("one score for each token"));
}
