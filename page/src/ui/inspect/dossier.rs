//! What an expert handles in many held-out texts, from the model's `experts.json`.

use crate::i18n::format;
use crate::i18n::messages::{name_of, t};
use crate::routing::dossier::{Context, Dossier, ExpertDossier, SpecificToken};
use crate::state::ExpertOf;
use crate::state::shared::Shared;
use crate::ui::strip::token_text::quoted;
use yew::prelude::*;

/// The least share of a domain that is labelled on the bar; a smaller share suffices to be listed.
const FOR_NAME: f32 = 0.12;
const FOR_LIST: f32 = 0.02;
/// Tokens and contexts that are shown at first.
const TOKENS: usize = 18;
const CONTEXTS: usize = 4;

#[derive(Properties, PartialEq)]
pub struct DossierViewProps {
    pub dossier: Shared<Dossier>,
    pub expert: ExpertOf,
}

/// Domains, most specific tokens and example contexts of one expert.
#[component]
pub fn DossierView(props: &DossierViewProps) -> Html {
    let layer = props.dossier.layers.iter().find(|layer| layer.layer == props.expert.layer);
    let found = layer.and_then(|layer| layer.experts.get(props.expert.expert as usize));
    let Some(expert) = found else { return html! {} };
    let count = format::compact(props.dossier.tokens as f64);
    html! {
        <div class="dossier" data-testid="dossier">
            <h3>{ t!("dossier.title", tokens = count) }</h3>
            { domains(&props.dossier, expert) }
            <h3>{ t!("dossier.tokens") }</h3>
            <div class="likes">{ for expert.tokens.iter().take(TOKENS).map(token) }</div>
            if !expert.contexts.is_empty() {
                <h3>{ t!("dossier.contexts") }</h3>
                <ul class="contexts">
                    { for expert.contexts.iter().take(CONTEXTS).map(|context| context_view(&props.dossier, context)) }
                </ul>
            }
        </div>
    }
}

/// The share of each kind of text in what the expert handles, largest first, as a bar and in words.
fn domains(dossier: &Dossier, expert: &ExpertDossier) -> Html {
    let mut shares: Vec<(usize, f32)> = expert.domains.iter().copied().enumerate().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let name = |index: usize| domain_name(dossier, index);
    let parts = shares.iter().enumerate().map(|(rank, &(index, share))| {
        let style = format!("flex:{share:.4} 0 0;--strength:{}%", 44_usize.saturating_sub(9 * rank).max(10));
        let title = format!("{} {}", name(index), format::percent(f64::from(share)));
        html! { <s key={index} {style} {title}>{ (share >= FOR_NAME).then(|| name(index)) }</s> }
    });
    let (large, small): (Vec<_>, Vec<_>) = shares.iter().partition(|(_, share)| *share >= FOR_LIST);
    let mut words: Vec<String> =
        large.iter().map(|(index, share)| format!("{} {}", name(*index), format::percent(f64::from(*share)))).collect();
    let rest: f32 = small.iter().map(|(_, share)| share).sum();
    if rest > 0.005 {
        words.push(t!("dossier.rest", share = format::percent(f64::from(rest))));
    }
    html! {
        <>
            <div class="part-bar" aria-hidden="true">{ for parts }</div>
            <p class="hint">{ words.join(", ") }</p>
            <p class="hint">{ t!("dossier.load", load = format::percent(f64::from(expert.load)),
                domain = format::decimal(f64::from(expert.domain_information)),
                token = format::decimal(f64::from(expert.token_information))) }</p>
        </>
    }
}

fn token(token: &SpecificToken) -> Html {
    let share = format::percent(f64::from(token.share));
    let title = t!("dossier.token", share = share, lift = format::tenth(f64::from(token.lift)), count = token.count);
    html! { <span class="code" {title}>{ quoted(&token.text, None) }<small>{ format!(" {share}") }</small></span> }
}

fn context_view(dossier: &Dossier, context: &Context) -> Html {
    let domain = domain_name(dossier, context.domain);
    html! {
        <li>
            <span class="soft">{ domain }</span>{ " " }
            <code>{ one_line(&context.before) }<mark>{ one_line(&context.token) }</mark>{ one_line(&context.after) }
                </code>
        </li>
    }
}

/// The name of a kind of text.
pub fn domain_name(dossier: &Dossier, index: usize) -> String {
    dossier.domains.get(index).map_or_else(String::new, |domain| name_of("domain", &domain.name, &domain.name))
}

/// A text on one line, with signs for its line breaks.
fn one_line(text: &str) -> String {
    text.replace('\n', "\u{23ce}").replace('\t', "\u{21e5}")
}
