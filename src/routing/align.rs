//! Two tokenizations of the same text beside each other.

use crate::tokenizer::Token;
use std::ops::Range;

/// The shortest stretch of text that both tokenizations cut out alike, as ranges of their tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Tokens of the first.
    pub first: Range<usize>,
    /// Tokens of the second.
    pub second: Range<usize>,
}

/// Aligns two tokenizations, as far as both go: where a token of each ends at the same character, a stretch ends.
pub fn align(first: &[Token], second: &[Token]) -> Vec<Stretch> {
    let (first, second) = (ends(first), ends(second));
    let mut stretches = Vec::new();
    let (mut i, mut j) = (0, 0);
    let (mut start_i, mut start_j) = (0, 0);
    while i < first.len() && j < second.len() {
        match first[i].cmp(&second[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                // Pieces of a character end where the text before them does: they belong to what completes it.
                let next = |ends: &[usize], at: usize| ends.get(at + 1) == Some(&ends[at]);
                if next(&first, i) || next(&second, j) {
                    i += usize::from(next(&first, i));
                    j += usize::from(next(&second, j));
                    continue;
                }
                stretches.push(Stretch { first: start_i..i + 1, second: start_j..j + 1 });
                (i, j) = (i + 1, j + 1);
                (start_i, start_j) = (i, j);
            }
        }
    }
    stretches
}

/// Where each token ends in the text, in bytes. A piece of a character ends where the next character begins,
/// which only the token that completes it reaches: such pieces count as ending with it.
fn ends(tokens: &[Token]) -> Vec<usize> {
    let mut ends = Vec::with_capacity(tokens.len());
    let mut end = 0;
    for (index, token) in tokens.iter().enumerate() {
        let completed = tokens[index..].iter().find(|later| !later.text.is_empty()).map_or(0, |later| later.text.len());
        if token.text.is_empty() {
            ends.push(end + completed);
        } else {
            end += token.text.len();
            ends.push(end);
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Vec<Token> {
        texts.iter().map(|text| Token { id: 0, text: (*text).into(), bytes: None }).collect()
    }

    fn aligned(first: &[&str], second: &[&str]) -> Vec<(Range<usize>, Range<usize>)> {
        align(&tokens(first), &tokens(second)).into_iter().map(|s| (s.first, s.second)).collect()
    }

    #[test]
    fn the_same_tokens_stand_one_to_one() {
        assert_eq!(aligned(&["a", " b"], &["a", " b"]), [(0..1, 0..1), (1..2, 1..2)]);
    }

    #[test]
    fn a_stretch_ends_where_both_end() {
        assert_eq!(aligned(&["ab", "c", "d"], &["a", "bc", "d"]), [(0..2, 0..2), (2..3, 2..3)]);
    }

    #[test]
    fn pieces_stay_with_their_character() {
        assert_eq!(aligned(&["", "", "\u{8be5}", "x"], &["\u{8be5}", "x"]), [(0..3, 0..1), (3..4, 1..2)]);
        assert_eq!(aligned(&["", "\u{8be5}"], &["", "", "\u{8be5}"]), [(0..2, 0..3)]);
    }

    #[test]
    fn what_only_one_has_read_is_left_out() {
        assert_eq!(aligned(&["a", "b"], &["a"]), [(0..1, 0..1)]);
        assert_eq!(aligned(&[], &["a"]), []);
    }
}
