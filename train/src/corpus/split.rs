//! Which documents are kept, and which of them are held out.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// Held-out text of one domain, bytes.
pub const HELD_OUT_BYTES: usize = 200_000;
/// A document is cut at a line end after this many bytes, so that no document dominates.
const LONGEST: usize = 40_000;
/// The least size of a document in bytes; shorter ones are left out.
const SHORTEST: usize = 150;

/// The documents of one domain.
#[derive(Debug, Default)]
pub struct Split {
    /// For training.
    pub train: Vec<String>,
    /// For measuring only.
    pub held_out: Vec<String>,
    /// Bytes taken from each source, in the domain's order.
    pub bytes_by_source: Vec<usize>,
    /// Near-duplicates that were left out.
    pub duplicates: usize,
}

/// Takes documents from each source in the order of their hashes (so that nothing depends on file order): first the
/// held-out ones, then training text up to `size` bytes; near-duplicates of anything taken before are left out.
/// A source that cannot give its share leaves the rest to the others.
pub fn split(sources: Vec<(f64, Vec<String>)>, size: usize) -> Split {
    let mut result = Split::default();
    let mut seen = Shingles::default();
    let total: f64 = sources.iter().map(|(share, _)| share).sum();
    let mut queues = Vec::new();
    for (share, documents) in sources {
        let documents: HashSet<String> = documents.iter().filter_map(|d| tidy(d)).collect();
        let mut queue: Vec<(Vec<u8>, String)> =
            documents.into_iter().map(|d| (Sha256::digest(d.as_bytes()).to_vec(), d)).collect();
        queue.sort_by(|a, b| b.0.cmp(&a.0)); // taken from the end
        queues.push((share / total, queue));
    }
    result.bytes_by_source = vec![0; queues.len()];
    for (n, (share, queue)) in queues.iter_mut().enumerate() {
        let mut bytes = 0;
        while (bytes as f64) < *share * HELD_OUT_BYTES as f64 {
            let Some((_, document)) = queue.pop() else { break };
            if seen.is_new(&document) {
                bytes += document.len();
                result.bytes_by_source[n] += document.len();
                result.held_out.push(document);
            } else {
                result.duplicates += 1;
            }
        }
    }
    let mut bytes = 0;
    let mut given = vec![0usize; queues.len()];
    while bytes < size {
        // Next is the source that is furthest behind its share and still has text.
        let behind = |n: usize| given[n] as f64 / queues[n].0;
        let next =
            (0..queues.len()).filter(|&n| !queues[n].1.is_empty()).min_by(|&a, &b| behind(a).total_cmp(&behind(b)));
        let Some(n) = next else { break };
        let Some((_, document)) = queues[n].1.pop() else { break };
        if seen.is_new(&document) {
            bytes += document.len();
            given[n] += document.len();
            result.bytes_by_source[n] += document.len();
            result.train.push(document);
        } else {
            result.duplicates += 1;
        }
    }
    // Sources alternate by hash in the files too.
    result.train.sort_by_cached_key(|d| Sha256::digest(d.as_bytes()).to_vec());
    result.held_out.sort_by_cached_key(|d| Sha256::digest(d.as_bytes()).to_vec());
    result
}

/// Normalises a document: Unix line ends, no spaces at line ends, at most one empty line, no control characters.
/// `None` for a text that is not UTF-8, too short, or too long without a line end at which it can be cut.
fn tidy(document: &str) -> Option<String> {
    if document.contains('\u{fffd}') {
        return None;
    }
    let mut out = String::with_capacity(document.len());
    let mut empty = 0;
    for line in document.lines() {
        let line: String = line.trim_end().chars().filter(|&c| c == '\t' || !c.is_control()).collect();
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty > 1 || (empty == 1 && out.is_empty()) {
            continue;
        }
        if out.len() + line.len() > LONGEST {
            break;
        }
        out.push_str(&line);
        out.push('\n');
    }
    let out = out.trim_end();
    (out.len() >= SHORTEST).then(|| format!("{out}\n"))
}

/// Hashes of sampled runs of eight words (or of 24 characters in a text of few words). A document is a near-duplicate
/// if more than half of its runs were seen before.
#[derive(Default)]
struct Shingles {
    seen: HashSet<u64>,
}

impl Shingles {
    fn is_new(&mut self, document: &str) -> bool {
        let runs = sample(document);
        let known = runs.iter().filter(|r| self.seen.contains(r)).count();
        let new = 2 * known <= runs.len();
        if new {
            self.seen.extend(runs);
        }
        new
    }
}

/// A quarter of the runs, chosen by their hash, so that equal texts have equal samples.
fn sample(document: &str) -> Vec<u64> {
    let words: Vec<&str> = document.split_whitespace().collect();
    let hash = |bytes: &mut dyn Iterator<Item = u8>| {
        bytes.fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
    };
    let mut runs: Vec<u64> = if words.len() * 24 > document.len() {
        words.windows(8).map(|w| hash(&mut w.iter().flat_map(|w| w.bytes().chain([b' '])))).collect()
    } else {
        let characters: Vec<char> = document.chars().filter(|c| !c.is_whitespace()).collect();
        characters.windows(24).map(|w| hash(&mut w.iter().flat_map(|c| (*c as u32).to_le_bytes()))).collect()
    };
    runs.retain(|h| (h ^ (h >> 29)).is_multiple_of(4));
    runs.sort_unstable();
    runs.dedup();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::hash;

    fn document(seed: u64, words: usize) -> String {
        (0..words).map(|i| format!("w{} ", hash(seed, i as u64) % 5000)).collect()
    }

    #[test]
    fn near_duplicates_are_left_out_and_nothing_is_in_both_parts() {
        let mut documents: Vec<String> = (0..400).map(|s| document(s, 300)).collect();
        documents.extend((0..100).map(|s| document(s, 290) + "another end of it all"));
        let result = split(vec![(1.0, documents)], 8_000_000);
        assert_eq!(result.duplicates, 100);
        assert_eq!(result.train.len() + result.held_out.len(), 400);
        assert!(result.held_out.iter().map(String::len).sum::<usize>() >= HELD_OUT_BYTES);
        assert!(result.held_out.iter().all(|d| !result.train.contains(d)));
    }

    #[test]
    fn a_source_without_enough_text_leaves_the_rest_to_the_others() {
        let small: Vec<String> = (0..10).map(|s| document(s, 200)).collect();
        let large: Vec<String> = (100..7000).map(|s| document(s, 300)).collect();
        let result = split(vec![(0.5, small), (0.5, large)], 8_000_000);
        let train: usize = result.train.iter().map(String::len).sum();
        assert!((8_000_000..8_004_000).contains(&train));
        assert!(result.bytes_by_source[0] < 30_000);
    }

    #[test]
    fn tidy_text_has_no_control_characters_and_no_long_gaps() {
        let text = format!("a\r\n\n\n\nb\u{7} \t\n{}", "x".repeat(200));
        let tidied = tidy(&text).unwrap();
        assert!(tidied.starts_with("a\n\nb\nxxx") && tidied.ends_with("x\n"));
        assert_eq!(tidy("short"), None);
    }
}
