//! Checks a `precompiled_charsmap`, SentencePiece's table of replacements: a search must not read outside of the
//! table.
//!
//! Base64 of: the trie's size in bytes (u32), the trie (units of u32), and the replacements, each ended by a zero. A
//! unit is one of a double array (Aoe 1989; darts-clone): its label, whether a leaf follows, and the offset of the next
//! one.

/// Returns an error that says what is wrong with the table.
pub fn check(base64: &str) -> Result<(), String> {
    let bytes = decode(base64).ok_or("it is no base64")?;
    let (size, rest) = bytes.split_first_chunk::<4>().ok_or("it is too short")?;
    let size = u32::from_le_bytes(*size) as usize / 4 * 4;
    if size == 0 || size > rest.len() {
        return Err(format!("it has {} bytes after its size, which says {size}", rest.len()));
    }
    let (trie, replacements) = rest.split_at(size);
    let units: Vec<usize> = trie.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit) as usize).collect();
    let replacements = std::str::from_utf8(replacements).map_err(|_| "its replacements are not UTF-8")?;
    match is_closed(&units, replacements) {
        true => Ok(()),
        false => Err("its table points outside of itself".into()),
    }
}

/// Whether every search stays within the units and every leaf points at a replacement.
fn is_closed(units: &[usize], replacements: &str) -> bool {
    let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
    let (mut seen, mut open) = (vec![false; units.len()], vec![offset(units[0])]);
    while let Some(place) = open.pop() {
        for letter in 1..=255 {
            let at = place ^ letter;
            let Some(&unit) = units.get(at) else { return false };
            if unit & (1 << 31 | 0xff) != letter || std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let next = at ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let leaf = units.get(next).map(|leaf| leaf & ((1 << 31) - 1));
                if !leaf.is_some_and(|leaf| replacements.is_char_boundary(leaf)) {
                    return false;
                }
            }
            open.push(next);
        }
    }
    true
}

/// Strict base64, with padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let six = |c: u8| {
        let places = [(b'A'..=b'Z', 0), (b'a'..=b'z', 26), (b'0'..=b'9', 52), (b'+'..=b'+', 62), (b'/'..=b'/', 63)];
        places.iter().find(|(range, _)| range.contains(&c)).map(|(range, first)| u32::from(c - range.start() + first))
    };
    let text = text.as_bytes();
    let (quads, rest) = text.as_chunks::<4>();
    let mut bytes = Vec::with_capacity(quads.len() * 3);
    for (n, quad) in quads.iter().enumerate() {
        let last = n + 1 == quads.len();
        let pad = if last { quad.iter().rev().take_while(|c| **c == b'=').count().min(2) } else { 0 };
        let mut word = 0;
        for &c in &quad[..4 - pad] {
            word = word << 6 | six(c)?;
        }
        word <<= 6 * pad;
        let [_, three @ ..] = word.to_be_bytes();
        let (kept, cut) = three.split_at(3 - pad);
        if cut.iter().any(|bits| *bits != 0) {
            return None;
        }
        bytes.extend_from_slice(kept);
    }
    rest.is_empty().then_some(bytes)
}
