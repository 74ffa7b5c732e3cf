//! The strip in parts of some dozen tokens. A part draws again only where something in it changed; and of the parts
//! that changed, a frame draws a few: however much changes at once (another layer, an edit at the start of a long
//! text), the page stays quick.

use crate::i18n::messages::t;
use crate::state::shared::Shared;
use crate::ui::browser::canvas::after_painting;
use crate::ui::browser::frame_budget;
use crate::ui::strip::token_chip::{Chip, Reads};
use yew::prelude::*;

/// Tokens of a part, about.
const PART: usize = 24;

/// What stands in the strip.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// A token.
    Token(Chip),
    /// The tokens that are one character's bytes stand together.
    Character(Vec<Chip>),
    /// The text's line ends here.
    Break,
}

/// Some pieces, and a key by which they are known while the text changes around them.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// In the strip there is one part with this key.
    pub key: usize,
    /// What stands in it.
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

/// The parts to draw now on the way to `wanted`, and whether more is to be drawn: then the component draws again in
/// the next frame. While tokens are `to_come`, as many old ones stay at the end: the new tokens will replace them.
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

/// What is drawn so far.
#[derive(Default)]
struct Drawn {
    parts: Vec<Part>,
    /// Parts that there were, which gives each a key of its own.
    keys: usize,
}

impl Drawn {
    /// Goes on towards `wanted`; true where more is left to do.
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

    /// Draws a part that `was` there before, or a new one; false where this frame has no time for it.
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

/// Cuts the `new` pieces into parts. The pieces before and after an edit keep their parts of `old`, which held the
/// `drawn` pieces, so that those are not drawn again. The parts that the edit touches take the new pieces, and are
/// divided where they are twice as long as they should be. Returns each part's key, where it exists already, and its
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
        // One that is not full takes what is written after it.
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

/// The last of the pieces, with so many tokens.
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

/// What it takes a browser, about, to show a piece where `old` was, in the unit of frame_budget.rs.
fn work(old: Option<&Piece>, new: &Piece) -> usize {
    match (old, new) {
        (Some(old), new) if old == new => 0,
        (Some(Piece::Token(old)), Piece::Token(new)) if old.text == new.text => match (&old.reads, &new.reads) {
            // Another place in the text: nobody sees it.
            (old, new) if old == new => 3,
            // Another colour, in the same place of the line.
            (Reads::Layer { experts: old, .. }, Reads::Layer { experts: new, .. }) if old == new => 2,
            _ => 5,
        },
        _ => 8,
    }
}

/// Whether two pieces have the same text: then they differ at most in their place, colours and numbers.
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
