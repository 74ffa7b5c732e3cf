//! The history of views, for undo and redo. The text is not part of it: the browser's own undo reverts edits.

use crate::training_snapshot::Moment;
use crate::{ColourBy, ExpertOf, LayerChoice, Picture};
use moescope::routing::Policy;
use moescope_worker::protocol::Source;

/// Number of views that are kept.
const MOST: usize = 200;

/// A view of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Source and name of the model.
    pub model: Option<(Source, Option<String>)>,
    /// See [`crate::State`], as all below.
    pub layer: LayerChoice,
    /// The picture.
    pub picture: Picture,
    /// What colours mean.
    pub colour_by: ColourBy,
    /// The chosen token.
    pub pinned: Option<usize>,
    /// The end of the chosen range.
    pub range_end: Option<usize>,
    /// What is searched for.
    pub search: String,
    /// The chosen expert.
    pub expert: Option<ExpertOf>,
    /// The model compared with.
    pub compare: Option<String>,
    /// What is changed about that one's routing.
    pub compare_policy: Policy,
    /// The moment of the training.
    pub past: Option<Moment>,
    /// What is changed about the routing.
    pub policy: Policy,
}

impl Place {
    /// Whether `self` differs from `other` only in a value that changes in small steps, such as a search text or a
    /// slider.
    fn goes_on_from(&self, other: &Self) -> bool {
        let typed = !self.search.is_empty() && !other.search.is_empty();
        let pulled = self.past.is_some() && other.past.is_some();
        let same = Self { search: other.search.clone(), past: other.past, ..self.clone() };
        let slid = Self { policy: other.policy.clone(), ..self.clone() };
        let same_fields = fields(&self.policy) == fields(&other.policy);
        ((typed || pulled) && same == *other) || (slid == *other && same_fields && self.policy != other.policy)
    }
}

/// The views before and after the current one.
#[derive(Clone, Debug, Default)]
pub struct History {
    back: Vec<Place>,
    forth: Vec<Place>,
}

impl History {
    /// Records that the visitor changed the view from `old` to `new`.
    pub fn went(&mut self, old: Place, new: &Place) {
        self.forth.clear();
        let on_the_way = self.back.last().is_some_and(|last| old.goes_on_from(last)) && new.goes_on_from(&old);
        if !on_the_way {
            self.back.push(old);
        }
        if self.back.len() > MOST {
            self.back.remove(0);
        }
    }

    /// Returns the view before `present`.
    pub fn back(&mut self, present: Place) -> Option<Place> {
        let place = self.back.pop()?;
        self.forth.push(present);
        Some(place)
    }

    /// Returns the view that was left by [`Self::back`].
    pub fn forth(&mut self, present: Place) -> Option<Place> {
        let place = self.forth.pop()?;
        self.back.push(present);
        Some(place)
    }

    /// Whether there is a view to go back to.
    pub fn has_back(&self) -> bool {
        !self.back.is_empty()
    }
}

/// A policy without its numbers, so that moving a slider counts as one change.
fn fields(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    for rule in &mut policy.0 {
        for number in [&mut rule.temperature, &mut rule.noise, &mut rule.capacity_factor] {
            *number = number.map(|_| 1.0);
        }
        rule.top_k = rule.top_k.map(|_| 1);
    }
    policy
}
