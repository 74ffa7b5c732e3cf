//! The little markup of chapters: `**strong**`, and `[key:words]` for words in the colour of what the picture calls
//! `key` (an expert's number, or a model's or a run's name).

/// A piece of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Words as they are.
    Plain(String),
    /// Words with weight.
    Strong(String),
    /// Words in a colour of the picture.
    Coloured {
        /// What the colour stands for.
        key: String,
        /// The words.
        words: String,
    },
}

/// The pieces of `text`, in order.
pub fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((at, piece, end)) = next(rest) {
        if at > 0 {
            pieces.push(Piece::Plain(rest[..at].to_owned()));
        }
        pieces.push(piece);
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Plain(rest.to_owned()));
    }
    pieces
}

/// The first piece that is marked: where it begins, what it is, where it ends.
fn next(text: &str) -> Option<(usize, Piece, usize)> {
    let strong = text.find("**").and_then(|at| {
        let inside = &text[at + 2..];
        inside.find("**").map(|end| (at, Piece::Strong(inside[..end].to_owned()), at + end + 4))
    });
    let coloured = text.match_indices('[').find_map(|(at, _)| {
        let (inside, _) = text[at + 1..].split_once(']')?;
        let (key, words) = inside.split_once(':')?;
        let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let piece = || Piece::Coloured { key: key.to_owned(), words: words.to_owned() };
        is_key.then(|| (at, piece(), at + inside.len() + 2))
    });
    match (strong, coloured) {
        (Some(one), Some(other)) => Some(if one.0 < other.0 { one } else { other }),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_pieces_and_the_rest_stays() {
        let coloured = |key: &str, words: &str| Piece::Coloured { key: key.into(), words: words.into() };
        let plain = |words: &str| Piece::Plain(words.into());
        assert_eq!(
            pieces("A **big** [main:one] and [this] *."),
            [plain("A "), Piece::Strong("big".into()), plain(" "), coloured("main", "one"), plain(" and [this] *.")]
        );
        assert_eq!(pieces("[0:More]"), [coloured("0", "More")]);
        assert_eq!(pieces("**open"), [plain("**open")]);
        assert_eq!(pieces(""), []);
    }
}
