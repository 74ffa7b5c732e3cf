//! Texts of chapters as they are seen: places filled, words in the colours of the picture.

use crate::goal::Measures;
use crate::markup::{Piece, pieces};
use moescope_common::format;
use moescope_common::messages::fill;
use std::collections::BTreeMap;
use yew::prelude::*;

/// Names that fill places beside the figures: tokens, models, kinds of text.
pub type Names = BTreeMap<String, String>;

/// `text` with its places filled; `None` where a figure is not there yet.
pub fn filled(text: &str, measures: &Measures, names: &Names) -> Option<String> {
    let mut places: Vec<(&str, String)> = Vec::new();
    for name in text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)) {
        let value = match names.get(name) {
            Some(words) => words.clone(),
            None => figure(name, *measures.get(name)?),
        };
        places.push((name, value));
    }
    Some(fill(text, &places))
}

/// A figure in the reader's way of writing: shares in percent, counts whole, all else with two digits.
pub fn figure(name: &str, value: f64) -> String {
    let is_part = ["share", "sharpness", "accuracy", "weight", "dropped", "top-share", "busiest-part"];
    let first = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    let is_share = is_part.contains(&first) || name.ends_with("-share") || name.ends_with("-weight");
    if is_share || name.starts_with("dropped-m") {
        return if value > 0.0 && value < 0.1 {
            format!("{}%", format::tenth(value * 100.0))
        } else {
            format::percent(value)
        };
    }
    if ["total", "active"].contains(&name) {
        return format::compact(value * 1e9);
    }
    if value.fract() == 0.0 || value.abs() >= 1000.0 {
        return format::count(value);
    }
    if name == "memory" || name.ends_with("mflop") {
        return format::tenth(value);
    }
    if name.ends_with("seconds") { format::count(value) } else { format::decimal(value) }
}

/// The colour number of what a picture calls `key`.
pub fn colour_of(key: &str) -> Option<u32> {
    Some(match key {
        "main" | "competitive" => 0,
        "dense" | "collapse" | "cooperative" => 5,
        "dense-wide" | "switch" => 2,
        "noisy-top-k" => 1,
        "hierarchical" => 3,
        "fine-grained" => 6,
        other => other.parse().ok()?,
    })
}

/// A text with its markup.
pub fn marked(text: &str) -> Html {
    let shown = pieces(text).into_iter().map(|piece| match piece {
        Piece::Plain(words) => html! { { words } },
        Piece::Strong(words) => html! { <strong>{ words }</strong> },
        Piece::Coloured { key, words } => {
            let colour = colour_of(&key).map(|number| number.to_string());
            html! { <span class="in-colour" data-e={colour}>{ words }</span> }
        }
    });
    html! { { for shown } }
}
