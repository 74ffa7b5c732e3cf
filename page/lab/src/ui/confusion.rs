//! What the two gates of a deep mixture go by: who takes which place, and who takes which digit.

use moescope_common::format;
use moescope_common::t;
use serde_json::Value;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct ConfusionProps {
    /// The lab's state: `first` and `second`, each with `experts`, `by-place`, `by-class`, `place-bits`, `class-bits`.
    pub drawn: Value,
}

/// Four maps: a row for each layer, a column for where and one for what.
#[component]
pub fn Confusions(props: &ConfusionProps) -> Html {
    let layers = ["first", "second"].map(|layer| {
        let gate = &props.drawn[layer];
        let bits = |key: &str| gate[key].as_f64().unwrap_or(0.0);
        let (place, class) = (bits("place-bits"), bits("class-bits"));
        html! {
            <div class="confusion" key={layer} data-testid="confusion" data-place-bits={place.to_string()}
                data-class-bits={class.to_string()}>
                <p class="confusion-name">{ t!(&format!("confusion.{layer}")) }</p>
                { map(gate, "by-place", t!("confusion.place", bits = format::decimal(place)), place >= class) }
                { map(gate, "by-class", t!("confusion.class", bits = format::decimal(class)), class > place) }
            </div>
        }
    });
    html! { <div class="confusions">{ for layers }</div> }
}

fn map(gate: &Value, key: &str, name: String, is_more: bool) -> Html {
    let parts: Vec<f64> =
        gate[key].as_array().map_or_else(Vec::new, |parts| parts.iter().filter_map(Value::as_f64).collect());
    let experts = gate["experts"].as_u64().unwrap_or(1).max(1) as usize;
    let columns = parts.len() / experts;
    let rows = (0..experts).map(|expert| {
        let cells = (0..columns).map(|at| (at, parts[at * experts + expert])).map(|(at, part)| {
            html! {
                <td key={at} style={format!("--part:{part:.3}")} title={format!("{at}: {}", format::percent(part))}>
                </td>
            }
        });
        html! { <tr key={expert} data-e={expert.to_string()}><th scope="row">{ expert }</th>{ for cells }</tr> }
    });
    html! {
        <div class="confusion-map" data-more={is_more.then_some("")}>
            <p>{ name }</p>
            <table><tbody>{ for rows }</tbody></table>
        </div>
    }
}
