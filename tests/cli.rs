//! The command line: its JSON has the documented form, and bad input gives one line on stderr.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

fn fixture(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/golden/fixtures", name].iter().collect();
    path.to_string_lossy().into_owned()
}

fn moescope(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_moescope")).args(arguments).output().unwrap()
}

fn trace(arguments: &[&str]) -> Value {
    let output = moescope(&[&["trace"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON and nothing else on stdout")
}

fn refusal(arguments: &[&str], code: i32) -> String {
    let output = moescope(arguments);
    assert_eq!(output.status.code(), Some(code));
    assert!(output.stdout.is_empty(), "bad input prints nothing on stdout");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_json_of_a_trace() {
    let json = trace(&["--model", &fixture("basic"), "--tokens", "1,2,3", "--engine", "cpu", "--logits", "last"]);
    assert_eq!(json["schema"], 1);
    assert_eq!(json["engine"], "cpu");
    assert_eq!(json["model"]["name"], "basic");
    assert_eq!(json["model"]["family"], "mixtral");
    assert_eq!(
        (&json["model"]["layers"], &json["model"]["experts"], &json["model"]["top_k"]),
        (&2.into(), &8.into(), &2.into())
    );
    let (all, active) =
        (json["model"]["parameters"].as_u64().unwrap(), json["model"]["active_parameters"].as_u64().unwrap());
    assert_eq!(all - active, 2 * 6 * 3 * 32 * 40, "six of eight experts idle in two layers");
    assert_eq!(json["tokens"][2]["id"], 3);
    assert_eq!(json["logits_last"].as_array().unwrap().len(), 96);
    assert!(json.get("logits").is_none());
    for (n, layer) in json["layers"].as_array().unwrap().iter().enumerate() {
        assert_eq!(layer["layer"], n);
        let rows = |key: &str| {
            layer[key].as_array().unwrap().iter().map(|row| row.as_array().unwrap().len()).collect::<Vec<_>>()
        };
        assert_eq!((rows("router_logits"), rows("selected"), rows("weights")), (vec![8; 3], vec![2; 3], vec![2; 3]));
        let balance = layer["balance"].as_object().unwrap();
        let load: f64 = balance["load"].as_array().unwrap().iter().map(|f| f.as_f64().unwrap()).sum();
        assert!((load - 1.0).abs() < 1e-6);
        for key in ["importance", "cv", "entropy", "max_over_mean", "aux_loss"] {
            assert!(balance.contains_key(key), "{key}");
        }
    }
}

#[test]
fn both_engines_print_the_same_experts() {
    let run = |engine| {
        trace(&[
            "--model",
            &fixture("many-experts"),
            "--tokens",
            "1,5,9,60,33,2,7",
            "--engine",
            engine,
            "--logits",
            "all",
        ])
    };
    let (cpu, gpu) = (run("cpu"), run("gpu"));
    assert!(gpu["engine"].as_str().unwrap().starts_with("gpu ("));
    for (cpu, gpu) in cpu["layers"].as_array().unwrap().iter().zip(gpu["layers"].as_array().unwrap()) {
        assert_eq!(cpu["selected"], gpu["selected"]);
    }
    assert_eq!(cpu["logits"].as_array().unwrap().len(), 7);
}

#[test]
fn a_file_in_a_directory_is_a_model_too() {
    let file = fixture("basic") + "/model.safetensors";
    let json = trace(&["--model", &file, "--tokens", "4", "--engine", "cpu"]);
    assert_eq!(json["model"]["name"], "basic");
}

#[test]
fn text_for_people() {
    let output =
        moescope(&["trace", "--model", &fixture("basic"), "--tokens", "1,2", "--engine", "cpu", "--format", "text"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("basic: 8 experts, top-2, 2 layers"), "{text}");
    assert!(text.contains("layer 1: load"), "{text}");
}

#[test]
fn bad_input_is_one_line_on_stderr() {
    let basic = fixture("basic");
    let missing = std::env::temp_dir().join("moescope-no-such-text");
    let missing = missing.to_str().unwrap();
    let zeros = ["0"; 65].join(",");
    let cases: [(&[&str], &str); 5] = [
        (
            &["--model", "/no/such/model", "--tokens", "1"],
            "error: cannot read /no/such/model: there is no such file or directory",
        ),
        (&["--model", &basic, "--tokens", "1,96"], "error: token 96 at position 1 is out of range"),
        (&["--model", &basic, "--text", "hello"], "error: the model has no tokenizer that is known"),
        (&["--model", &basic, "--text-file", missing], "error: "),
        (
            &["--model", &basic, "--engine", "gpu", "--tokens", &zeros],
            "error: the text has 65 tokens, more than the model's context of 64",
        ),
    ];
    for (arguments, says) in cases {
        let message = refusal(&[&["trace"], arguments].concat(), 1);
        assert!(message.starts_with(says), "{message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    }
}

/// A policy as JSON and as a file: the experts that it names are off, and the JSON has the policy.
#[test]
fn a_policy_changes_the_routing() {
    let file = std::env::temp_dir().join("moescope-cli-policy.json");
    std::fs::write(&file, r#"{"off": [0, 1, 2], "top_k": 1}"#).unwrap();
    let basic = fixture("basic");
    let by_file = ["--model", &basic, "--tokens", "5,6,7,8", "--engine", "cpu", "--policy", file.to_str().unwrap()];
    let by_json =
        ["--model", &basic, "--tokens", "5,6,7,8", "--engine", "gpu", "--policy", r#"{"off":[0,1,2],"top_k":1}"#];
    let (cpu, gpu) = (trace(&by_file), trace(&by_json));
    assert_eq!(cpu["policy"], serde_json::json!({"off": [0, 1, 2], "top_k": 1}));
    for (cpu, gpu) in cpu["layers"].as_array().unwrap().iter().zip(gpu["layers"].as_array().unwrap()) {
        assert_eq!(cpu["selected"], gpu["selected"]);
        for row in cpu["selected"].as_array().unwrap() {
            assert!(row.as_array().unwrap().len() == 1 && row[0].as_u64().unwrap() > 2, "{row}");
        }
    }
    for (policy, says) in [
        (r#"{"off": [0,1,2,3,4,5,6,7]}"#, "error: policy: all experts of layer 0 are off"),
        (r#"{"temperature": -1}"#, "error: policy: temperature is -1"),
        ("/no/such/policy.json", "error: cannot read /no/such/policy.json"),
    ] {
        let message = refusal(&["trace", "--model", &basic, "--tokens", "1", "--policy", policy], 1);
        assert!(message.starts_with(says) && message.trim_end().lines().count() == 1, "{message}");
    }
}

/// The sweeps print a case for every expert and every k.
#[test]
fn sweeps_print_every_case() {
    let run = |name: &str, extra: &[&str]| -> serde_json::Value {
        let basic = fixture("basic");
        let output = moescope(&[&[name, "--model", &basic, "--tokens", "5,6,7,8,9,10"], extra].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let ablated = run("ablate", &["--from-scratch"]);
    assert_eq!(ablated["experts"].as_array().unwrap().len(), 16);
    assert!(ablated["from_scratch"]["largest_difference"].as_f64().unwrap() < 1e-4);
    assert_eq!(run("choices", &[])["choices"].as_array().unwrap().len(), 8);
    let refused =
        ["ablate", "--model", &fixture("basic"), "--tokens", "1,2", "--policy", r#"{"gate":"expert-choice"}"#];
    assert!(refusal(&refused, 1).contains("no expert can be switched off alone"));
}

#[test]
fn bad_usage_exits_with_2() {
    assert!(refusal(&["trace", "--model", "x"], 2).starts_with("error: "));
    assert!(refusal(&["trace", "--model", "x", "--text", "a", "--tokens", "1"], 2).starts_with("error: "));
    assert!(refusal(&["dance"], 2).starts_with("error: "));
}

/// A model directory with the weights of `basic`, a tokenizer with a word for each of its 96 ids except the last six,
/// and the config after `change`.
fn model_with_words(name: &str, change: impl Fn(&mut Value)) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("moescope-cli-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::copy(fixture("basic") + "/model.safetensors", dir.join("model.safetensors")).unwrap();
    let mut config = serde_json::from_slice(&std::fs::read(fixture("basic") + "/config.json").unwrap()).unwrap();
    change(&mut config);
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let vocab: serde_json::Map<String, Value> = (0..90).map(|id| (format!("w{id}"), id.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": null, "decoder": null, "truncation": {"direction": "Right", "max_length": 1,
        "strategy": "LongestFirst", "stride": 0}, "padding": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"}
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    dir
}

fn generated(dir: &std::path::Path, temperature: &str) -> Vec<u64> {
    let arguments = [
        "generate",
        "--model",
        dir.to_str().unwrap(),
        "--text",
        "w5 w6",
        "--count",
        "40",
        "--temperature",
        temperature,
    ];
    let output = moescope(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    line["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

/// Generation stops after an end-of-text token, as in transformers, and never draws an id for which the tokenizer has
/// no token.
#[test]
fn generation_stops_at_the_end_of_the_text() {
    let endless = model_with_words("endless", |config| config["eos_token_id"] = Value::Null);
    let whole = generated(&endless, "0");
    assert_eq!(whole.len(), 40);
    let end = whole[3];
    let ends = model_with_words("ends", |config| config["eos_token_id"] = end.into());
    let first = whole.iter().position(|id| *id == end).unwrap();
    assert_eq!(generated(&ends, "0"), whole[..=first]);
    std::fs::write(ends.join("generation_config.json"), format!(r#"{{"eos_token_id": [95, {}]}}"#, whole[0])).unwrap();
    assert_eq!(generated(&ends, "0"), whole[..1]);
    // A temperature at which any of the 96 ids can be drawn.
    let drawn = generated(&endless, "50");
    assert!(drawn.len() == 40 && drawn.iter().all(|id| *id < 90), "{drawn:?}");
    [endless, ends].iter().for_each(|dir| std::fs::remove_dir_all(dir).unwrap());
}

/// Values that are not finite are an error, never null in the output. A text is always read as a whole, whatever
/// truncation the tokenizer's file has saved.
#[test]
fn no_number_is_null() {
    let huge = model_with_words("huge", |config| config["num_hidden_layers"] = 2_147_483_648u64.into());
    let message = refusal(&["trace", "--model", huge.to_str().unwrap(), "--text", "w5", "--engine", "cpu"], 1);
    assert!(message.starts_with("error: config.json: num_hidden_layers is 2147483648"), "{message}");
    let negative = model_with_words("eps", |config| config["rms_norm_eps"] = (-1.0).into());
    let message = refusal(&["trace", "--model", negative.to_str().unwrap(), "--text", "w5", "--engine", "cpu"], 1);
    assert!(message.starts_with("error: config.json: rms_norm_eps is -1.0"), "{message}");
    let noise = r#"{"noise": 1e38, "off": [1]}"#;
    let message = refusal(&["trace", "--model", &fixture("basic"), "--tokens", "1", "--policy", noise], 1);
    assert!(message.starts_with("error: policy: noise is"), "{message}");
    let whole = model_with_words("whole", |_| ());
    let json = trace(&["--model", whole.to_str().unwrap(), "--text", "w5 w6 w7 w8", "--engine", "cpu"]);
    assert_eq!(json["tokens"].as_array().unwrap().len(), 4, "truncation cut the text");
    [huge, negative, whole].iter().for_each(|dir| std::fs::remove_dir_all(dir).unwrap());
}

/// With `--chat` a text is a message, by the template of `chat_template.jinja` or of `tokenizer_config.json`.
#[test]
fn a_chat_template_writes_the_text() {
    let ids = |dir: &std::path::Path, more: &[&str]| {
        let dir = dir.to_str().unwrap();
        let trace = trace(&[&["--model", dir, "--engine", "cpu"], more].concat());
        let tokens = trace["tokens"].as_array().unwrap().clone();
        tokens.iter().map(|token| token["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let dir = model_with_words("chat", |_| ());
    let config = r#"{"chat_template": "{{ messages[0].content }} w7"}"#;
    std::fs::write(dir.join("tokenizer_config.json"), config).unwrap();
    assert_eq!(ids(&dir, &["--text", "w5 w6", "--chat"]), ids(&dir, &["--text", "w5 w6 w7"]));
    let template = "{{ messages[0].role[:0] }}{{ messages[0].content }} w8";
    std::fs::write(dir.join("chat_template.jinja"), template).unwrap();
    assert_eq!(ids(&dir, &["--text", "w5 w6", "--chat"]), ids(&dir, &["--text", "w5 w6 w8"]));
    let path = dir.to_str().unwrap();
    let generated = moescope(&["generate", "--model", path, "--text", "w5 w6", "--count", "2", "--chat"]);
    assert!(generated.status.success());
    std::fs::write(dir.join("chat_template.jinja"), "{{ raise_exception('no users here') }}").unwrap();
    let message = refusal(&["trace", "--model", path, "--text", "w5", "--chat"], 1);
    assert!(message.contains("no users here"), "{message}");
    let message = refusal(&["trace", "--model", &fixture("basic"), "--text", "w5", "--chat"], 1);
    assert!(message.contains("have none"), "{message}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_model_of_the_hub_is_not_downloaded_and_the_next_step_is_said() {
    for name in ["org/name", "https://huggingface.co/org/name"] {
        let why = refusal(&["trace", "--model", name, "--tokens", "1"], 1);
        assert!(why.contains(name) && why.contains("downloads nothing") && why.contains("hf download"), "{why}");
    }
}

#[test]
fn the_first_layers_are_marked_and_experts_on_demand_give_the_same() {
    let basic = fixture("basic");
    let base = ["--model", basic.as_str(), "--tokens", "1,2,3,5,8", "--engine", "cpu", "--logits", "last"];
    let whole = trace(&base);
    let first = trace(&[&base[..], &["--layers", "1"]].concat());
    assert_eq!((&first["model"]["layers"], &first["model"]["of_layers"]), (&1.into(), &2.into()));
    assert_eq!(first["layers"][0], whole["layers"][0]);
    assert!(whole["model"].get("of_layers").is_none());
    assert_eq!(trace(&[&base[..], &["--resident", "0.25"]].concat()), whole);
    let why = refusal(&[&["trace"], &base[..], &["--layers", "3"]].concat(), 1);
    assert!(why.contains("3 layers were asked for, and the model has 2"), "{why}");
    let why = refusal(&[&["trace"], &base[..], &["--resident", "1.5"]].concat(), 1);
    assert!(why.contains("above 0 and at most 1"), "{why}");
}

#[test]
fn the_hit_rate_of_a_part_of_the_experts() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("residency.json");
    let row = |expert: u32| format!("[{expert}]");
    // Expert by expert: with half of four in memory, 0 is there again, and 1 is not.
    let selected = [0, 1, 0, 2, 1].map(row).join(",");
    let logits = ["[0,0,0,0]"; 5].join(",");
    std::fs::write(
        &file,
        format!(r#"{{"layers":[{{"layer":0,"router_logits":[{logits}],"selected":[{selected}]}}]}}"#),
    )
    .unwrap();
    let file = file.to_string_lossy();
    let output = moescope(&["residency", "--trace", &file, "--resident", "0.5", "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &json["residency"][0];
    assert_eq!(
        (&json["tokens"], &found["requests"], &found["hits"], &found["first"]),
        (&5.into(), &5.into(), &1.into(), &3.into())
    );
    let output = moescope(&["residency", "--trace", &file, "--resident", "0.5"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "with 50.0 % of the experts resident: 20 % hits; 0.8 experts read per token (3 of 4 the first time)\n"
    );
    let why = refusal(&["residency", "--trace", &file, "--resident", "0"], 1);
    assert!(why.contains("above 0"), "{why}");
    std::fs::write(&*file, r#"{"layers":[{"layer":0,"router_logits":[[0]],"selected":[[3]]}]}"#).unwrap();
    let why = refusal(&["residency", "--trace", &file], 1);
    assert!(why.contains("no router logit") && why.contains("moescope trace"), "{why}");
}
