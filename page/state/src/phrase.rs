//! A message to the visitor before translation: the key of a text in `www/messages`, and the values of its
//! placeholders.
//! The state knows no language; views turn a phrase into a sentence.

/// Something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phrase {
    /// Words as they are: what the engine or a view said.
    Words(String),
    /// A text of the page.
    Text {
        /// Its key.
        key: &'static str,
        /// The number that its form depends on.
        count: Option<usize>,
        /// What fills its places.
        places: Vec<(&'static str, Phrase)>,
    },
}

impl Phrase {
    /// The text `key`, without places.
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

/// A phrase: `phrase!("key")`, `phrase!("key", name = value)`, or `phrase!(n; "key")` where the text depends on a
/// number.
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
