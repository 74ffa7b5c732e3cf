//! Aligns two tokenizations of the same text.

use crate::tokenizer::Token;
use std::ops::Range;

/// The shortest piece of text that starts and ends at token boundaries of both tokenizations, as ranges of their
/// tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Tokens of the first tokenization.
    pub first: Range<usize>,
    /// Tokens of the second tokenization.
    pub second: Range<usize>,
}

/// Aligns two tokenizations of `text`, as far as both go. A stretch ends where a token of each ends at the same byte.
///
/// Tokens that are not part of the text, such as `<s>`, belong to the stretch of the next token that is.
pub fn align(text: &str, first: &[Token], second: &[Token]) -> Vec<Stretch> {
    let (first, second) = (ends(text, first), ends(text, second));
    let mut stretches = Vec::new();
    let (mut i, mut j) = (0, 0);
    let (mut start_i, mut start_j) = (0, 0);
    while i < first.len() && j < second.len() {
        match first[i].cmp(&second[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                // Several tokens of one side may end at this byte; all of them belong to the stretch.
                let next = |ends: &[usize], at: usize| ends.get(at + 1) == Some(&ends[at]);
                if next(&first, i) || next(&second, j) {
                    i += usize::from(next(&first, i));
                    j += usize::from(next(&second, j));
                    continue;
                }
                if first[i] == NOWHERE {
                    break;
                }
                stretches.push(Stretch { first: start_i..i + 1, second: start_j..j + 1 });
                (i, j) = (i + 1, j + 1);
                (start_i, start_j) = (i, j);
            }
        }
    }
    stretches
}

/// How many bytes ahead a token is searched for where the tokens before it do not show their text (`<unk>`).
const AHEAD: usize = 64;

/// The end of tokens after which no token is part of the text.
const NOWHERE: usize = usize::MAX;

/// The byte of the text at which each token ends. A token without text of its own, such as a part of a character that
/// a later token completes, gets the end of the next token with text.
fn ends(text: &str, tokens: &[Token]) -> Vec<usize> {
    let mut ends = Vec::with_capacity(tokens.len());
    let mut end = 0;
    for token in tokens {
        let start = end;
        end = end_of(text, start, &token.text);
        ends.push(if end > start { end } else { NOWHERE });
    }
    for index in (1..ends.len()).rev() {
        ends[index - 1] = ends[index - 1].min(ends[index]);
    }
    ends
}

/// The byte at which the token `piece` ends if it is searched from the byte `start` of `text`; `start` where it is not
/// part of the text.
fn end_of(text: &str, start: usize, piece: &str) -> usize {
    let rest = &text[start..];
    // SentencePiece puts a space before the text.
    let spellings = [piece, piece.strip_prefix(' ').unwrap_or(piece)];
    let is_here = |spelling: &&str| !spelling.is_empty() && rest.starts_with(*spelling);
    if let Some(spelling) = spellings.into_iter().find(is_here) {
        return start + spelling.len();
    }
    let reach = (0..=AHEAD.min(rest.len())).rev().find(|&end| rest.is_char_boundary(end)).unwrap_or(0);
    let is_special = piece.starts_with('<') || piece.starts_with('[');
    let found = (!piece.trim().is_empty() && !is_special).then(|| rest[..reach].find(piece)).flatten();
    found.map_or(start, |gap| start + gap + piece.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Vec<Token> {
        texts.iter().map(|text| Token { id: 0, text: (*text).into(), ..Token::default() }).collect()
    }

    fn aligned(first: &[&str], second: &[&str]) -> Vec<(Range<usize>, Range<usize>)> {
        let longer = if first.concat().len() > second.concat().len() { first } else { second };
        aligned_in(&longer.concat(), first, second)
    }

    fn aligned_in(text: &str, first: &[&str], second: &[&str]) -> Vec<(Range<usize>, Range<usize>)> {
        align(text, &tokens(first), &tokens(second)).into_iter().map(|s| (s.first, s.second)).collect()
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
    fn a_token_before_the_text_takes_none_of_it() {
        let text = "The river was wide";
        let plain = ["T", "he", " river", " was", " wide"];
        let begun = ["<s>", "T", "he", " river", " was", " wide"];
        let expected = [(0..2, 0..1), (2..3, 1..2), (3..4, 2..3), (4..5, 3..4), (5..6, 4..5)];
        assert_eq!(aligned_in(text, &begun, &plain), expected);
        let turned = expected.map(|(first, second)| (second, first));
        assert_eq!(aligned_in(text, &plain, &begun), turned);
        assert_eq!(aligned_in(text, &begun, &begun)[0], (0..2, 0..2));
        // A token after the text belongs to no stretch.
        assert_eq!(aligned_in("The", &["The", "</s>"], &["T", "he"]), [(0..1, 0..2)]);
    }

    #[test]
    fn sentencepiece_begins_with_a_space_that_the_text_has_not() {
        let pieces = ["<s>", " The", " ri", "ver"];
        assert_eq!(aligned_in("The river", &pieces, &["T", "he", " river"]), [(0..2, 0..2), (2..4, 2..3)]);
        // A space at the beginning of the text belongs to the text.
        assert_eq!(aligned_in(" The", &[" The"], &[" ", "The"]), [(0..1, 0..2)]);
    }

    #[test]
    fn an_unknown_token_stands_for_what_is_between_its_neighbours() {
        let unknown = ["a", "<unk>", " b", " c"];
        assert_eq!(
            aligned_in("a\u{1f680} b c", &unknown, &["a", "\u{1f680}", " b", " c"]),
            [(0..1, 0..1), (1..3, 1..3), (3..4, 3..4)]
        );
    }

    #[test]
    fn what_only_one_has_read_is_left_out() {
        assert_eq!(aligned(&["a", "b"], &["a"]), [(0..1, 0..1)]);
        assert_eq!(aligned(&[], &["a"]), []);
    }
}
