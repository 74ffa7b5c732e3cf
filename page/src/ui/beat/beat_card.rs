//! The game against the router: a marked token, the experts to choose from, the loss after each choice, and the score.

use crate::i18n::format;
use crate::i18n::messages::{say, t};
use crate::routing::Trace;
use crate::routing::dossier::Dossier;
use crate::state::beat::{Game, Round, Score};
use crate::state::shared::Shared;
use crate::state::{Action, GameStep};
use crate::ui::inspect::dossier::domain_name;
use crate::ui::parts::icon::icon;
use crate::ui::strip::token_text::quoted;
use yew::prelude::*;

/// Characters before the marked token that are shown.
const BEFORE: usize = 120;

#[derive(Properties, PartialEq)]
pub struct BeatCardProps {
    pub game: Shared<Game>,
    pub trace: Shared<Trace>,
    /// The model's dossiers, for a hint about each expert.
    pub dossier: Option<Shared<Dossier>>,
    pub dispatch: Callback<Action>,
}

/// The card.
#[component]
pub fn BeatCard(props: &BeatCardProps) -> Html {
    let game = &*props.game;
    let end = props.dispatch.reform(|_: MouseEvent| Action::Game(GameStep::End));
    let content = match (&game.failed, game.outcome(), game.token()) {
        (Some(failed), ..) => html! { <p class="notice problem" role="alert">{ say(failed) }</p> },
        (None, outcome, Some(position)) => round(props, position, outcome),
        (None, ..) => game.score().map_or_else(Html::default, |score| the_end(&score, props)),
    };
    let heading = match game.token() {
        Some(_) => t!(
            "beat.round",
            round = if game.shown { game.rounds.len() } else { game.rounds.len() + 1 },
            of = game.tokens.len(),
            layer = game.layer
        ),
        None => t!("beat.over"),
    };
    html! {
        <section class="card beat" aria-labelledby="beat-title" data-testid="beat" data-place="beat"
            data-position={game.token().map(|position| position.to_string())}
                data-round={game.rounds.len().to_string()} data-shown={game.shown.to_string()}>
            <div class="head">
                <h2 id="beat-title">{ t!("beat.title") }</h2>
                <p role="status">{ heading }</p>
                <button type="button" class="quiet icon-only" onclick={end} aria-label={t!("beat.close")}>
                    { icon("close") }</button>
            </div>
            { content }
        </section>
    }
}

/// The marked token, the experts, and the loss after the visitor's choice.
fn round(props: &BeatCardProps, position: usize, outcome: Option<&Round>) -> Html {
    let game = &*props.game;
    let next = props.dispatch.reform(|_: MouseEvent| Action::Game(GameStep::Next));
    let last = game.rounds.len() == game.tokens.len();
    html! {
        <>
            { context(&props.trace, position, outcome.is_some()) }
            <p>{ t!(game.size; "beat.ask") }</p>
            { experts(props, outcome) }
            if let Some(outcome) = outcome {
                { costs(outcome) }
                <p class="row wrap">
                    <button type="button" class="primary" onclick={next} data-testid="beat-next">
                        { if last { t!("beat.score") } else { t!("beat.next") } }
                    </button>
                    if let Some(score) = game.score() {
                        <span class="soft" data-testid="beat-so-far">
                            { t!(score.rounds; "beat.so-far", mine = format::decimal(score.mine),
                                router = format::decimal(score.router)) }
                        </span>
                    }
                </p>
            }
        </>
    }
}

/// The text up to the token; after the round, with the token that follows.
fn context(trace: &Trace, position: usize, shown: bool) -> Html {
    let text: String = trace.tokens[..position].iter().map(|token| token.text.as_str()).collect();
    let start = text.char_indices().rev().nth(BEFORE).map_or(0, |(at, _)| at);
    let token = &trace.tokens[position];
    let next = trace.tokens.get(position + 1).filter(|_| shown);
    html! {
        <p class="beat-text" translate="no">
            if start > 0 { { "\u{2026}" } }
            <span class="soft-text">{ text[start..].to_owned() }</span><mark>{ &token.text }</mark>
            if let Some(next) = next {
                <u data-testid="beat-came">
                    { quoted(&next.text, next.bytes.as_deref()).trim_matches(['\u{201c}', '\u{201d}']).to_owned() }</u>
            } else {
                <span class="beat-hidden" aria-label={t!("beat.hidden")} role="img">{ "?" }</span>
            }
        </p>
    }
}

/// A button for each expert, with a hint about what it handles.
fn experts(props: &BeatCardProps, outcome: Option<&Round>) -> Html {
    let game = &*props.game;
    let experts = props.trace.layer(game.layer).map_or(0, |layer| layer.experts) as u32;
    let buttons = (0..experts).map(|expert| {
        let picked = game.picked.contains(&expert);
        let routed = outcome.is_some_and(|round| round.tried.router.contains(&expert));
        let best = outcome.is_some_and(|round| round.tried.best().experts.contains(&expert));
        let pick = props.dispatch.reform(move |_: MouseEvent| Action::Game(GameStep::Pick(expert)));
        html! {
            <button key={expert} type="button" class="beat-expert" data-testid="beat-expert"
                data-expert={expert.to_string()}
                data-e={expert.to_string()} aria-pressed={picked.to_string()} disabled={outcome.is_some()}
                    onclick={pick}>
                <b>{ expert }</b>
                <small>{ hint(props, expert) }</small>
                if outcome.is_some() {
                    <small class="beat-who">
                        { [(picked, "beat.who.you"), (routed, "beat.who.router"), (best, "beat.who.best")]
                            .into_iter().filter(|(is, _)| *is).map(|(_, key)| t!(key)).collect::<Vec<_>>().join(", ") }
                    </small>
                }
            </button>
        }
    });
    html! { <div class="beat-experts" role="group" aria-label={t!("beat.experts")}>{ for buttons }</div> }
}

/// The kind of text that is most over-represented in what the expert handles.
fn hint(props: &BeatCardProps, expert: u32) -> Option<String> {
    let dossier = props.dossier.as_deref()?;
    let layer = dossier.layers.iter().find(|layer| layer.layer == props.game.layer)?;
    let domains = &layer.experts.get(expert as usize)?.domains;
    let lift =
        |index: usize| domains[index] / (dossier.domains[index].tokens as f32 / dossier.tokens.max(1) as f32).max(1e-6);
    let most = (0..domains.len()).max_by(|&a, &b| lift(a).total_cmp(&lift(b)))?;
    Some(domain_name(dossier, most))
}

/// The loss of the next token after each choice, as bars.
fn costs(round: &Round) -> Html {
    let (router, best, mean) = (round.router(), round.tried.best(), round.tried.mean());
    let longest = [round.bits, router, best.bits, mean].into_iter().fold(0.1, f64::max);
    let names = |experts: &[u32]| {
        let mut experts = experts.to_vec();
        experts.sort_unstable();
        experts.iter().map(u32::to_string).collect::<Vec<_>>().join("+")
    };
    let row = |who: &'static str, label: String, bits: f64| {
        html! {
            <li key={who} data-testid="beat-row" data-who={who} data-bits={format!("{bits:.4}")}>
                <span>{ label }</span>
                <div class="meter"><s style={format!("width:{:.1}%", bits / longest * 100.0)}></s></div>
                <b>{ t!("beat.bits", bits = format::decimal(bits)) }</b>
            </li>
        }
    };
    html! {
        <>
            <h3>{ t!("beat.costs") }</h3>
            <ol class="beat-costs">
                { row("you", t!("beat.row.you", experts = names(&round.mine)), round.bits) }
                { row("router", t!("beat.row.router", experts = names(&round.tried.router)), router) }
                { row("best", t!("beat.row.best", experts = names(&best.experts)), best.bits) }
                { row("chance", t!(round.tried.sets.len(); "beat.row.chance"), mean) }
            </ol>
        </>
    }
}

/// The means over all rounds, and what they show.
fn the_end(score: &Score, props: &BeatCardProps) -> Html {
    let again = props.dispatch.reform(|_: MouseEvent| Action::Game(GameStep::Begin));
    let figure = |bits: f64| format::decimal(bits);
    let lesson = if score.router < score.chance {
        t!(
            score.rounds;
            "beat.lesson",
            saved = figure(score.chance - score.router),
            left = figure(score.router - score.best),
            best = score.router_best
        )
    } else {
        t!(score.rounds; "beat.lesson.none", router = figure(score.router), chance = figure(score.chance))
    };
    html! {
        <>
            <p class="sum" data-testid="beat-score">
                { t!(score.rounds; "beat.end", mine = figure(score.mine), router = figure(score.router),
                    best = figure(score.best), chance = figure(score.chance)) }
            </p>
            <p>{ t!(score.rounds; "beat.won", won = score.won) }{ " " }{ lesson }</p>
            <button type="button" class="primary" onclick={again} data-testid="beat-again">{ t!("beat.again") }</button>
        </>
    }
}
