//! Reports about the corpus: a table for the terminal, and CORPUS.md for the models' folder.

use std::fmt::Write;

use super::Manifest;
use super::split::HELD_OUT_BYTES;

/// A table for the terminal with a line for each domain.
pub fn table(manifest: &Manifest) -> String {
    let mut out = format!("{:<12} {:>9} {:>9} {:>9} {:>8}\n", "domain", "documents", "train kB", "held kB", "xz bpb");
    for d in &manifest.domains {
        let (train, held) = (d.train_bytes / 1000, d.held_out_bytes / 1000);
        let _ =
            writeln!(out, "{:<12} {:>9} {train:>9} {held:>9} {:>8.3}", d.name, d.train_documents, d.xz_bits_per_byte);
    }
    let total: usize = manifest.domains.iter().map(|d| d.train_bytes).sum();
    let _ = writeln!(out, "together {:.1} MB of training text", total as f64 / 1e6);
    out
}

/// The contents of CORPUS.md.
pub fn markdown(manifest: &Manifest) -> String {
    let total: usize = manifest.domains.iter().map(|d| d.train_bytes).sum();
    let mut out = format!(
        "# The corpus\n\n\
         All models in this folder are trained on this text and measured on its held-out part. It is collected from \
         packages of ordinary package managers by `cargo xtask corpus`, which also writes this page; the text itself \
         is not part of the project.\n\n\
         - **Together** {:.1} MB of training text in {} domains, and at least {} kB held out of each.\n\
         - **Balance.** Within a domain the sources have fixed shares, and a source \
         that cannot give its share leaves the rest to the others. In training every batch holds equally many \
         sequences of every domain, whatever its size.\n\
         - **Documents.** A file, page, chapter, game or group of entries. They are taken in the order of their \
         SHA-256, held-out documents first, so no document is in both parts and nothing depends on file order. Cut at \
         40 kB.\n\
         - **Near-duplicates.** A document is left out when more than half of its sampled runs of eight words (24 \
         characters where words are long) occurred in documents taken before, held-out ones included.\n\
         - **Clean.** Manual pages lose their roff, pages their HTML or DocBook, the lines that many pages share and \
         runs of short lines; of translations (PO and MO files) the entries that are sentences stay. Lines in another \
         language than the domain's, notices and the texts of licences go. The dictionary loses its edition notes, \
         Metamath its compressed proofs; chess games keep players, result, opening and moves.\n\
         - **xz -9e** is the size of the whole held-out file under `xz -9e`, in bits per byte of text: what a general \
         compressor knows after reading everything before.\n\n\
         | domain | what | documents | train kB | held-out kB | near-duplicates left out | xz -9e bits/byte |\n\
         | --- | --- | --: | --: | --: | --: | --: |\n",
        total as f64 / 1e6,
        manifest.domains.len(),
        HELD_OUT_BYTES / 1000,
    );
    for d in &manifest.domains {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {:.3} |",
            d.name,
            d.title,
            d.train_documents + d.held_out_documents,
            d.train_bytes / 1000,
            d.held_out_bytes / 1000,
            d.duplicates,
            d.xz_bits_per_byte
        );
    }
    out.push_str("\n## Sources\n\n| domain | package | version | licence | kB used | SHA-256 of the archive |\n");
    out.push_str("| --- | --- | --- | --- | --: | --- |\n");
    for d in &manifest.domains {
        for s in d.sources.iter().filter(|s| s.bytes > 0) {
            let f = &s.fetched;
            let (name, kb) = (&d.name, s.bytes / 1000);
            let _ = writeln!(out, "| {name} | {} | {} | {} | {kb} | `{}` |", f.package, f.version, s.licence, f.sha256);
        }
    }
    out.push_str("\n## Evaluation text\n\n");
    out.push_str("Sentences of news and of pages of the web, in no order. They are measured and never trained on.\n\n");
    out.push_str("| language | package | version | licence | kB | SHA-256 of the archive |\n");
    out.push_str("| --- | --- | --- | --- | --: | --- |\n");
    for e in &manifest.evaluations {
        let (f, licence, kb) = (&e.source.fetched, &e.source.licence, e.source.bytes / 1000);
        let _ = writeln!(out, "| {} | {} | {} | {licence} | {kb} | `{}` |", e.language, f.package, f.version, f.sha256);
    }
    out
}
