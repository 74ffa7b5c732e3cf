//! A calculator for any Mixture of Experts: how many parameters it has, how many a token uses, and why. It opens with
//! Mixtral 8x7B, whose name suggests other numbers.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::model::{Cost, Part};
use wasm_bindgen::JsCast;
use web_sys::HtmlInputElement;
use yew::prelude::*;

/// The shape of a model, as far as it affects the number of parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Numbers {
    layers: u64,
    hidden: u64,
    intermediate: u64,
    experts: u64,
    top_k: u64,
    heads: u64,
    kv_heads: u64,
    vocabulary: u64,
    /// Bits per weight.
    bits: u64,
}

/// Mixtral 8x7B (Jiang et al. 2024, table 1), stored in bf16.
const MIXTRAL: Numbers = Numbers {
    layers: 32,
    hidden: 4096,
    intermediate: 14336,
    experts: 8,
    top_k: 2,
    heads: 32,
    kv_heads: 8,
    vocabulary: 32000,
    bits: 16,
};

/// The largest number allowed, so that no product overflows.
const MOST: u64 = 1_000_000;

impl Numbers {
    fn cost(&self) -> Cost {
        let head = self.hidden / self.heads.max(1);
        let attention = self.layers * self.hidden * head * 2 * (self.heads + self.kv_heads);
        let expert = 3 * self.hidden * self.intermediate;
        let same = |parameters: u64| Part { total: parameters, active: parameters };
        Cost {
            embeddings: same(self.vocabulary * self.hidden),
            attention: same(attention),
            routers: same(self.layers * self.hidden * self.experts),
            experts: Part {
                total: self.layers * self.experts * expert,
                active: self.layers * self.top_k.min(self.experts) * expert,
            },
            norms: same((2 * self.layers + 1) * self.hidden),
            lm_head: same(self.vocabulary * self.hidden),
        }
    }

    /// The number that the name "8x7B" suggests: experts times a whole dense model.
    fn naive(&self) -> u64 {
        self.experts * self.dense().parameters()
    }

    /// The dense model with one expert's FFN in each layer.
    fn dense(&self) -> Cost {
        Numbers { experts: 1, top_k: 1, ..*self }.cost()
    }
}

type Field = (&'static str, fn(&Numbers) -> u64, fn(&mut Numbers, u64));

const FIELDS: [Field; 9] = [
    ("layers", |n| n.layers, |n, x| n.layers = x),
    ("hidden", |n| n.hidden, |n, x| n.hidden = x),
    ("intermediate", |n| n.intermediate, |n, x| n.intermediate = x),
    ("experts", |n| n.experts, |n, x| n.experts = x),
    ("top_k", |n| n.top_k, |n, x| n.top_k = x),
    ("heads", |n| n.heads, |n, x| n.heads = x),
    ("kv_heads", |n| n.kv_heads, |n, x| n.kv_heads = x),
    ("vocabulary", |n| n.vocabulary, |n, x| n.vocabulary = x),
    ("bits", |n| n.bits, |n, x| n.bits = x),
];

/// The card.
#[component]
pub fn MixtralCard() -> Html {
    let numbers = use_state_eq(|| MIXTRAL);
    let fields = FIELDS.map(|(name, get, set)| {
        let change = {
            let numbers = numbers.clone();
            Callback::from(move |event: InputEvent| {
                let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
                let value = input.map(|input| input.value_as_number()).filter(|x| *x >= 1.0 && *x <= MOST as f64);
                if let Some(value) = value {
                    let mut changed = *numbers;
                    set(&mut changed, value as u64);
                    numbers.set(changed);
                }
            })
        };
        html! {
            <label key={name}><span>{ t!(&format!("number.{name}")) }</span>
                <input type="number" min="1" max={MOST.to_string()} value={get(&numbers).to_string()} oninput={change}
                    data-testid={format!("number-{name}")} />
            </label>
        }
    });
    let reset = {
        let numbers = numbers.clone();
        Callback::from(move |_: MouseEvent| numbers.set(MIXTRAL))
    };
    html! {
        <details class="calculator">
            <summary>{ t!("calculator.title") }</summary>
            <p class="hint">{ t!("calculator.about") }</p>
            <div class="numbers">{ for fields }</div>
            if *numbers != MIXTRAL {
                <button type="button" class="quiet small" onclick={reset}>{ t!("calculator.reset") }</button>
            }
            if *numbers == MIXTRAL { <p class="hint">{ t!("calculator.name") }</p> }
            { answer(&numbers) }
        </details>
    }
}

fn answer(numbers: &Numbers) -> Html {
    let cost = numbers.cost();
    let (total, active) = (cost.parameters(), cost.active_parameters());
    let billions = |parameters: u64| format::compact(parameters as f64);
    let bytes = |parameters: u64| format::bytes(parameters as f64 * numbers.bits as f64 / 8.0);
    let rows = cost.parts().map(|(name, part)| {
        html! {
            <tr key={name}><th scope="row">{ t!(&format!("part.{name}")) }</th><td>{ billions(part.total) }</td><td>
                { billions(part.active) }</td></tr>
        }
    });
    let shared = cost.parameters() - cost.experts.total;
    html! {
        <>
            <p class="sum" data-testid="calculator-sum">
                { t!("calculator.sum", total = billions(total), memory = bytes(total), active = billions(active),
                    read = bytes(active)) }
            </p>
            <p class="hint">
                { t!("calculator.why", experts = numbers.experts, dense = billions(numbers.dense().parameters()),
                    naive = billions(numbers.naive()), shared = billions(shared), total = billions(total)) }
            </p>
            <p class="hint">{ t!("calculator.work", flops = format::flops(cost.flops_per_token() as f64)) }</p>
            <div class="scroll" tabindex="0" role="region" aria-label={t!("calculator.title")}>
                <table>
                    <thead><tr><th scope="col">{ t!("cost.part") }</th><th scope="col">{ t!("cost.total") }</th>
                        <th scope="col">{ t!("cost.per-token") }</th></tr></thead>
                    <tbody>{ for rows }</tbody>
                    <tfoot><tr><th scope="row">{ t!("cost.sum") }</th><td>{ billions(total) }</td><td>
                        { billions(active) }</td></tr></tfoot>
                </table>
            </div>
        </>
    }
}
