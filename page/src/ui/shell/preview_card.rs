//! What a model is and needs, shown before its weights are fetched: with a choice how to open it where it is large, and
//! in one line while a small one is loaded.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::state::Action;
use crate::state::shared::Shared;
use crate::worker::protocol::{BackendChoice, Extent, GpuRoom, Preview};
use wasm_bindgen::JsCast;
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct PreviewCardProps {
    pub preview: Shared<Preview>,
    pub dispatch: Callback<Action>,
}

/// The card with the choice.
#[component]
pub fn PreviewCard(props: &PreviewCardProps) -> Html {
    let preview = &*props.preview;
    let layers = use_state_eq(|| preview.most_layers().clamp(1, preview.info.layers));
    let shares = preview.shares();
    let share = use_state_eq(|| shares.iter().copied().rev().find(|share| fits_share(preview, *share)));
    let open = |backend: BackendChoice, extent: Extent| {
        props.dispatch.reform(move |_: MouseEvent| Action::OpenPreviewed { backend, extent })
    };
    let choose_layers = {
        let (layers, all) = (layers.clone(), preview.info.layers);
        Callback::from(move |event: Event| {
            let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
            let count = input.and_then(|input| input.value().parse::<usize>().ok());
            layers.set(count.unwrap_or(1).clamp(1, all));
        })
    };
    let choose_share = {
        let share = share.clone();
        Callback::from(move |event: Event| {
            let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            share.set(select.and_then(|select| select.value().parse().ok()));
        })
    };
    let first = Extent { layers: Some(*layers), resident: None };
    let part = share.or(shares.first().copied()).map(|share| Extent { layers: None, resident: Some(share) });
    let options = shares.iter().map(|of| {
        let selected = part.is_some_and(|part| part.resident == Some(*of));
        html! { <option value={of.to_string()} {selected}>{ format::percent(*of) }</option> }
    });
    let on_gpu = preview.fits_gpu(None);
    let on_cpu = preview.fits_cpu(Extent::default());
    let count = preview.info.layers;
    html! {
        <section class="card preview" data-testid="preview" aria-labelledby="preview-title">
            <h2 id="preview-title">{ &preview.info.name }</h2>
            <p data-testid="preview-about">{ in_words(preview) }</p>
            <p class="hint">{ shown(preview) }</p>
            { needs(preview) }
            <div class="row wrap">
                <button type="button" class={classes!((on_gpu == Some(true)).then_some("primary"))}
                    data-testid="preview-gpu" disabled={on_gpu != Some(true)}
                    onclick={open(BackendChoice::WebGpu, Extent::default())}>{ t!("preview.gpu") }</button>
                <button type="button" class={classes!((on_gpu == Some(false) && on_cpu).then_some("primary"))}
                    data-testid="preview-cpu" disabled={!on_cpu}
                    onclick={open(BackendChoice::Cpu, Extent::default())}>{ t!("preview.cpu") }</button>
                <button type="button" data-testid="preview-cancel"
                    onclick={props.dispatch.reform(|_: MouseEvent| Action::CancelLoad)}>{ t!("load.cancel") }</button>
            </div>
            if count > 1 {
                <div class="row wrap">
                    <label>{ t!("preview.layers") }
                        <input type="number" min="1" max={count.to_string()} value={layers.to_string()}
                            data-testid="preview-layer-count" onchange={choose_layers} /></label>
                    <button type="button" data-testid="preview-layers" disabled={!preview.fits_cpu(first)}
                        onclick={open(BackendChoice::Cpu, first)}>
                        { t!(*layers; "preview.layers.open", all = count) }</button>
                </div>
                <p class="hint">{ t!("preview.layers.about") }</p>
            }
            if let Some(part) = part {
                <div class="row wrap">
                    <label>{ t!("preview.resident") }
                        <select data-testid="preview-share" onchange={choose_share}>{ for options }</select></label>
                    <button type="button" data-testid="preview-resident" disabled={!preview.fits_cpu(part)}
                        onclick={open(BackendChoice::Cpu, part)}>{ t!("preview.resident.open") }</button>
                </div>
                <p class="hint">{ t!("preview.resident.about") }</p>
            }
        </section>
    }
}

fn fits_share(preview: &Preview, share: f64) -> bool {
    preview.fits_cpu(Extent { layers: None, resident: Some(share) })
}

/// The architecture in words.
pub fn in_words(preview: &Preview) -> String {
    let info = &preview.info;
    let dense = info.each_layer.iter().filter(|layer| layer.experts == 0).count();
    let mut words = vec![info.family.clone(), t!(info.layers; "preview.layer-count")];
    if info.experts > 0 {
        words.push(t!("preview.experts", experts = info.experts, top_k = info.top_k, router = info.router));
        if info.shared_experts > 0 {
            words.push(t!(info.shared_experts; "preview.shared"));
        }
        if dense > 0 {
            words.push(t!(dense; "preview.dense-layers"));
        }
    } else {
        words.push(t!("preview.dense"));
    }
    for (mixer, key) in [("convolution", "preview.convolutions"), ("latent-attention", "preview.latent")] {
        let count = info.each_layer.iter().filter(|layer| layer.mixer == mixer).count();
        if count > 0 {
            words.push(t!(count; key));
        }
    }
    let (all, used) = (info.cost.parameters() as f64, info.cost.active_parameters() as f64);
    words.push(t!("preview.parameters", all = format::compact(all), used = format::compact(used), dtype = info.dtype));
    words.join(" · ")
}

/// What the page will show of it.
fn shown(preview: &Preview) -> String {
    let routed = preview.info.each_layer.iter().filter(|layer| layer.experts > 0).count();
    let routing = match routed {
        0 => t!("preview.shows.none"),
        routed => t!(routed; "preview.shows", context = format::count(preview.info.context as f64)),
    };
    if preview.has_tokenizer { routing } else { format!("{routing} {}", t!("preview.no-tokenizer")) }
}

/// What it needs, beside what there is.
fn needs(preview: &Preview) -> Html {
    let bytes = |bytes: u64| format::bytes(bytes as f64);
    let verdict = |fits: bool| if fits { t!("preview.fits") } else { t!("preview.too-large") };
    let memory = (bytes(preview.room.memory), verdict(preview.fits_cpu(Extent::default())));
    let gpu = match &preview.room.gpu {
        None => (t!("preview.asking"), String::new()),
        Some(GpuRoom::None(why)) => (why.clone(), t!("preview.no-gpu")),
        Some(GpuRoom::Adapter { name, buffer, is_software }) => {
            let name = if *is_software { t!("preview.software", name = name) } else { name.clone() };
            (format!("{name}: {}", bytes(*buffer)), verdict(preview.fits_gpu(None) == Some(true)))
        }
    };
    let storage = preview.room.storage.map_or_else(
        || (t!("preview.unknown"), String::new()),
        |(quota, used)| {
            let free = quota.saturating_sub(used);
            (bytes(free), verdict(preview.download <= free))
        },
    );
    let row = |name: String, needed: u64, (there, verdict): (String, String)| {
        html! { <tr><th scope="row">{ name }</th><td>{ bytes(needed) }</td><td>{ there }</td><td>{ verdict }</td></tr> }
    };
    html! {
        <table class="figures-table" data-testid="preview-needs">
            <thead><tr><th scope="col">{ t!("preview.what") }</th><th scope="col">{ t!("preview.needed") }</th>
                <th scope="col">{ t!("preview.there") }</th><th scope="col">{ t!("preview.verdict") }</th></tr></thead>
            <tbody>
                { row(t!("preview.memory"), preview.needs.on_cpu(1.0), memory) }
                { row(t!("preview.buffer"), preview.needs.largest_buffer(), gpu) }
                { row(t!("preview.storage"), preview.download, storage) }
            </tbody>
        </table>
    }
}
