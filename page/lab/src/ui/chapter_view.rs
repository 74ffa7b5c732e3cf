//! A chapter: a column of text beside a picture that stays and changes as one reads.

use crate::address::Run;
use crate::chapter::{Card, Chapter, Paragraph, Picture, Try};
use crate::goal::{Goal, Measures};
use crate::site::{self, fetch_json};
use crate::ui::app::set_state;
use crate::ui::lab_view::LabView;
use crate::ui::pictures::{Figures, draw};
use crate::ui::words::{Names, filled, marked};
use gloo::events::EventListener;
use gloo::utils::{document, window};
use moescope_common::icon::icon;
use moescope_common::messages::of_languages;
use moescope_common::t;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, KeyboardEvent, ScrollBehavior, ScrollIntoViewOptions, ScrollLogicalPosition};
use yew::prelude::*;

/// The paragraph that has passed this part of the window is the one that is read.
const READING_LINE: f64 = 0.6;

/// An event of a chapter.
pub enum Message {
    /// The chapter has been loaded.
    Came(Option<Box<Chapter>>),
    /// The reader scrolled.
    Scrolled,
    /// The reader goes on or back by paragraphs.
    Turn(isize),
    /// The picture's figures.
    Figures(Figures),
}

#[derive(Properties, PartialEq)]
pub struct ChapterProps {
    pub cards: Rc<Vec<Card>>,
    /// Which of them.
    pub at: usize,
    pub dark: bool,
}

/// A chapter.
pub struct ChapterView {
    chapter: Option<Rc<Chapter>>,
    failed: bool,
    /// The paragraph that is read.
    paragraph: usize,
    picture: Option<Rc<Picture>>,
    run: Rc<Run>,
    measures: Measures,
    names: Names,
    /// Which of the things to try have been seen.
    seen: Vec<bool>,
    /// The paragraphs with the figures that they had when they were read.
    said: Vec<Option<String>>,
    _listeners: Vec<EventListener>,
}

impl Component for ChapterView {
    type Message = Message;
    type Properties = ChapterProps;

    fn create(context: &Context<Self>) -> Self {
        set_state("loading");
        let link = context.link();
        let path = site::file(&format!("chapters/{}.json", context.props().cards[context.props().at].name));
        let came = link.callback(Message::Came);
        wasm_bindgen_futures::spawn_local(async move {
            came.emit(fetch_json::<Chapter>(&path).await.map(Box::new));
        });
        let scrolled = link.callback(|()| Message::Scrolled);
        let scrolled = EventListener::new(&window(), "scroll", move |_| scrolled.emit(()));
        let turned = link.callback(Message::Turn);
        let keys = EventListener::new(&document(), "keydown", move |event| {
            let Some(event) = event.dyn_ref::<KeyboardEvent>() else { return };
            let is_elsewhere = event.target().and_then(|target| target.dyn_into::<HtmlElement>().ok());
            let is_elsewhere = is_elsewhere
                .is_some_and(|element| ["INPUT", "SELECT", "TEXTAREA"].contains(&element.tag_name().as_str()));
            match event.key().as_str() {
                "ArrowRight" if !is_elsewhere => turned.emit(1),
                "ArrowLeft" if !is_elsewhere => turned.emit(-1),
                _ => {}
            }
        });
        Self {
            chapter: None,
            failed: false,
            paragraph: 0,
            picture: None,
            run: Rc::default(),
            measures: Measures::new(),
            names: Names::new(),
            seen: Vec::new(),
            said: Vec::new(),
            _listeners: vec![scrolled, keys],
        }
    }

    fn update(&mut self, _: &Context<Self>, message: Message) -> bool {
        match message {
            Message::Came(chapter) => {
                self.failed = chapter.is_none();
                self.chapter = chapter.map(|chapter| Rc::new(*chapter));
                self.seen = vec![false; self.chapter.as_ref().map_or(0, |chapter| chapter.tries.len())];
                self.said = vec![None; self.chapter.as_ref().map_or(0, |chapter| chapter.body.len())];
                self.show();
                set_state(if self.failed { "error" } else { "ready" });
            }
            Message::Scrolled => {
                let read = paragraphs().iter().rposition(|element| {
                    let height = window().inner_height().ok().and_then(|height| height.as_f64()).unwrap_or(800.0);
                    element.get_bounding_client_rect().top() < height * READING_LINE
                });
                let read = read.unwrap_or(0);
                if read == self.paragraph {
                    return false;
                }
                self.paragraph = read;
                self.show();
            }
            Message::Turn(by) => {
                let count = self.chapter.as_ref().map_or(0, |chapter| chapter.body.len());
                let next = self.paragraph.saturating_add_signed(by).min(count.saturating_sub(1));
                if let Some(element) = paragraphs().get(next) {
                    let options = ScrollIntoViewOptions::new();
                    options.set_block(ScrollLogicalPosition::Center);
                    options.set_behavior(ScrollBehavior::Auto);
                    element.scroll_into_view_with_scroll_into_view_options(&options);
                }
                self.paragraph = next;
                self.show();
            }
            Message::Figures((measures, names)) => {
                self.measures = measures;
                self.names = names;
                let tries = self.chapter.as_ref().map_or(&[][..], |chapter| &chapter.tries[..]);
                for (seen, one) in self.seen.iter_mut().zip(tries) {
                    *seen |= goal(one.goal.as_deref()).is_some_and(|goal| goal.is_reached(&self.measures));
                }
                let read = self.chapter.as_ref().and_then(|chapter| chapter.body.get(self.paragraph));
                let words = read.and_then(|read| filled(&of_languages(&read.say), &self.measures, &self.names));
                if let Some(said) = self.said.get_mut(self.paragraph) {
                    *said = words;
                }
            }
        }
        true
    }

    fn view(&self, context: &Context<Self>) -> Html {
        let props = context.props();
        if self.failed {
            return html! { <p class="problem" data-testid="error" role="alert">{ t!("learn.missing") }</p> };
        }
        let Some(chapter) = &self.chapter else { return html! { <p class="empty">{ t!("loading") }</p> } };
        let picture = self.picture(context);
        html! {
            <article class="chapter" data-testid="chapter"
                data-chapter={chapter.name.clone()} data-paragraph={self.paragraph.to_string()}>
                <div class="chapter-text">
                    <p class="chapter-of">
                        <a href="#/learn">{ t!("learn.title") }</a>{ t!("chapter.number", n = chapter.number) }</p>
                    <h1>{ of_languages(&chapter.title) }</h1>
                    <p class="claim" data-testid="claim">{ of_languages(&chapter.claim) }</p>
                    { for chapter.body.iter().enumerate().map(|(at, paragraph)| {
                        let is_read = at == self.paragraph;
                        html! {
                            <p key={at} class={classes!("paragraph", is_read.then_some("is-read"))}
                                data-testid="paragraph">{ self.paragraph(chapter, at, paragraph) }</p>
                        }
                    }) }
                    { for chapter.tries.iter().zip(&self.seen).map(|(one, seen)| self.to_try(one, *seen)) }
                    { self.question(chapter) }
                    { after(chapter, props) }
                </div>
                if let Some(picture) = picture {
                    <div class="chapter-picture" data-testid="picture">{ picture }</div>
                }
            </article>
        }
    }
}

impl ChapterView {
    /// The picture of the paragraph that is read.
    fn show(&mut self) {
        let Some(chapter) = &self.chapter else { return };
        // A test reads every chapter.
        let picture = chapter.picture_at(self.paragraph).unwrap_or_else(|_| chapter.picture.clone());
        if let Picture::Lab { settings, beside, .. } = &picture {
            let run = Run { settings: settings.clone(), beside: Some(beside.clone()), ..Run::default() };
            if *self.run != run {
                self.run = Rc::new(run);
            }
        }
        self.picture = Some(Rc::new(picture));
    }

    /// The picture; none before the chapter is there.
    fn picture(&self, context: &Context<Self>) -> Option<Html> {
        let dark = context.props().dark;
        let picture = self.picture.as_ref()?;
        Some(match &**picture {
            Picture::Lab { lab, controls, .. } => {
                let figures = context.link().callback(|measures| Message::Figures((measures, Names::new())));
                html! {
                    <LabView lab={*lab} run={self.run.clone()} {dark} chosen={Rc::new(controls.clone())} {figures} />
                }
            }
            _ => draw(picture, dark, context.link().callback(Message::Figures)),
        })
    }

    /// A paragraph. Its figures are those of its own picture: of one that is not shown now, those that it had when it
    /// was read.
    fn paragraph(&self, chapter: &Chapter, at: usize, paragraph: &Paragraph) -> Html {
        let text = of_languages(&paragraph.say);
        let is_shown = chapter.picture_at(at).ok().as_ref() == self.picture.as_deref();
        if is_shown {
            return self.words(&text);
        }
        match self.said.get(at).cloned().flatten() {
            Some(said) => marked(&said),
            None => self.open(&text),
        }
    }

    /// A text with figures where there are some by now.
    fn words(&self, text: &str) -> Html {
        match filled(text, &self.measures, &self.names) {
            Some(text) => marked(&text),
            None => self.open(text),
        }
    }

    /// A text whose figures are not known yet.
    fn open(&self, text: &str) -> Html {
        let part = |(number, part): (usize, &str)| match part.split_once('}') {
            Some((_, rest)) if number > 0 => format!("\u{2026}{rest}"),
            _ => part.to_owned(),
        };
        marked(&text.split('{').enumerate().map(part).collect::<String>())
    }

    fn to_try(&self, one: &Try, seen: bool) -> Html {
        html! {
            <section class="try" data-testid="try" data-seen={seen.to_string()}>
                <h2>{ t!("chapter.try") }</h2>
                <p>{ self.words(&of_languages(&one.task)) }</p>
                <p class="expected">
                    if seen { <span class="seen">{ icon("check") }{ t!("chapter.seen") }</span> }
                    { self.words(&of_languages(&one.see)) }</p>
            </section>
        }
    }

    fn question(&self, chapter: &Chapter) -> Html {
        let question = &chapter.question;
        let may = goal(question.after.as_deref()).is_none_or(|goal| goal.is_reached(&self.measures));
        let answer = may.then(|| filled(&of_languages(&question.answer), &self.measures, &self.names)).flatten();
        html! {
            <section class="question" data-testid="question" data-answered={answer.is_some().to_string()}>
                <h2>{ t!("chapter.question") }</h2>
                <p>{ of_languages(&question.ask) }</p>
                <details>
                    <summary>{ t!("chapter.answer") }</summary>
                    <p data-testid="answer">{ answer.unwrap_or_else(|| t!("chapter.first")) }</p>
                </details>
            </section>
        }
    }
}

fn goal(text: Option<&str>) -> Option<Goal> {
    Goal::parse(text?).ok()
}

fn paragraphs() -> Vec<Element> {
    let Ok(list) = document().query_selector_all("[data-testid=paragraph]") else { return Vec::new() };
    (0..list.length()).filter_map(|at| list.get(at)?.dyn_into().ok()).collect()
}

/// Where to go from here.
fn after(chapter: &Chapter, props: &ChapterProps) -> Html {
    let sources = chapter.sources.iter().map(|source| {
        html! {
            <li key={source.address.clone()}>
                <a href={source.address.clone()} target="_blank" rel="noreferrer">{ &source.title }</a></li>
        }
    });
    let card = |at: Option<usize>, class: &'static str| {
        let card = at.and_then(|at| props.cards.get(at));
        card.map(|card| {
            html! {
                <a {class} href={format!("#/learn/{}", card.name)}>{ of_languages(&card.title) }</a>
            }
        })
    };
    html! {
        <footer class="chapter-end">
            <p class="chapter-doors">
                <a class="button" data-testid="explore-link" href={chapter.explore.clone()}>
                    { t!("chapter.explore") }</a>
                if let Some(lab) = chapter.lab {
                    <a class="button" data-testid="lab-door" href={format!("#/lab/{}", lab.as_str())}>
                        { t!("chapter.lab") }</a>
                }
            </p>
            <h2>{ t!("chapter.sources") }</h2>
            <ul class="sources">{ for sources }</ul>
            <nav class="chapter-turn" aria-label={t!("chapter.turn")}>
                { for card(props.at.checked_sub(1), "chapter-back") }
                { for card(Some(props.at + 1), "chapter-on") }
            </nav>
        </footer>
    }
}
