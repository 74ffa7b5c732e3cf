//! `moescope quantise`: writes a model as a GGUF file with rounded weights, which llama.cpp reads too.

use clap::{Args, ValueEnum};
use moescope::error::{Error, Result};
use moescope::model::gguf::encode::encode;
use moescope::model::gguf::writer::{Writer, fill};
use moescope::model::{Model, ModelFiles, Tensor, Tensors, files, gguf};
use moescope::shape::{AttentionShape, Dtype, LayerShape, Scaling};
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

/// Options of `moescope quantise`.
#[derive(Args)]
pub struct Options {
    /// A Hugging Face model directory, a .safetensors file inside one, or a .gguf file
    #[arg(value_name = "DIR|FILE")]
    model: PathBuf,
    /// The format of the matrices. Norms and routers stay f32; of the 4-bit formats embeddings and output are q8_0
    #[arg(long, value_enum)]
    to: Format,
    /// The file to write [default: NAME.FORMAT.gguf in this directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_k")]
    Q4K,
    #[value(name = "f16")]
    F16,
    #[value(name = "f32")]
    F32,
}

impl Format {
    fn dtype(self) -> Dtype {
        match self {
            Self::Q8_0 => Dtype::Q8_0,
            Self::Q4_0 => Dtype::Q4_0,
            Self::Q4K => Dtype::Q4K,
            Self::F16 => Dtype::F16,
            Self::F32 => Dtype::F32,
        }
    }
}

/// A tensor of the file.
struct Part<'a> {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    /// Heads whose rows llama.cpp has in another order; 0 for none.
    heads: usize,
    /// One tensor, or one for each expert.
    from: Vec<Tensor<'a>>,
}

/// Runs the command.
pub async fn run(options: &Options) -> Result<()> {
    let files = files::read_dir(&options.model)?;
    let model = Model::new(&files)?;
    let config: Value = serde_json::from_slice(&files.config).expect("the model was read");
    let family = config["model_type"].as_str().unwrap_or_default();
    if family != "mixtral" && family != "llama" {
        let why = format!("a model of the family {family} cannot be written as GGUF; mixtral and llama can");
        return Err(Error::Input(why));
    }
    let wanted = options.to.dtype();
    let parts = parts(&model, wanted)?;
    let mut writer = Writer::default();
    describe(&mut writer, &model, &config)?;
    tokenizer(&mut writer, &files, &model, &config)?;
    parts.iter().for_each(|part| writer.tensor(&part.name, &part.shape, part.dtype));

    let path = match &options.out {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{}.{}.gguf", model.name, wanted.name())),
    };
    let at = || path.display().to_string();
    let failed = |e: std::io::Error| Error::read(at(), format!("it cannot be written ({e})"));
    let mut out = std::io::BufWriter::new(std::fs::File::create(&path).map_err(failed)?);
    out.write_all(&writer.header()).map_err(failed)?;
    for part in &parts {
        let mut bytes = Vec::new();
        for tensor in &part.from {
            let matrix = tensor.arrive().await?;
            let numbers = matrix.values();
            let numbers = if part.heads > 0 { neighbours(&numbers, matrix.rows, part.heads) } else { numbers };
            bytes.extend(encode(part.dtype, &numbers));
        }
        fill(&mut bytes);
        out.write_all(&bytes).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    let size = std::fs::metadata(&path).map_err(failed)?.len();
    println!("{}: {} tensors, {size} bytes", at(), parts.len());
    Ok(())
}

/// All tensors of the file, in its order.
fn parts(model: &Model, wanted: Dtype) -> Result<Vec<Part<'_>>> {
    let (tensors, a) = (model.tensors(), &model.architecture);
    let four = matches!(wanted, Dtype::Q4_0 | Dtype::Q4K);
    let edge = if four { Dtype::Q8_0 } else { wanted };
    let mut parts = Vec::new();
    for (ours, theirs) in gguf::architectures::WHOLE {
        if tensors.has(&format!("{theirs}.weight")) && !(a.tied && ours == "output") {
            parts.push(part(tensors, format!("{ours}.weight"), &[format!("{theirs}.weight")], edge, 0)?);
        }
    }
    for (n, layer) in a.layers.iter().enumerate() {
        let attention = plain(model, layer)?;
        for (ours, theirs) in gguf::architectures::LLAMA {
            let experts = if theirs.contains("{e}") { layer.moe.experts } else { 1 };
            let name = |e: usize| format!("model.layers.{n}.{}.weight", theirs.replace("{e}", &e.to_string()));
            if !tensors.has(&name(0)) {
                continue;
            }
            let heads = match ours {
                "attn_q" => attention.heads,
                "attn_k" => attention.kv_heads,
                _ => 0,
            };
            let names: Vec<String> = (0..experts).map(name).collect();
            let dtype = if ours == "ffn_gate_inp" { Dtype::F32 } else { wanted };
            parts.push(part(tensors, format!("blk.{n}.{ours}.weight"), &names, dtype, heads)?);
        }
        let experts = format!("blk.{n}.ffn_down_exps.weight");
        if layer.moe.gate.is_some() && parts.last().is_none_or(|part| part.name != experts) {
            let why =
                "has its experts in one tensor for all, which cannot be written as GGUF; save it expert by expert";
            return Err(Error::model(&model.name, why));
        }
    }
    Ok(parts)
}

/// The attention of a layer, as far as the keys and names of `llama` can describe it.
fn plain<'a>(model: &Model, layer: &'a LayerShape) -> Result<&'a AttentionShape> {
    let describes = |s: &AttentionShape| {
        let scaling = s.rope.as_ref().map(|rope| &rope.scaling);
        s.turns_whole_heads() && scaling == Some(&Scaling::None) && !s.bias && !s.output_bias
    };
    layer.attention().filter(|s| describes(s)).ok_or_else(|| {
        let why = "has scaled rotary positions or biases in its attention, which are not written as GGUF yet";
        Error::model(&model.name, why)
    })
}

fn part<'a>(tensors: &'a Tensors, name: String, from: &[String], dtype: Dtype, heads: usize) -> Result<Part<'a>> {
    let shape = tensors.shape(&from[0]).expect("it is there").to_vec();
    let from: Vec<Tensor> = from.iter().map(|name| tensors.of_shape(name, &shape)).collect::<Result<_>>()?;
    let columns = *shape.last().expect("a tensor has a size");
    // Where rows are no whole blocks, the next wider format.
    let fits = |dtype: Dtype| columns.is_multiple_of(dtype.block());
    let dtype = match shape.len() {
        1 => Dtype::F32,
        _ if fits(dtype) => dtype,
        _ if fits(Dtype::Q8_0) => Dtype::Q8_0,
        _ => Dtype::F16,
    };
    let shape = if name.contains("_exps.") { [&[from.len()], shape.as_slice()].concat() } else { shape };
    Ok(Part { name, shape, dtype, heads, from })
}

/// Rows of heads as llama.cpp has them: the two that turn together are neighbours.
fn neighbours(numbers: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let (columns, dim) = (numbers.len() / rows, rows / heads);
    let place = |row: usize| row / dim * dim + row % dim % 2 * (dim / 2) + row % dim / 2;
    (0..rows).flat_map(|row| numbers[place(row) * columns..][..columns].iter().copied()).collect()
}

/// The keys of the architecture.
fn describe(writer: &mut Writer, model: &Model, config: &Value) -> Result<()> {
    let a = &model.architecture;
    let (attention, moe) = (plain(model, &a.layers[0])?, &a.layers[0].moe);
    writer.text("general.architecture", "llama");
    writer.text("general.name", &model.name);
    writer.size("general.quantization_version", 2);
    let sizes = [
        ("block_count", a.layers.len()),
        ("context_length", config["max_position_embeddings"].as_u64().map_or(a.context, |n| n as usize)),
        ("embedding_length", a.hidden),
        ("feed_forward_length", moe.intermediate),
        ("attention.head_count", attention.heads),
        ("attention.head_count_kv", attention.kv_heads),
        ("attention.key_length", attention.head_dim),
        ("attention.value_length", attention.head_dim),
        ("rope.dimension_count", attention.head_dim),
        ("vocab_size", a.vocabulary),
    ];
    sizes.iter().for_each(|(key, size)| writer.size(&format!("llama.{key}"), *size as u32));
    if moe.gate.is_some() {
        writer.size("llama.expert_count", moe.experts as u32);
        writer.size("llama.expert_used_count", moe.top_k as u32);
    }
    writer.float("llama.rope.freq_base", attention.rope.as_ref().map_or(1e4, |rope| rope.theta));
    writer.float("llama.attention.layer_norm_rms_epsilon", a.norm_eps);
    Ok(())
}

/// The tokenizer: `tokenizer.json` itself, which this program reads, and what llama.cpp reads of it.
fn tokenizer(writer: &mut Writer, files: &ModelFiles, model: &Model, config: &Value) -> Result<()> {
    let Some(json) = &files.tokenizer else { return Ok(()) };
    let text = String::from_utf8_lossy(json);
    let tokenizer: Value = serde_json::from_str(&text)
        .map_err(|e| Error::model("tokenizer.json", format!("is not JSON ({e}); fetch it again")))?;
    writer.text("tokenizer.huggingface.json", &text);
    let bpe = &tokenizer["model"];
    let byte_level = ["pre_tokenizer", "decoder"].iter().any(|part| tokenizer[*part].to_string().contains("ByteLevel"));
    let (Some(vocabulary), Some(merges)) = (bpe["vocab"].as_object(), bpe["merges"].as_array()) else {
        eprintln!("note: llama.cpp can read only the ids of this file, because the tokenizer has no merges");
        writer.text("tokenizer.ggml.model", "no_vocab");
        return Ok(());
    };
    let mut texts: Vec<String> = (0..model.architecture.vocabulary).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![5; texts.len()];
    let ids = vocabulary.iter().filter_map(|(text, id)| Some((text, usize::try_from(id.as_u64()?).ok()?)));
    for (text, id) in ids.filter(|(_, id)| *id < model.architecture.vocabulary) {
        let is_byte = !byte_level && text.len() == 6 && text.starts_with("<0x");
        (texts[id], kinds[id]) = (text.clone(), if is_byte { 6 } else { 1 });
    }
    for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let id = token["id"].as_u64().map_or(usize::MAX, |id| id as usize);
        if let (Some(text), Some(kind)) = (texts.get_mut(id), kinds.get_mut(id)) {
            *text = token["content"].as_str().unwrap_or_default().to_owned();
            *kind = if token["special"] == true { 3 } else { 4 };
        }
    }
    let pair = |merge: &Value| -> String {
        match merge {
            Value::Array(pair) => pair.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            merge => merge.as_str().unwrap_or_default().to_owned(),
        }
    };
    let merges: Vec<String> = merges.iter().map(pair).collect();
    if byte_level {
        writer.text("tokenizer.ggml.model", "gpt2");
        let pre = gguf::pre_tokenizer::name_of(&tokenizer["pre_tokenizer"]);
        if pre.is_none() {
            eprintln!("note: llama.cpp knows no such way to split words, and may give other ids; moescope does not");
        }
        writer.text("tokenizer.ggml.pre", pre.unwrap_or("default"));
        writer.texts("tokenizer.ggml.merges", &merges);
    } else {
        writer.text("tokenizer.ggml.model", "llama");
        let mut scores = HashMap::new();
        for (rank, merge) in merges.iter().enumerate() {
            scores.entry(merge.replacen(' ', "", 1)).or_insert(-(rank as f32) - 1.0);
        }
        let last = -(merges.len() as f32) - 1.0;
        let scores: Vec<f32> = texts.iter().map(|text| scores.get(text).copied().unwrap_or(last)).collect();
        writer.floats("tokenizer.ggml.scores", &scores);
    }
    writer.texts("tokenizer.ggml.tokens", &texts);
    writer.integers("tokenizer.ggml.token_type", &kinds);
    let first = |key: &str| config[key].as_u64().or_else(|| config[key][0].as_u64());
    for (key, of) in [("bos", first("bos_token_id")), ("eos", model.ends.first().map(|id| u64::from(*id)))] {
        if let Some(id) = of {
            writer.size(&format!("tokenizer.ggml.{key}_token_id"), id as u32);
        }
    }
    let single = tokenizer["post_processor"].to_string();
    let begins = single.find("SpecialToken").zip(single.find("Sequence")).is_some_and(|(token, text)| token < text);
    writer.flag("tokenizer.ggml.add_bos_token", begins);
    Ok(())
}
