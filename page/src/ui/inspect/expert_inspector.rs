//! One expert: the tokens that it handles in this text, how often it is the first, and the experts that work with it.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::analytics::{Reader, reader};
use crate::routing::dossier::Dossier;
use crate::routing::{Policy, Trace};
use crate::state::changes::{is_off, toggled};
use crate::state::shared::Shared;
use crate::state::{Action, ExpertOf};
use crate::ui::inspect::dossier::DossierView;
use crate::ui::strip::token_text::quoted;
use yew::prelude::*;

/// The most kinds of token that are listed, and the most partners.
const MOST_KINDS: usize = 16;
const MOST_PARTNERS: usize = 4;

#[derive(Properties, PartialEq)]
pub struct ExpertInspectorProps {
    pub trace: Shared<Trace>,
    pub expert: Option<ExpertOf>,
    /// The model's dossiers.
    pub dossier: Option<Shared<Dossier>>,
    /// Whether the expert was chosen; otherwise it follows the token that is shown.
    pub pinned: bool,
    /// The policy; `None` where the routing cannot be changed.
    pub policy: Option<Policy>,
    pub dispatch: Callback<Action>,
}

/// The card.
#[component]
pub fn ExpertInspector(props: &ExpertInspectorProps) -> Html {
    let reader = use_memo((props.trace.clone(), props.expert), |(trace, expert)| {
        let chosen = (*expert)?;
        let layer = trace.layer(chosen.layer)?;
        let ids: Vec<u32> = trace.tokens.iter().map(|token| token.id).collect();
        ((chosen.expert as usize) < layer.experts).then(|| reader(layer, &ids, chosen.expert))
    });
    let (Some(reader), Some(chosen)) = (&*reader, props.expert) else {
        return html! {
            <section class="pane-card" aria-labelledby="expert-title">
                <div class="head"><h2 id="expert-title">{ t!("expert.title") }</h2></div>
                <p class="empty">{ t!("expert.empty") }</p>
            </section>
        };
    };
    let release = props.dispatch.reform(|_: MouseEvent| Action::Expert(None));
    let about = if props.pinned { t!("expert.chosen") } else { t!("expert.follows") };
    html! {
        <section class="pane-card" aria-labelledby="expert-title" data-testid="expert-inspector">
            <div class="head">
                <h2 id="expert-title" class="expert-name" data-e={chosen.expert.to_string()}>
                    { t!("expert.name", expert = chosen.expert, layer = chosen.layer) }
                </h2>
                <p>{ about }</p>
                <div class="row acts">
                    if let Some(policy) = &props.policy { { switch(policy, chosen, &props.dispatch) } }
                    if props.pinned {
                        <button type="button" class="quiet small" onclick={release}>{ t!("token.release") }</button>
                    }
                </div>
            </div>
            { share(reader, props.trace.len()) }
            { kinds(reader, &props.trace, &props.dispatch) }
            { partners(reader, chosen, &props.dispatch) }
            if let Some(dossier) = props.dossier.clone() { <DossierView {dossier} expert={chosen} /> }
        </section>
    }
}

/// A button that switches the expert off in its layer, or on again.
fn switch(policy: &Policy, chosen: ExpertOf, dispatch: &Callback<Action>) -> Html {
    let off = is_off(policy, chosen.layer, chosen.expert);
    let toggled = toggled(policy, Some(chosen.layer), chosen.expert, !off);
    let toggle = dispatch.reform(move |_: MouseEvent| Action::Policy(toggled.clone()));
    html! {
        <button type="button" class="quiet small" onclick={toggle} aria-pressed={off.to_string()}
            data-testid="expert-off">
            { if off { t!("expert.switch-on") } else { t!("expert.switch-off") } }
        </button>
    }
}

fn share(reader: &Reader, tokens: usize) -> Html {
    if reader.read == 0 {
        return html! { <p class="hint">{ t!("expert.idle") }</p> };
    }
    let share = format::percent(reader.read as f64 / tokens.max(1) as f64);
    let weight = format::percent(f64::from(reader.mean_weight));
    html! { <p class="hint">{ t!(reader.read; "expert.share", share = share, first = reader.first, weight = weight) }
    </p> }
}

/// The tokens that it handles most often; a click goes to the token's first position.
fn kinds(reader: &Reader, trace: &Trace, dispatch: &Callback<Action>) -> Html {
    let kinds = reader.readings.iter().take(MOST_KINDS).map(|reading| {
        let first = reading.first;
        let choose = dispatch.reform(move |_: MouseEvent| Action::Pin(Some(first)));
        let token = &trace.tokens[first];
        let text = quoted(&token.text, token.bytes.as_deref());
        let times = (reading.of > 1).then(|| format!("{}/{}", reading.read, reading.of));
        let shown = [Some(text.clone()), times.clone()].into_iter().flatten().collect::<String>();
        let label = t!("expert.reading", shown = shown, read = reading.read, of = reading.of);
        html! {
            <button type="button" class="code" onclick={choose} aria-label={label.clone()} title={label}>
                { text }if let Some(times) = times { <small>{ times }</small> }
            </button>
        }
    });
    html! { <div class="likes">{ for kinds }</div> }
}

fn partners(reader: &Reader, chosen: ExpertOf, dispatch: &Callback<Action>) -> Html {
    if reader.partners.is_empty() {
        return html! {};
    }
    let total: usize = reader.partners.iter().map(|(_, count)| count).sum();
    let partners = reader.partners.iter().take(MOST_PARTNERS).map(|&(expert, count)| {
        let choose = dispatch.reform(move |_: MouseEvent| Action::Expert(Some(ExpertOf { expert, ..chosen })));
        let share = format::percent(count as f64 / total as f64);
        html! {
            <li data-e={expert.to_string()}>
                <button type="button" class="link number" onclick={choose}
                    aria-label={t!("expert.partner", expert = expert, share = share)}>{ expert }</button>
                <div class="meter tinted"><s style={format!("width:{:.1}%", count as f64 / total as f64 * 100.0)}></s>
                    </div>
                <span>{ share }</span>
            </li>
        }
    });
    html! { <><h3>{ t!("expert.partners") }</h3><ol class="guesses partners">{ for partners }</ol></> }
}
