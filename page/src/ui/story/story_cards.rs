//! A row with a card for each story.

use crate::i18n::messages::of_languages;
use crate::i18n::messages::t;
use crate::state::Action;
use crate::state::shared::Shared;
use crate::state::story::Card;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct StoryCardsProps {
    pub cards: Shared<Vec<Card>>,
    /// The name of the story in progress.
    pub told: Option<String>,
    pub dispatch: Callback<Action>,
}

/// The row.
#[component]
pub fn StoryCards(props: &StoryCardsProps) -> Html {
    let cards = props.cards.iter().map(|card| {
        let pressed = props.told.as_ref() == Some(&card.name);
        let name = card.name.clone();
        let tell = props.dispatch.reform(move |_: MouseEvent| Action::Story((!pressed).then(|| name.clone())));
        html! {
            <button key={card.name.clone()} type="button" class="story" data-testid="story"
                data-story={card.name.clone()}
                aria-pressed={pressed.to_string()} onclick={tell}>
                <span class="story-dot" data-e={card.colour.to_string()} aria-hidden="true"></span>
                    { of_languages(&card.title) }
            </button>
        }
    });
    html! { <div class="stories" role="group" aria-label={t!("story.label")}>{ for cards }</div> }
}
