//! The page's texts, apart from the code: `www/messages/LANGUAGE.json`; and what the state says, in words.

use crate::state::phrase::Phrase;
pub use moescope_common::messages::{
    Language, begin, choose, choose_english, fill, name_of, of_languages, plural, text,
};

/// The texts that are built in.
pub const ENGLISH: &str = include_str!("../../../www/messages/en.json");

/// Translates a phrase.
pub fn say(phrase: &Phrase) -> String {
    match phrase {
        Phrase::Words(words) => words.clone(),
        Phrase::Text { key, count, places } => {
            let places: Vec<_> = places.iter().map(|(name, value)| (*name, say(value))).collect();
            count.map_or_else(|| text(key, &places), |count| plural(key, count, &places))
        }
    }
}

/// A text of the page: `t!("key")`, `t!("key", name = value)`, and for texts that depend on a number
/// `t!(n; "key")`. A key that is written out is checked by the compiler.
macro_rules! t {
    ($key:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        const _: () = assert!($crate::state::message_keys::has($key, &[$(stringify!($name)),*]), "no such message");
        $crate::i18n::messages::text($key, &[$((stringify!($name), $value.to_string())),*])
    }};
    ($n:expr; $key:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        const _: () = assert!($crate::state::message_keys::has($key, &[$(stringify!($name)),*]), "no such message");
        $crate::i18n::messages::plural($key, $n, &[$((stringify!($name), $value.to_string())),*])
    }};
    ($key:expr $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::i18n::messages::text($key, &[$((stringify!($name), $value.to_string())),*])
    };
    ($n:expr; $key:expr $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::i18n::messages::plural($key, $n, &[$((stringify!($name), $value.to_string())),*])
    };
}
pub(crate) use t;
