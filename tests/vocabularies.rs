//! Compares ids of tokens with llama.cpp's, for its vocabulary files with the texts and ids next to them. They are in
//! the source package of llama-cpp-python, which `cargo xtask test` fetches; `MOESCOPE_VOCABULARIES` is the folder
//! with them. Without them, each test prints that it was left out.

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    native::main();
}

#[cfg(target_arch = "wasm32")]
fn main() {}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use libtest_mimic::{Arguments, Failed, Trial};
    use moescope::model::gguf::{Header, header_bytes, tokenizer};
    use moescope::tokenizer::Tokenizer;
    use serde_json::Value;
    use std::path::{Path, PathBuf};

    /// Those whose kind is known.
    const NAMES: [&str; 13] = [
        "command-r",
        "deepseek-coder",
        "deepseek-llm",
        "falcon",
        "gpt-2",
        "llama-bpe",
        "llama-spm",
        "mpt",
        "phi-3",
        "qwen2",
        "qwen35",
        "refact",
        "starcoder",
    ];

    /// What follows each text.
    const BETWEEN: &str = "\n__ggml_vocab_test__\n";

    pub fn main() {
        let directory = std::env::var_os("MOESCOPE_VOCABULARIES").map(PathBuf::from);
        let trials = NAMES.into_iter().map(|name| match &directory {
            Some(directory) => {
                let file = directory.join(format!("ggml-vocab-{name}.gguf"));
                Trial::test(name, move || check(&file))
            }
            None => Trial::test(format!("{name} (its vectors are not here)"), || Ok(())).with_ignored_flag(true),
        });
        libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
    }

    fn check(file: &Path) -> Result<(), Failed> {
        let beside = |ending: &str| {
            let path = PathBuf::from(format!("{}{ending}", file.display()));
            std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
        };
        let (texts, ids) = (beside(".inp")?, beside(".out")?);
        let bytes = std::fs::read(file)?;
        let name = file.display().to_string();
        let header = pollster::block_on(header_bytes(&name, &bytes))?;
        let json = tokenizer::translated(&name, &Header::parse(&name, &header)?.metadata)?;
        // The ids are those of the text alone.
        let mut json: Value = json.ok_or("it has no tokenizer that is known")?;
        json["post_processor"] = Value::Null;
        let tokenizer = Tokenizer::new(&serde_json::to_vec(&json)?, 1 << 20)?;
        let texts: Vec<&str> = texts.strip_suffix(BETWEEN).unwrap_or(&texts).split(BETWEEN).collect();
        let lines: Vec<&str> = ids.trim_end_matches('\n').split('\n').collect();
        if texts.len() != lines.len() {
            return Err(format!("{} texts and {} lines of ids", texts.len(), lines.len()).into());
        }
        let mut wrong = Vec::new();
        for (text, line) in texts.iter().zip(lines) {
            let expected: Vec<u32> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            let found = tokenizer.encode(text)?.0;
            if found != expected {
                wrong.push(format!("{text:?}: {found:?}, not {expected:?}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{} wrong\n{}", wrong.len(), wrong.join("\n")).into()) }
    }
}
