//! Which kinds of text a model's experts read, from its dossier.

use super::{Figures, losses, slider, use_option};
use crate::goal::Measures;
use crate::site::fetch_json;
use crate::ui::app::COLOURS;
use crate::ui::words::Names;
use moescope_common::format;
use moescope_common::messages::name_of;
use moescope_common::palette::Palette;
use moescope_common::t;
use serde::Deserialize;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use web_sys::HtmlSelectElement;
use yew::prelude::*;

/// The models that have a dossier.
const MODELS: [&str; 6] = ["main", "collapse", "switch", "noisy-top-k", "hierarchical", "fine-grained"];

/// `models/NAME/experts.json`, as far as it is used here.
#[derive(Debug, PartialEq, Deserialize)]
struct Dossier {
    domains: Vec<Domain>,
    layers: Vec<Layer>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Domain {
    name: String,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Layer {
    domain_information: f64,
    token_information: f64,
    experts: Vec<Expert>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Expert {
    load: f64,
    /// The part of the expert's tokens that comes from each kind of text.
    domains: Vec<f64>,
}

#[derive(Properties, PartialEq)]
pub struct DomainsProps {
    pub model: String,
    pub layer: usize,
    pub dark: bool,
    pub figures: Callback<Figures>,
}

/// The picture.
#[component]
pub fn Domains(props: &DomainsProps) -> Html {
    let (model, layer) = (use_option(props.model.clone()), use_option(props.layer));
    let dossier = use_state(|| None::<(String, Rc<Dossier>)>);
    let losses_known = use_state(Measures::new);
    {
        let losses_known = losses_known.clone();
        use_effect_with((), move |()| {
            wasm_bindgen_futures::spawn_local(async move { losses_known.set(losses().await) });
        });
    }
    {
        let dossier = dossier.clone();
        use_effect_with((*model).clone(), move |model| {
            let model = model.clone();
            wasm_bindgen_futures::spawn_local(async move {
                if let Some(came) = fetch_json(&format!("models/{model}/experts.json")).await {
                    dossier.set(Some((model, Rc::new(came))));
                }
            });
        });
    }
    let experts = dossier.as_ref().map_or(0, |(_, dossier)| dossier.layers.first().map_or(0, |l| l.experts.len()));
    use_effect_with(experts.max(COLOURS), |experts| {
        Palette::new(*experts).install();
        || Palette::new(COLOURS).install()
    });
    {
        let figures = props.figures.clone();
        let what = ((*dossier).clone(), *layer, (*losses_known).clone());
        use_effect_with(what, move |(dossier, layer, losses)| {
            if let Some((model, dossier)) = dossier {
                figures.emit(figures_of(model, dossier, *layer, losses));
            }
        });
    }
    let Some((_, shown)) = (*dossier).clone() else { return html! { <p class="empty">{ t!("loading") }</p> } };
    let most = shown.layers.len().saturating_sub(1);
    let at = (*layer).min(most);
    let choose = {
        let model = model.clone();
        Callback::from(move |event: Event| {
            let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            if let Some(name) = select.map(|select| select.value()) {
                model.set(name);
            }
        })
    };
    let options = MODELS.map(|name| {
        html! { <option key={name} value={name} selected={*model == name}>{ t!(&format!("model.{name}")) }</option> }
    });
    html! {
        <figure class="picture-card">
            <figcaption>{ t!("domains.title", layer = at) }</figcaption>
            { map(&shown, at) }
            <label class="control"><span>{ t!("domains.model") }</span>
                <select data-testid="picture-model" onchange={choose}>{ for options }</select></label>
            { slider("picture-layer", t!("picture.layers"), t!("picture.layer", n = at), at, most,
                Callback::from({ let layer = layer.clone(); move |n| layer.set(n) })) }
            <p class="hint">{ t!("domains.bits", words = format::decimal(shown.layers[at].token_information),
                kinds = format::decimal(shown.layers[at].domain_information)) }</p>
        </figure>
    }
}

/// A row for each expert, a column for each kind of text.
fn map(dossier: &Dossier, at: usize) -> Html {
    let layer = &dossier.layers[at];
    let columns = dossier.domains.len();
    let strongest = layer.experts.iter().flat_map(|expert| &expert.domains).copied().fold(0.2, f64::max);
    let heads = dossier.domains.iter().map(|domain| {
        html! { <th key={domain.name.clone()} scope="col"><span>{ domain_name(&domain.name) }</span></th> }
    });
    let rows = layer.experts.iter().enumerate().map(|(number, expert)| {
        let cells = expert.domains.iter().zip(&dossier.domains).map(|(part, domain)| {
            let label =
                t!("domains.cell", expert = number, kind = domain_name(&domain.name), share = format::percent(*part));
            html! {
                <td key={domain.name.clone()} title={label} style={format!("--part:{:.3}", part / strongest)}></td>
            }
        });
        html! { <tr key={number} data-e={number.to_string()}><th scope="row">{ number }</th>{ for cells }</tr> }
    });
    html! {
        <div class="domain-map" tabindex="0" data-rows={(layer.experts.len() > 16).then_some("many")}>
            <table style={format!("--columns:{columns}")}>
                <thead><tr><th scope="col"><span class="hidden">{ t!("domains.expert") }</span></th>{ for heads }</tr>
                </thead>
                <tbody>{ for rows }</tbody>
            </table>
        </div>
    }
}

fn domain_name(name: &str) -> String {
    name_of("domain", name, name)
}

fn figures_of(model: &str, dossier: &Dossier, at: usize, losses: &Measures) -> Figures {
    let at = at.min(dossier.layers.len().saturating_sub(1));
    let (mut measures, mut names) = (losses.clone(), Names::new());
    let Some(layer) = dossier.layers.get(at) else { return (measures, names) };
    let experts = layer.experts.len() as f64;
    let busiest = layer.experts.iter().map(|expert| expert.load).fold(0.0, f64::max) * experts;
    // An expert that reads next to nothing has no kind of text.
    let all = layer.experts.iter().enumerate().filter(|(_, expert)| expert.load * experts > 0.1);
    let parts = all.flat_map(|(number, expert)| {
        expert.domains.iter().enumerate().map(move |(domain, part)| (number, domain, *part))
    });
    let top = parts.fold((0, 0, 0.0), |best, one| if one.2 > best.2 { one } else { best });
    let figures = [
        ("layer", at as f64),
        ("domain-bits", layer.domain_information),
        ("token-bits", layer.token_information),
        ("busiest", busiest),
        ("top-expert", top.0 as f64),
        ("top-share", top.2),
    ];
    measures.extend(figures.map(|(name, value)| (name.to_owned(), value)));
    names.insert("model".into(), t!(&format!("model.{model}")));
    if let Some(domain) = dossier.domains.get(top.1) {
        names.insert("top-domain".into(), domain_name(&domain.name));
    }
    (measures, names)
}
