//! The list of chapters, and the tabs of the labs.

use crate::chapter::Card;
use crate::protocol::LabName;
use moescope_common::messages::of_languages;
use moescope_common::t;
use std::rc::Rc;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct ListProps {
    pub cards: Rc<Vec<Card>>,
}

/// The list of chapters.
#[component]
pub fn List(props: &ListProps) -> Html {
    let cards = props.cards.iter().map(|card| {
        html! {
            <li key={card.name.clone()}>
                <a class="chapter-card" href={format!("#/learn/{}", card.name)} data-testid="chapter-link"
                    data-chapter={card.name.clone()}>
                    <span class="chapter-number" data-e={(card.number % 8).to_string()}>{ card.number }</span>
                    <span class="chapter-title">{ of_languages(&card.title) }</span>
                    <span class="chapter-claim">{ of_languages(&card.claim) }</span>
                </a>
            </li>
        }
    });
    html! {
        <div class="learn-list">
            <h1>{ t!("learn.title") }</h1>
            <p class="lead">{ t!("learn.about") }</p>
            <ol class="chapter-list">{ for cards }</ol>
        </div>
    }
}

#[derive(Properties, PartialEq)]
pub struct LabTabsProps {
    pub cards: Rc<Vec<Card>>,
    pub chosen: LabName,
}

/// The labs that there are, and what the chosen one shows.
#[component]
pub fn LabTabs(props: &LabTabsProps) -> Html {
    let tabs = LabName::ALL.into_iter().map(|lab| {
        let name = lab.as_str();
        html! {
            <a key={name} href={format!("#/lab/{name}")} data-testid="lab-link" data-lab={name}
                aria-current={(lab == props.chosen).then_some("page")}>{ t!(&format!("lab.{name}")) }</a>
        }
    });
    let chapter = props.cards.iter().find(|card| card.lab == Some(props.chosen));
    html! {
        <div class="lab-head">
            <nav class="lab-tabs" aria-label={t!("labs")}>{ for tabs }</nav>
            <h1>{ t!(&format!("lab.{}", props.chosen.as_str())) }</h1>
            <p class="lead">{ t!(&format!("lab.{}.about", props.chosen.as_str())) }
                if let Some(chapter) = chapter {
                    { " " }<a href={format!("#/learn/{}", chapter.name)}>{ t!("lab.chapter") }</a>
                }
            </p>
        </div>
    }
}
