//! A message to the visitor before translation: the key of a text in `www/messages`, and the values of its
//! placeholders.
//! The state knows no language; views turn a phrase into a sentence.

/// A message, or text that is not translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phrase {
    /// Text that is not translated, such as an error message of the engine.
    Words(String),
    /// A message.
    Text {
        /// Its key.
        key: &'static str,
        /// The number that selects its plural form.
        count: Option<usize>,
        /// The values of its placeholders.
        places: Vec<(&'static str, Phrase)>,
    },
}

impl Phrase {
    /// The message `key`, which has no placeholders.
    pub fn key(key: &'static str) -> Self {
        Self::Text { key, count: None, places: Vec::new() }
    }
}

impl From<String> for Phrase {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Phrase {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

impl From<&String> for Phrase {
    fn from(words: &String) -> Self {
        Self::Words(words.clone())
    }
}

macro_rules! from_numbers {
    ($($number:ty),*) => {
        $(impl From<$number> for Phrase {
            fn from(number: $number) -> Self {
                Self::Words(number.to_string())
            }
        })*
    };
}
from_numbers!(usize, u32, u64);

/// Makes a phrase: `phrase!("key")`, `phrase!("key", name = value)`, or `phrase!(n; "key")` for a message with plural
/// forms.
macro_rules! phrase {
    ($key:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        const _: () = assert!($crate::message_keys::has($key, &[$(stringify!($name)),*]), "no such message");
        $crate::phrase::Phrase::Text {
            key: $key, count: None, places: vec![$((stringify!($name), $value.into())),*],
        }
    }};
    ($n:expr; $key:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        const _: () = assert!($crate::message_keys::has($key, &[$(stringify!($name)),*]), "no such message");
        $crate::phrase::Phrase::Text {
            key: $key, count: Some($n), places: vec![$((stringify!($name), $value.into())),*],
        }
    }};
}
pub(crate) use phrase;
