//! The strip in parts of some dozen tokens. A part draws again only where something in it changed; and of the parts
//! that changed, a frame draws a few: however much changes at once (another layer, an edit at the start of a long
//! text), the page stays quick.

use super::canvas::next_frame;
use super::messages::t;
use super::shared::Shared;
use super::token_chip::Chip;
use gloo::utils::document;
use yew::prelude::*;

/// Tokens of a part, about.
pub const PART: usize = 24;

/// Work of a frame, about: so many tokens are put in their places.
const A_FRAME: usize = 48;

/// Tokens that only get other colours and numbers in the time of one that gets a place: the line's breaks stay.
const RECOLOURED: usize = 4;

/// Shortest time from one frame to the next.
const FRAME_MS: f64 = 12.0;

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

#[derive(Properties, PartialEq)]
pub struct StripPartProps {
    pub pieces: Shared<Vec<Piece>>,
}

/// A part.
#[component]
pub fn StripPart(props: &StripPartProps) -> Html {
    let piece = |(index, piece): (usize, &Piece)| match piece {
        Piece::Token(chip) => chip.view(),
        Piece::Character(chips) => {
            let character = chips.last().map_or("", |chip| &chip.text);
            html! {
                <span key={format!("c{index}")} class="pieces" role="group" aria-label={t!("strip.pieces", character = character)}>
                    { for chips.iter().map(Chip::view) }
                </span>
            }
        }
        Piece::Break => html! { <span key={format!("b{index}")} class="break" role="presentation"></span> },
    };
    props.pieces.iter().enumerate().map(piece).collect()
}

/// The parts to draw now on the way to `wanted`, and whether more is to be drawn: then the component draws again in
/// the next frame. While more is to `come`, what stands behind it stays: it will be put in its place.
#[hook]
pub fn use_parts(wanted: Vec<Vec<Piece>>, come: bool) -> (Vec<Shared<Vec<Piece>>>, bool) {
    let drawn = use_mut_ref(Drawn::default);
    let again = use_force_update();
    let mut drawn = drawn.borrow_mut();
    let behind = drawn.go_on(wanted, come);
    use_effect(move || {
        let frame = behind.then(|| next_frame(move || again.force_update()));
        move || drop(frame)
    });
    (drawn.parts.clone(), behind)
}

/// What is drawn so far.
#[derive(Default)]
struct Drawn {
    parts: Vec<Shared<Vec<Piece>>>,
    /// Tokens that may still be drawn in this frame.
    left: usize,
    /// When this frame began.
    began: f64,
}

impl Drawn {
    /// Goes on towards `wanted`; true where more is left to do.
    fn go_on(&mut self, wanted: Vec<Vec<Piece>>, come: bool) -> bool {
        if !come {
            self.parts.truncate(wanted.len());
        }
        let now = js_sys::Date::now();
        if document().hidden() {
            // A page in the background has no frames.
            self.left = usize::MAX;
        } else if now - self.began >= FRAME_MS {
            (self.left, self.began) = (A_FRAME, now);
        }
        for (index, pieces) in wanted.into_iter().enumerate() {
            let old = self.parts.get(index);
            if old.is_some_and(|old| **old == pieces) {
                continue;
            }
            if self.left == 0 {
                return true;
            }
            let stay = old.is_some_and(|old| same_texts(old, &pieces));
            let work = if stay { pieces.len().div_ceil(RECOLOURED) } else { pieces.len() };
            self.left = self.left.saturating_sub(work);
            match self.parts.get_mut(index) {
                Some(old) => *old = Shared::new(pieces),
                None => self.parts.push(Shared::new(pieces)),
            }
        }
        false
    }
}

/// Whether the tokens stay where they are.
fn same_texts(old: &[Piece], new: &[Piece]) -> bool {
    let same = |(old, new): (&Piece, &Piece)| match (old, new) {
        (Piece::Token(old), Piece::Token(new)) => (old.position, &old.text) == (new.position, &new.text),
        (Piece::Character(old), Piece::Character(new)) => old.len() == new.len(),
        (old, new) => old == new,
    };
    old.len() == new.len() && old.iter().zip(new).all(same)
}
