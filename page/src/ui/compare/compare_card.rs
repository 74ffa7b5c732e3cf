//! Compares two models, or one model under two policies, on the same text. The second side has an engine in a worker
//! of its own; its tokens are aligned with those of the first side.

use crate::i18n::format;
use crate::i18n::messages::{say, t};
use crate::model::ModelInfo;
use crate::routing::{Policy, Trace, balance};
use crate::site::{address_of, shipped};
use crate::state::death::Death;
use crate::state::openings::Openings;
use crate::state::phrase::Phrase;
use crate::state::run::Run;
use crate::state::shared::Shared;
use crate::state::{Action, LayerChoice, Offered, SELF};
use crate::ui::change::policy_words::in_words;
use crate::ui::charts::save::SavePicture;
use crate::ui::compare::compared_strip::ComparedStrip;
use crate::ui::parts::icon::icon;
use crate::worker::protocol::{BackendChoice, Command, Event, Source};
use crate::worker_client::WorkerClient;
use wasm_bindgen::JsCast;
use web_sys::HtmlSelectElement;
use yew::prelude::*;

#[derive(Properties, PartialEq, Clone)]
pub struct CompareProps {
    /// Name or address of the second model, or [`SELF`].
    pub with: String,
    /// The policy of the second side.
    pub policy: Policy,
    /// The policy of the first side.
    pub first_policy: Policy,
    /// The source of the model in use.
    pub own: Option<Source>,
    /// How it was opened.
    pub openings: Openings,
    pub text: Shared<String>,
    /// The first side's trace of the text.
    pub trace: Shared<Trace>,
    pub model: Option<Shared<ModelInfo>>,
    pub offered: Shared<Vec<Offered>>,
    pub layer: LayerChoice,
    pub backend: BackendChoice,
    pub dispatch: Callback<Action>,
}

/// A message from the second side's worker.
pub enum Message {
    /// The worker sent an event.
    Heard(Event),
    /// The worker ended.
    Died(Death),
}

/// The card, and the second engine.
pub struct Compare {
    link: WorkerClient,
    run: Run,
    /// Why its worker ended.
    ended: Option<Phrase>,
}

impl Component for Compare {
    type Message = Message;
    type Properties = CompareProps;

    fn create(context: &Context<Self>) -> Self {
        let hear = context.link().callback(Message::Heard);
        let died = context.link().callback(Message::Died);
        let props = context.props();
        let mut compare = Self {
            link: WorkerClient::new(move |event| hear.emit(event), move |why| died.emit(why), None),
            run: Run::new(props.policy.clone()),
            ended: None,
        };
        let commands = compare.run.edit(props.text.clone());
        compare.send(commands);
        compare.load(props);
        compare
    }

    fn update(&mut self, context: &Context<Self>, message: Message) -> bool {
        let event = match message {
            Message::Heard(event) => event,
            Message::Died(death) => {
                if matches!(death, Death::BrokeOff(_)) {
                    self.link.restart();
                }
                self.ended = Some(death.in_words());
                return true;
            }
        };
        if let Event::Loaded(info) = &event {
            context.props().dispatch.emit(Action::OtherExperts(info.experts));
        }
        let commands = self.run.hear(event);
        self.send(commands);
        true
    }

    fn changed(&mut self, context: &Context<Self>, old: &CompareProps) -> bool {
        let props = context.props();
        if props.policy != old.policy {
            let commands = self.run.set_policy(props.policy.clone());
            self.send(commands);
        }
        if props.with != old.with || (props.with == SELF && props.own != old.own) {
            self.load(props);
        }
        if props.text != old.text && *props.text != *self.run.text {
            let commands = self.run.edit(props.text.clone());
            self.send(commands);
        }
        true
    }

    fn view(&self, context: &Context<Self>) -> Html {
        let props = context.props();
        let close = props.dispatch.reform(|_: MouseEvent| Action::Compare(None));
        html! {
            <section class="card" aria-labelledby="compare-title" data-place="compare" data-testid="compare">
                <div class="head">
                    <h2 id="compare-title">{ t!("compare.title") }</h2>
                    <p>{ if props.with == SELF { t!("compare.about.self") } else { t!("compare.about") } }</p>
                    { select(props) }
                    <button type="button" class="quiet icon-only" onclick={close} aria-label={t!("compare.close")}>
                        { icon("close") }</button>
                </div>
                { policy_row(props) }
                { self.content(props) }
                <div class="row wrap save">
                    <SavePicture element="[data-place=compare]" file="comparison" title={t!("compare.title")}
                        legend={t!("compare.about")} label={t!("save.comparison")} dispatch={props.dispatch.clone()} />
                </div>
            </section>
        }
    }
}

impl Compare {
    fn send(&self, commands: Vec<Command>) {
        commands.into_iter().for_each(|command| self.link.send(command));
    }

    fn load(&mut self, props: &CompareProps) {
        let source = match props.with.as_str() {
            SELF => props.own.clone(),
            name => Some(address_of(name).map_or_else(|| shipped(name), Source::Url)),
        };
        if let Some(source) = source {
            self.ended = None;
            let opening = props.openings.beside(props.with == SELF).again(&source);
            let commands = self.run.load(source, props.backend, opening);
            self.send(commands);
        }
    }

    fn content(&self, props: &CompareProps) -> Html {
        if let Some(problem) = self.ended.as_ref().or(self.run.problem.as_ref()) {
            return html! { <div class="notice problem" role="alert"><p>{ say(problem) }</p></div> };
        }
        let (Some(first), Some(second)) = (&props.model, &self.run.model) else {
            let own = props.model.as_ref().filter(|_| props.with == SELF);
            let name = own.map_or(&props.with, |model| &model.name);
            return html! { <p class="empty">{ t!("compare.loading", name = name) }</p> };
        };
        let sides = [(first, &props.trace), (second, &self.run.trace)];
        let names = [name(first, &props.first_policy), name(second, &self.run.policy)];
        html! {
            <>
                if let Some(refused) = &self.run.refused {
                    <div class="notice problem" role="alert"><p>{ refused }</p></div>
                }
                { figures(sides, &names, props.layer) }
                <ComparedStrip text={props.text.clone()} first={props.trace.clone()} second={self.run.trace.clone()}
                    layer={props.layer} {names} />
            </>
        }
    }
}

/// A model's name and the changes of its routing.
fn name(model: &ModelInfo, policy: &Policy) -> String {
    let words = in_words(policy);
    if words.is_empty() { model.name.clone() } else { format!("{} · {}", model.name, words.join("; ")) }
}

/// The second side's policy, and controls that change it.
fn policy_row(props: &CompareProps) -> Html {
    let words = in_words(&props.policy);
    let keep = props.dispatch.reform(|_: MouseEvent| Action::KeepBeside);
    let drop = props.dispatch.reform(|_: MouseEvent| Action::ComparePolicy(Policy::default()));
    let can_keep = props.first_policy != props.policy && props.first_policy != Policy::default();
    html! {
        <div class="row wrap" data-testid="compare-policy">
            <span class="soft">
                { if words.is_empty() { t!("compare.policy.none") }
                    else { t!("compare.policy", words = words.join("; ")) } }
            </span>
            if props.with == SELF && props.first_policy == props.policy {
                <span data-testid="compare-same">{ t!("compare.same") }</span>
            }
            if can_keep {
                <button type="button" onclick={keep} data-testid="compare-keep">{ t!("compare.keep") }</button>
            }
            if !words.is_empty() {
                <button type="button" onclick={drop} data-testid="compare-plain">{ t!("compare.plain") }</button>
            }
        </div>
    }
}

fn select(props: &CompareProps) -> Html {
    let choose = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: ChangeEvent| {
            let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            if let Some(select) = select {
                dispatch.emit(Action::Compare(Some(select.value())));
            }
        })
    };
    let on_list = props.with == SELF || props.offered.iter().any(|offered| offered.name == props.with);
    let other = (!on_list).then(|| html! { <option value={props.with.clone()} selected=true>{ &props.with }</option> });
    let options = props.offered.iter().map(|offered| {
        html! {
            <option key={offered.name.clone()} value={offered.name.clone()} selected={offered.name == props.with}>
                { &offered.name }
            </option>
        }
    });
    html! {
        <label><span class="hidden">{ t!("compare.with") }</span>
            <select onchange={choose} data-testid="compare-select">
                <option value={SELF} selected={props.with == SELF}>{ t!("compare.self") }</option>
                    { other }{ for options }
            </select>
        </label>
    }
}

type ChangeEvent = web_sys::Event;
type Side<'a> = (&'a Shared<ModelInfo>, &'a Shared<Trace>);

/// The name of a figure, and its value for each side.
pub type Row = (String, [Option<String>; 2]);

/// A table of figures with a row for each.
pub fn figures_table(names: &[String; 2], rows: &[Row]) -> Html {
    let heads = names.iter().map(|name| html! { <th scope="col">{ name }</th> });
    let rows = rows.iter().map(|(name, values)| {
        let values = values.iter().map(|value| html! { <td>{ value.as_deref().unwrap_or("\u{2013}") }</td> });
        html! { <tr><th scope="row">{ name }</th>{ for values }</tr> }
    });
    html! {
        <div class="scroll" tabindex="0" role="region" aria-label={t!("compare.figures")}>
            <table class="figures-table">
                <thead><tr><td></td>{ for heads }</tr></thead>
                <tbody>{ for rows }</tbody>
            </table>
        </div>
    }
}

fn figures(sides: [Side<'_>; 2], names: &[String; 2], layer: LayerChoice) -> Html {
    let balances = sides.map(|(_, trace)| match layer {
        LayerChoice::One(number) => trace.layer(number).map(balance),
        LayerChoice::All => None,
    });
    let figure = |value: f32| format::decimal(f64::from(value));
    let [max, entropy] = [
        balances.each_ref().map(|b| b.as_ref().map(|b| figure(b.max_over_mean))),
        balances.each_ref().map(|b| b.as_ref().map(|b| figure(b.entropy))),
    ];
    let active = |(model, trace): Side<'_>| format::compact(active_parameters(model, trace));
    figures_table(
        names,
        &[
            (t!("compare.shape"), sides.map(|(model, trace)| Some(shape(model, trace)))),
            (t!("compare.active"), sides.map(|side| Some(active(side)))),
            (t!("compare.tokens"), sides.map(|(_, trace)| Some(format::count(trace.len() as f64)))),
            (t!("compare.bits"), sides.map(|(_, trace)| bits_per_byte(trace).map(format::decimal))),
            (t!("figure.max"), max),
            (t!("figure.entropy"), entropy),
        ],
    )
}

/// Mean number of experts per token in a layer of the trace; the model's own number where nothing is routed yet.
fn experts_per_token(model: &ModelInfo, trace: &Trace) -> f64 {
    let assignments: usize = trace.layers.iter().map(|layer| layer.assignments().count()).sum();
    let places = trace.len() * trace.layers.len();
    if places == 0 { model.top_k as f64 } else { assignments as f64 / places as f64 }
}

/// Parameters that a token uses, on average over the trace.
fn active_parameters(model: &ModelInfo, trace: &Trace) -> f64 {
    let (all, experts) = (model.cost.active_parameters() as f64, model.cost.experts.active as f64);
    let expert = experts / (model.top_k + model.shared_experts).max(1) as f64;
    all + expert * (experts_per_token(model, trace) - model.top_k as f64)
}

fn shape(model: &ModelInfo, trace: &Trace) -> String {
    if model.experts == 0 {
        return t!("model.shape.dense", layers = model.layers);
    }
    let per_token = experts_per_token(model, trace);
    let per_token = if per_token.fract() < 1e-9 { format::count(per_token) } else { format::tenth(per_token) };
    t!("compare.shape.value", experts = model.experts, top_k = per_token, layers = model.layers)
}

/// Total loss over the text's bytes, without the first token: the bits per byte that a compressor with this model
/// needs.
pub fn bits_per_byte(trace: &Trace) -> Option<f64> {
    let bytes: usize = trace.tokens.iter().skip(1).map(|token| token.text_bytes()).sum();
    let bits: f64 = trace.surprise.iter().skip(1).map(|bits| f64::from(*bits)).sum();
    (bytes > 0 && trace.surprise.len() == trace.len()).then(|| bits / bytes as f64)
}
