//! The strip in parts of a few dozen tokens. A part renders again only if something in it changed, and a frame renders
//! only a few of the changed parts. The page therefore stays responsive when much changes at once, as with another
//! layer or an edit at the start of a long text.

use crate::i18n::messages::t;
use crate::state::shared::Shared;
use crate::ui::browser::canvas::after_painting;
use crate::ui::browser::frame_budget;
use crate::ui::strip::token_chip::{Chip, Reads};
use yew::prelude::*;

/// The approximate number of tokens in a part.
const PART: usize = 24;

/// An element of the strip.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// A token.
    Token(Chip),
    /// The tokens that together are one character.
    Character(Vec<Chip>),
    /// A line break of the text.
    Break,
}

/// Some elements, with a key that stays while the text around them changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The key, which is unique in the strip.
    pub key: usize,
    /// The elements.
    pub pieces: Shared<Vec<Piece>>,
}

#[derive(Properties, PartialEq)]
pub struct StripPartProps {
    pub pieces: Shared<Vec<Piece>>,
}

/// A part.
#[component]
pub fn StripPart(props: &StripPartProps) -> Html {
    let piece = |(index, piece): (usize, &Piece)| match piece {
        Piece::Token(chip) => chip.view(index),
        Piece::Character(chips) => {
            let character = chips.last().map_or("", |chip| &chip.text);
            html! {
                <span key={index} class="pieces" role="group" aria-label={t!("strip.pieces", character = character)}>
                    { for chips.iter().enumerate().map(|(index, chip)| chip.view(index)) }
                </span>
            }
        }
        Piece::Break => html! { <span key={index} class="break" role="presentation"></span> },
    };
    props.pieces.iter().enumerate().map(piece).collect()
}

/// The parts to render now on the way to `wanted`, and whether there is more to render; in that case the component
/// renders again in the next frame. While `to_come` tokens are pending, as many old tokens stay at the end, until the
/// new ones replace them.
#[hook]
pub fn use_parts(wanted: Vec<Piece>, to_come: usize) -> (Vec<Part>, bool) {
    let drawn = use_mut_ref(Drawn::default);
    let again = use_force_update();
    let mut drawn = drawn.borrow_mut();
    let unfinished = drawn.go_on(wanted, to_come);
    use_effect(move || {
        let frame = unfinished.then(|| after_painting(move || again.force_update()));
        move || drop(frame)
    });
    (drawn.parts.clone(), unfinished)
}

/// What has been rendered so far.
#[derive(Default)]
struct Drawn {
    parts: Vec<Part>,
    /// Number of parts made so far, from which each part gets a key of its own.
    keys: usize,
}

impl Drawn {
    /// Renders more of `wanted`; returns true where more is left to do.
    fn go_on(&mut self, mut wanted: Vec<Piece>, to_come: usize) -> bool {
        let drawn: Vec<&Piece> = self.parts.iter().flat_map(|part| part.pieces.iter()).collect();
        wanted.extend(behind(&drawn, to_come).iter().copied().cloned());
        let parts = cut(&self.parts, &drawn, &wanted);
        let mut old = std::mem::take(&mut self.parts).into_iter();
        let mut wanted = wanted.into_iter();
        let mut unfinished = false;
        for (key, length) in parts {
            let pieces: Vec<Piece> = wanted.by_ref().take(length).collect();
            let was = key.and_then(|key| old.find(|part| part.key == key));
            unfinished |= !self.draw(was, pieces);
        }
        unfinished
    }

    /// Renders the part `was`, or a new one; returns false where this frame has no budget for it.
    fn draw(&mut self, was: Option<Part>, pieces: Vec<Piece>) -> bool {
        if let Some(was) = was.as_ref().filter(|was| *was.pieces == pieces) {
            self.parts.push(was.clone());
            return true;
        }
        if !frame_budget::has_time() {
            self.parts.extend(was);
            return false;
        }
        let old = was.iter().flat_map(|was| was.pieces.iter()).map(Some).chain(std::iter::repeat(None));
        let work: usize = old.zip(&pieces).map(|(old, new)| work(old, new)).sum();
        frame_budget::spend(work);
        self.keys += usize::from(was.is_none());
        let key = was.map_or(self.keys, |was| was.key);
        self.parts.push(Part { key, pieces: Shared::new(pieces) });
        true
    }
}

/// Divides the `new` elements into parts. Elements before and after an edit keep their parts in `old`, which has the
/// elements `drawn`, so that they do not render again. Parts at the edit take the new elements, and are divided if
/// they become twice as long as [`PART`]. Returns for each part its index in `old`, if it exists there, and its
/// length.
fn cut(old: &[Part], drawn: &[&Piece], new: &[Piece]) -> Vec<(Option<usize>, usize)> {
    let most = drawn.len().min(new.len());
    let before = drawn.iter().copied().zip(new).take_while(|&pair| same_text(pair)).count();
    let ends = drawn.iter().rev().copied().zip(new.iter().rev()).take(most - before);
    let after = drawn.len() - ends.take_while(|&pair| same_text(pair)).count();

    let (mut parts, mut touched, mut tail) = (Vec::new(), Vec::new(), Vec::new());
    let mut start = 0;
    for part in old {
        let length = part.pieces.len();
        let stop = start + length;
        // A part that is not full takes the elements that are written after it.
        let list = match () {
            () if stop < before || (stop == before && length >= PART) => &mut parts,
            () if start >= after => &mut tail,
            () => &mut touched,
        };
        list.push((Some(part.key), length));
        start = stop;
    }
    let stay: usize = parts.iter().chain(&tail).map(|(_, length)| length).sum();
    let middle = new.len() - stay;
    let (fewest, most) = (middle.div_ceil(2 * PART), middle.div_ceil(PART));
    let count = if touched.is_empty() { most } else { touched.len().clamp(fewest, most) };
    parts.extend((0..count).map(|n| {
        let key = touched.get(n).and_then(|(key, _)| *key);
        (key, middle * (n + 1) / count - middle * n / count)
    }));
    parts.extend(tail);
    parts
}

/// The last elements, with `tokens` tokens in all.
fn behind<'a>(drawn: &'a [&'a Piece], tokens: usize) -> &'a [&'a Piece] {
    let mut left = tokens;
    let fits = |piece: &&&Piece| {
        let length = match piece {
            Piece::Token(_) => 1,
            Piece::Character(chips) => chips.len(),
            Piece::Break => 0,
        };
        let fits = length <= left && left > 0;
        left -= if fits { length } else { 0 };
        fits
    };
    let count = drawn.iter().rev().take_while(fits).count();
    &drawn[drawn.len() - count..]
}

/// The approximate cost of replacing `old` by `new` in the browser, in the work units of frame_budget.rs.
fn work(old: Option<&Piece>, new: &Piece) -> usize {
    match (old, new) {
        (Some(old), new) if old == new => 0,
        (Some(Piece::Token(old)), Piece::Token(new)) if old.text == new.text => match (&old.reads, &new.reads) {
            // Only the position in the text changed, which is not visible.
            (old, new) if old == new => 3,
            // Only the colour changed.
            (Reads::Layer { experts: old, .. }, Reads::Layer { experts: new, .. }) if old == new => 2,
            _ => 5,
        },
        _ => 8,
    }
}

/// Whether two elements have the same text, so that they differ only in position, colours and numbers.
fn same_text((one, other): (&Piece, &Piece)) -> bool {
    match (one, other) {
        (Piece::Token(one), Piece::Token(other)) => one.text == other.text && one.bytes == other.bytes,
        (Piece::Character(one), Piece::Character(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.bytes == other.bytes)
        }
        (Piece::Break, Piece::Break) => true,
        _ => false,
    }
}
