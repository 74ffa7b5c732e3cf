//! A task for a class: what is asked for, whether it is reached, and the link that proves it.

use crate::goal::{Goal, Measures};
use crate::ui::words::figure;
use gloo::utils::window;
use moescope_common::t;
use std::rc::Rc;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct TaskProps {
    pub goal: String,
    pub say: Option<String>,
    pub measures: Rc<Measures>,
    /// The address of just this step.
    pub proof: String,
}

/// The task.
#[component]
pub fn Task(props: &TaskProps) -> Html {
    let copied = use_state_eq(|| false);
    let goal = match Goal::parse(&props.goal) {
        Ok(goal) => goal,
        Err(part) => {
            return html! { <p class="problem" data-testid="task">{ t!("task.wrong", part = part) }</p> };
        }
    };
    let is_reached = goal.is_reached(&props.measures);
    // Once reached, it stays so: the run goes on.
    let proof = use_mut_ref(|| None::<(String, String)>);
    if is_reached && proof.borrow().is_none() {
        let step = props.measures.get("step").copied().unwrap_or_default();
        proof.replace(Some((figure("step", step), props.proof.clone())));
    }
    let reached = proof.borrow().clone();
    let copy = {
        let (copied, reached) = (copied.clone(), reached.clone());
        Callback::from(move |_: MouseEvent| {
            if let Some((_, link)) = &reached {
                // A browser may refuse it; the link stands beside.
                let _ = window().navigator().clipboard().write_text(link);
                copied.set(true);
            }
        })
    };
    html! {
        <div class="task" data-testid="task" data-reached={reached.is_some().to_string()} role="status">
            <strong>{ t!("task.title") }</strong>
            <span>{ props.say.clone().unwrap_or_else(|| props.goal.replace(',', ", ")) }</span>
            if props.say.is_some() { <code>{ props.goal.replace(',', ", ") }</code> }
            if let Some((step, link)) = reached {
                <span class="task-reached">{ t!("task.reached", step = step) }</span>
                <button type="button" class="small" onclick={copy}>
                    { if *copied { t!("task.copied") } else { t!("task.copy") } }</button>
                <a href={link} data-testid="task-proof">{ t!("task.proof") }</a>
            }
        </div>
    }
}
