//! The parameters of Mixtral 8x7B, part by part: all, and those that a token uses.

use super::{Figures, slider, use_option};
use crate::mixtral::{measures, parts};
use crate::ui::words::Names;
use moescope_common::format;
use moescope_common::t;
use yew::prelude::*;

/// The most experts.
const MOST: usize = 16;

#[derive(Properties, PartialEq)]
pub struct MixtralProps {
    pub experts: u64,
    pub top_k: u64,
    pub figures: Callback<Figures>,
}

/// The picture.
#[component]
pub fn MixtralPicture(props: &MixtralProps) -> Html {
    let (experts, top_k) = (use_option(props.experts), use_option(props.top_k));
    {
        let figures = props.figures.clone();
        use_effect_with((*experts, *top_k), move |(experts, top_k)| {
            figures.emit((measures(*experts, *top_k), Names::new()));
        });
    }
    let all = parts(*experts, *top_k);
    let most = parts(MOST as u64, 1).iter().map(|part| part.total).sum::<u64>().max(1) as f64;
    let bar = |name: &'static str, of: fn(&crate::mixtral::Part) -> u64| {
        let sum: u64 = all.iter().map(of).sum();
        let pieces = all.iter().enumerate().map(|(number, part)| {
            let label = t!(&format!("part.{}", part.name));
            let billions = format::compact(of(part) as f64);
            html! {
                <span key={part.name} class="mixtral-part" data-part={number.to_string()}
                    title={format!("{label}: {billions}")} style={format!("--part:{:.5}", of(part) as f64 / most)}>
                </span>
            }
        });
        html! {
            <div class="mixtral-bar" key={name} data-testid={format!("mixtral-{name}")}
                data-billions={format!("{:.3}", sum as f64 / 1e9)}>
                <p><span>{ t!(&format!("mixtral.{name}")) }</span>
                    <b>{ format::compact(sum as f64) }</b></p>
                <div class="mixtral-parts">{ for pieces }</div>
            </div>
        }
    };
    let legend = all.iter().enumerate().map(|(number, part)| {
        html! {
            <li key={part.name}><span class="part-key" data-part={number.to_string()}></span>
                { t!(&format!("part.{}", part.name)) }
                <span class="soft">{ format::compact(part.total as f64) }</span></li>
        }
    });
    let set_experts = Callback::from({
        let experts = experts.clone();
        move |n: usize| experts.set(n as u64 + 1)
    });
    let set_top_k = Callback::from({
        let top_k = top_k.clone();
        move |n: usize| top_k.set(n as u64 + 1)
    });
    let k = (*top_k).min(*experts);
    html! {
        <figure class="picture-card">
            <figcaption>{ t!("mixtral.title") }</figcaption>
            { bar("total", |part| part.total) }
            { bar("active", |part| part.active) }
            <ul class="part-legend">{ for legend }</ul>
            { slider("picture-experts", t!("mixtral.experts"), format::count(*experts as f64), *experts as usize - 1,
                MOST - 1, set_experts) }
            { slider("picture-k", t!("mixtral.top-k"), format::count(k as f64), k as usize - 1,
                *experts as usize - 1, set_top_k) }
            <p class="hint">{ t!("mixtral.from") }</p>
        </figure>
    }
}
