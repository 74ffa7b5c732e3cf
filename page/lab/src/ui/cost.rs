//! What an example costs in a network whose parts are switched, beside the others.

use crate::protocol::Report;
use moescope_common::format;
use moescope_common::t;
use std::rc::Rc;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct CostProps {
    pub reports: Option<Rc<Report>>,
    /// Which run.
    pub at: usize,
}

/// A bar of multiply-adds.
#[component]
pub fn Cost(props: &CostProps) -> Html {
    let Some(report) = &props.reports else { return html! {} };
    let cost = |at: usize| {
        let run = report.runs.get(at)?;
        run.measures.get("multiply-adds").copied()
    };
    let most = (0..report.runs.len()).filter_map(cost).fold(1.0, f64::max);
    let own = cost(props.at).unwrap_or(0.0);
    html! {
        <div class="lab-cost" data-testid="cost" data-multiply-adds={own.to_string()}>
            <span>{ t!("cost.of", n = format::count(own)) }</span>
            <span class="cost-bar" style={format!("--part:{:.4}", own / most)}></span>
        </div>
    }
}
