//! Controls that change the routing: experts off and on, gate, k, temperature, noise, capacity, tokens sent to an
//! expert.

use crate::i18n::messages::t;
use crate::model::ModelInfo;
use crate::routing::policy::{Overflow, Policy, Rule};
use crate::routing::{LayerTrace, Trace};
use crate::state::changes::{Changes, is_off, is_sent, released, rule_of, toggled, with_rule};
use crate::state::shared::Shared;
use crate::state::{Action, LayerChoice};
use crate::ui::change::effect_view::EffectView;
use crate::ui::change::sweeps::Sweeps;
use crate::ui::parts::radio_group::{RadioGroup, RadioOption};
use moescope::shape::GateKind;
use wasm_bindgen::JsCast;
use web_sys::{HtmlInputElement, HtmlSelectElement, HtmlTextAreaElement};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct PolicyCardProps {
    pub model: Shared<ModelInfo>,
    pub changes: Changes,
    pub trace: Shared<Trace>,
    pub layer: LayerChoice,
    /// The first and the last chosen token.
    pub chosen: Option<(usize, usize)>,
    pub inspected: Option<usize>,
    pub running: bool,
    pub speed: Option<f64>,
    pub dispatch: Callback<Action>,
}

/// The card.
#[component]
pub fn PolicyCard(props: &PolicyCardProps) -> Html {
    let everywhere = use_state_eq(|| false);
    let scope = match props.layer {
        LayerChoice::One(layer) if !*everywhere => Some(layer),
        _ => None,
    };
    let routed = props.trace.layers.iter().find(|layer| scope.is_none_or(|number| layer.layer == number));
    let Some(layer) = routed else {
        return html! {};
    };
    let controls = Controls { props, scope, layer };
    let segments = match props.layer {
        LayerChoice::One(layer) => {
            let choose = {
                let everywhere = everywhere.clone();
                Callback::from(move |value: String| everywhere.set(value == "all"))
            };
            let segments = vec![
                RadioOption { value: "one".into(), label: t!("layer.name", layer = layer).into() },
                RadioOption { value: "all".into(), label: t!("policy.all-layers").into() },
            ];
            let on = if *everywhere { "all" } else { "one" };
            html! { <RadioGroup name="policy-scope" label={t!("policy.scope")} {segments} {on} {choose}
            testid="policy-scope" /> }
        }
        LayerChoice::All => html! { <span class="soft">{ t!("policy.all-layers") }</span> },
    };
    html! {
        <section class="pane-card policy" aria-labelledby="policy-title" data-testid="policy-card">
            <div class="head"><h2 id="policy-title">{ t!("policy.title") }</h2><p>{ t!("policy.about") }</p>{ segments }
                </div>
            { controls.experts() }
            <div class="policy-controls">{ controls.gate() }{ controls.sliders() }</div>
            { controls.chosen_tokens() }
            { controls.json() }
            if let Some(effect) = &props.changes.effect {
                <EffectView effect={effect.clone()} before={props.changes.baseline.clone()} after={props.trace.clone()}
                    layer={props.layer} inspected={props.inspected} speed={props.speed}
                    speed_before={props.changes.baseline_speed} dispatch={props.dispatch.clone()} />
            }
            <Sweeps sweep={props.changes.sweep.clone()} top_k={props.model.top_k}
                idle={!props.running && props.trace.len() > 1}
                dispatch={props.dispatch.clone()} />
        </section>
    }
}

struct Controls<'a> {
    props: &'a PolicyCardProps,
    /// The layer that the controls change; `None` for all layers.
    scope: Option<usize>,
    layer: &'a LayerTrace,
}

impl Controls<'_> {
    fn asked(&self) -> &Policy {
        &self.props.changes.asked
    }

    /// The values that apply in this scope: those of its own rule, and of the rule for all layers where it has none.
    fn rule(&self) -> Rule {
        let (own, all) = (rule_of(self.asked(), self.scope), rule_of(self.asked(), None));
        Rule {
            gate: own.gate.or(all.gate),
            top_k: own.top_k.or(all.top_k),
            temperature: own.temperature.or(all.temperature),
            noise: own.noise.or(all.noise),
            capacity_factor: own.capacity_factor.or(all.capacity_factor),
            overflow: own.overflow.or(all.overflow),
            ..own
        }
    }

    /// The values that the controls show where their own rule has none: those of the rule for all layers.
    fn inherited(&self) -> Rule {
        if self.scope.is_some() { rule_of(self.asked(), None) } else { Rule::default() }
    }

    /// Changes the rule of this scope.
    fn change<E: 'static>(&self, change: impl Fn(&mut Rule, E) + 'static) -> Callback<E> {
        let (policy, scope, dispatch) = (self.asked().clone(), self.scope, self.props.dispatch.clone());
        Callback::from(move |event: E| {
            dispatch.emit(Action::Policy(with_rule(&policy, scope, None, |rule| change(rule, event))));
        })
    }

    /// A button for each expert; it is pressed while the expert is on.
    fn experts(&self) -> Html {
        let (policy, scope) = (self.asked(), self.scope);
        let buttons = (0..self.layer.experts as u32).map(|expert| {
            // Off in some layers only, it is neither on nor off where all of them are meant.
            let layers = scope.map_or_else(|| 0..self.props.model.layers, |layer| layer..layer + 1);
            let off_in: Vec<usize> = layers.clone().filter(|layer| is_off(policy, *layer, expert)).collect();
            let (off, partly) = (off_in.len() == layers.len(), !off_in.is_empty() && off_in.len() < layers.len());
            let toggled = toggled(policy, scope, expert, !off);
            let toggle = self.props.dispatch.reform(move |_: MouseEvent| Action::Policy(toggled.clone()));
            let label = match () {
                () if off => t!("policy.expert.off", expert = expert),
                () if partly => {
                    let layers = off_in.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
                    t!(off_in.len(); "policy.expert.partly", expert = expert, layers = layers)
                }
                () => t!("policy.expert.on", expert = expert),
            };
            let pressed = if partly { "mixed".to_owned() } else { (!off).to_string() };
            let send = self.send_to(expert);
            let drop = Callback::from(move |event: DragEvent| {
                let text = event.data_transfer().and_then(|data| data.get_data(TOKEN).ok()).unwrap_or_default();
                if let Ok(position) = text.parse::<usize>() {
                    event.prevent_default();
                    event.stop_propagation();
                    send.emit((position, position));
                }
            });
            html! {
                <button key={expert} type="button"
                    class={classes!("expert-switch", off.then_some("off"), partly.then_some("partly"))}
                    data-e={expert.to_string()}
                    data-testid="policy-expert" data-expert={expert.to_string()} aria-pressed={pressed}
                        title={label.clone()}
                    aria-label={label} onclick={toggle} ondragover={allow_token()} ondrop={drop}>{ expert }</button>
            }
        });
        html! {
            <div class="row wrap">
                <span class="soft" id="policy-experts">{ t!("policy.experts") }</span>
                <div class="row wrap expert-switches" role="group" aria-labelledby="policy-experts">{ for buttons }
                    </div>
            </div>
        }
    }

    fn gate(&self) -> Html {
        let rule = self.rule();
        let choose = self.change(|rule: &mut Rule, event: Event| {
            let value = event.target_dyn_into::<HtmlSelectElement>().map(|select| select.value()).unwrap_or_default();
            rule.gate = GateKind::OF_POLICIES.into_iter().find(|gate| gate.name() == value);
            // Values of the previous gate that this gate does not have.
            let no_k = matches!(rule.gate, Some(GateKind::Soft));
            let no_limit = matches!(rule.gate, Some(GateKind::Soft | GateKind::ExpertChoice));
            rule.top_k = rule.top_k.filter(|_| !no_k);
            rule.capacity_factor = rule.capacity_factor.filter(|_| !no_k);
            rule.overflow = rule.overflow.filter(|_| !no_limit);
            rule.renormalise = None;
        });
        let gates = GateKind::OF_POLICIES.map(|gate| {
            html! { <option value={gate.name()} selected={rule.gate == Some(gate)}>
            { t!(&format!("gate.{}", gate.name())) }</option> }
        });
        let about = rule.gate.map_or_else(|| t!("gate.own.about"), |gate| t!(&format!("gate.{}.about", gate.name())));
        html! {
            <label class="wide">
                <span>{ t!("policy.gate") }</span>
                <select onchange={choose} data-testid="policy-gate">
                    <option value="" selected={rule.gate.is_none()}>{ t!("gate.own", router = self.props.model.router) }
                        </option>
                    { for gates }
                </select>
                <small>{ about }</small>
            </label>
        }
    }

    fn sliders(&self) -> Html {
        let (rule, inherited) = (self.rule(), self.inherited());
        let own_k = inherited.top_k.unwrap_or(self.props.model.top_k);
        let own_temperature = inherited.temperature.unwrap_or(1.0);
        let own_noise = inherited.noise.unwrap_or(0.0);
        let has_limit = inherited.capacity_factor.is_some();
        let has_own = self.props.model.capacity.is_some();
        let soft = rule.gate == Some(GateKind::Soft);
        // The model's own gate chooses groups first and takes no other k.
        let grouped = self.layer.groups > 1 && rule.gate.is_none();
        let limits = !matches!(rule.gate, Some(GateKind::Soft | GateKind::ExpertChoice));
        let k = rule.top_k.unwrap_or(own_k);
        let own_limit = self.own_capacity().filter(|_| rule.overflow != Some(Overflow::Keep));
        let limit = rule.capacity_factor.filter(|_| rule.overflow != Some(Overflow::Keep));
        html! {
            <>
                if grouped {
                    <p class="hint wide">{ t!("policy.k.groups") }</p>
                } else if !soft {
                    { self.slider("k", k as f32, (1.0, self.layer.experts as f32, 1.0), k.to_string(),
                        move |rule, x| rule.top_k = (x as usize != own_k).then_some(x as usize)) }
                }
                { self.slider("temperature", rule.temperature.unwrap_or(1.0), (0.1, 4.0, 0.1),
                    number(rule.temperature.unwrap_or(1.0)),
                    move |rule, x| rule.temperature = (x != own_temperature).then_some(x)) }
                { self.slider("noise", rule.noise.unwrap_or(0.0), (0.0, 4.0, 0.1), number(rule.noise.unwrap_or(0.0)),
                    move |rule, x| rule.noise = (x != own_noise).then_some(x)) }
                if !soft {
                    // The right end of the slider means no capacity.
                    { self.slider("capacity", limit.or(own_limit).unwrap_or(NO_LIMIT), (0.25, NO_LIMIT, 0.25),
                        limit.or(own_limit).map_or_else(|| "\u{221e}".into(), number), move |rule, x| {
                            rule.capacity_factor = (x < NO_LIMIT).then_some(x);
                            // A capacity for all layers is removed in this layer.
                            let keep = (has_limit || has_own) && rule.capacity_factor.is_none();
                            rule.overflow = if keep { Some(Overflow::Keep) }
                                else { rule.overflow.filter(|o| *o == Overflow::NextBest && x < NO_LIMIT) };
                        }) }
                }
                if limits && limit.is_some() { { self.overflow(&rule) } }
            </>
        }
    }

    /// The capacity factor of the model itself.
    fn own_capacity(&self) -> Option<f32> {
        let model = &self.props.model;
        let even = (model.context * model.top_k) as f32 / model.experts.max(1) as f32;
        model.capacity.map(|most| (most as f32 / even * 100.0).round() / 100.0)
    }

    fn slider(
        &self,
        name: &'static str,
        value: f32,
        (least, most, step): (f32, f32, f32),
        shown: String,
        set: impl Fn(&mut Rule, f32) + 'static,
    ) -> Html {
        let pull = self.change(move |rule: &mut Rule, event: InputEvent| {
            let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
            if let Some(x) = input.map(|input| input.value_as_number()).filter(|x| x.is_finite()) {
                set(rule, (x * 100.0).round() as f32 / 100.0);
            }
        });
        html! {
            <label>
                <span>{ t!(&format!("policy.{name}")) }</span>
                <input type="range" min={least.to_string()} max={most.to_string()} step={step.to_string()}
                    value={value.to_string()}
                    oninput={pull} data-testid={format!("policy-{name}")} />
                <output>{ shown }</output>
                <small>{ t!(&format!("policy.{name}.about")) }</small>
            </label>
        }
    }

    fn overflow(&self, rule: &Rule) -> Html {
        let choose = self.change(|rule: &mut Rule, event: Event| {
            let value = event.target_dyn_into::<HtmlSelectElement>().map(|select| select.value()).unwrap_or_default();
            rule.overflow = (value == "next-best").then_some(Overflow::NextBest);
        });
        let next = rule.overflow == Some(Overflow::NextBest);
        html! {
            <label class="wide">
                <span>{ t!("policy.overflow") }</span>
                <select onchange={choose} data-testid="policy-overflow">
                    <option value="drop" selected={!next}>{ t!("policy.overflow.drop") }</option>
                    <option value="next-best" selected={next}>{ t!("policy.overflow.next-best") }</option>
                </select>
                <small>{ t!("policy.overflow.about") }</small>
            </label>
        }
    }

    /// Sends tokens (first, last) to `expert`.
    fn send_to(&self, expert: u32) -> Callback<(usize, usize)> {
        let (policy, scope, dispatch) = (self.asked().clone(), self.scope, self.props.dispatch.clone());
        Callback::from(move |(first, last): (usize, usize)| {
            let tokens = Some([first, last + 1]);
            dispatch.emit(Action::Policy(with_rule(&policy, scope, tokens, |rule| rule.force = vec![expert])));
        })
    }

    /// Sends the chosen tokens to an expert.
    fn chosen_tokens(&self) -> Html {
        let Some((first, last)) = self.props.chosen else {
            return html! { <p class="hint">{ t!("policy.force.how") }</p> };
        };
        let senders: Vec<Callback<(usize, usize)>> =
            (0..self.layer.experts as u32).map(|expert| self.send_to(expert)).collect();
        let choose = Callback::from(move |event: Event| {
            let Some(select) = event.target_dyn_into::<HtmlSelectElement>() else { return };
            if let Some(send) = select.value().parse::<usize>().ok().and_then(|expert| senders.get(expert)) {
                send.emit((first, last));
            }
            select.set_value("");
        });
        let experts = (0..self.layer.experts).map(|expert| {
            html! { <option value={expert.to_string()}>
            { t!("policy.force.expert", expert = expert) }</option> }
        });
        let label = if first == last {
            t!("policy.force.one", token = first)
        } else {
            t!("policy.force.many", first = first, last = last)
        };
        html! {
            <p class="row wrap hint">
                <label for="policy-force">{ label }</label>
                <select id="policy-force" onchange={choose} data-testid="policy-force">
                    <option value="" selected={true}>{ t!("policy.force.choose") }</option>
                    { for experts }
                </select>
                { self.release(first, last) }
            </p>
        }
    }

    /// Takes the chosen tokens back from where they were sent.
    fn release(&self, first: usize, last: usize) -> Html {
        if !(first..=last).any(|token| is_sent(self.asked(), self.scope, token)) {
            return html! {};
        }
        let policy = released(self.asked(), self.scope, (first, last));
        let release = self.props.dispatch.reform(move |_: MouseEvent| Action::Policy(policy.clone()));
        html! {
            <button type="button" class="small" onclick={release} data-testid="policy-release">
                { t!("policy.force.release") }</button>
        }
    }

    /// The policy as it is written down, to read, edit and copy.
    fn json(&self) -> Html {
        let dispatch = self.props.dispatch.clone();
        let json = match self.asked().to_json() {
            serde_json::Value::Null => "{}".to_owned(),
            json => json.to_string(),
        };
        let apply = Callback::from(move |event: Event| {
            let Some(area) = event.target_dyn_into::<HtmlTextAreaElement>() else { return };
            match Policy::parse(&area.value()) {
                Ok(policy) => dispatch.emit(Action::Policy(policy)),
                Err(error) => dispatch.emit(Action::PolicyRefused(error.to_string())),
            }
        });
        html! {
            <details class="policy-json">
                <summary>{ t!("policy.json") }</summary>
                <textarea aria-label={t!("policy.json")} spellcheck="false" rows="3" onchange={apply} value={json}
                    data-testid="policy-json" />
                <p class="hint">{ t!("policy.json.about") }</p>
            </details>
        }
    }
}

/// The data type of a dragged token; the data is its position.
pub const TOKEN: &str = "application/x-moescope-token";

/// From this capacity factor on, there is no capacity.
const NO_LIMIT: f32 = 3.0;

fn allow_token() -> Callback<DragEvent> {
    Callback::from(|event: DragEvent| {
        let types = event.data_transfer().map(|data| data.types());
        if types.is_some_and(|types| types.includes(&TOKEN.into(), 0)) {
            event.prevent_default();
        }
    })
}

fn number(x: f32) -> String {
    format!("{x:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}
