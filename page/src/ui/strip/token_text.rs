//! Makes a token's text visible: white space, control characters and single accents get a mark.

/// A part of the visible text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text without a change.
    Plain(String),
    /// A mark for an invisible character.
    Mark(String),
}

/// The visible parts of `text`. A single space next to other characters stays a space, because the token's edges show
/// it.
pub fn visible(text: &str) -> Vec<Part> {
    let spaces_shown = text.trim().is_empty() || text.contains("  ");
    let mut parts: Vec<Part> = Vec::new();
    for (index, character) in text.chars().enumerate() {
        match mark(character, spaces_shown, index == 0) {
            Some(mark) => match parts.last_mut() {
                Some(Part::Mark(marks)) => marks.push_str(&mark),
                _ => parts.push(Part::Mark(mark)),
            },
            None => match parts.last_mut() {
                Some(Part::Plain(plain)) => plain.push(character),
                _ => parts.push(Part::Plain(character.into())),
            },
        }
    }
    parts
}

fn mark(character: char, spaces_shown: bool, first: bool) -> Option<String> {
    match character {
        '\n' => Some("\u{23ce}".into()),
        '\t' => Some("\u{21e5}".into()),
        '\r' => Some("\u{240d}".into()),
        ' ' => spaces_shown.then(|| "\u{b7}".into()),
        '\u{a0}' => Some("\u{237d}".into()),
        // The Unicode block Control Pictures has signs for the first 32 characters, in order.
        '\0'..='\u{1f}' => char::from_u32(0x2400 + character as u32).map(String::from),
        '\u{7f}' => Some("\u{2421}".into()),
        // An accent without a base letter gets a dotted circle.
        '\u{300}'..='\u{36f}' if first => Some(format!("\u{25cc}{character}")),
        // Invisible characters, and those that change the direction of text, are shown as their code.
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fe00}'..='\u{fe0f}' => Some(format!("{:X}", character as u32)),
        _ => None,
    }
}

/// Bytes in hexadecimal, for a part of a character: `e8 af`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// A token's text on one line, for names and lists: in quotes, with marks for white space.
pub fn quoted(text: &str, bytes: Option<&[u8]>) -> String {
    if text.is_empty() {
        return bytes.map(hex).unwrap_or_default();
    }
    let spaces_shown = text.trim().is_empty() || text.contains("  ");
    let line: String = text
        .chars()
        .map(|character| match mark(character, spaces_shown, false) {
            Some(mark) => mark,
            None => character.to_string(),
        })
        .collect();
    format!("\u{201c}{line}\u{201d}")
}
