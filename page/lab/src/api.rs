//! `window.moescope` of Learn and Lab: `lab(name, settings)` gives a run of its own, `{step(n), state(), reset()}`.

use crate::client::{Client, Heard};
use crate::json::parse;
use crate::protocol::{LabName, Plan, Report, Settings, measures};
use js_sys::{Function, JSON, Object, Promise, Reflect};
use serde_json::json;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// The promise that waits for the answer to a command.
type Waiting = Rc<RefCell<HashMap<u32, (Function, Function)>>>;

/// A run that a script drives, in a worker of its own.
#[wasm_bindgen]
pub struct LabRun {
    client: Client,
    plan: Plan,
    waiting: Waiting,
}

#[wasm_bindgen]
impl LabRun {
    /// Trains `n` steps. Returns a promise of the state after them.
    pub fn step(&self, n: f64) -> Promise {
        let steps = if n.is_finite() { n.max(0.0) as u64 } else { 0 };
        self.ask(|client| client.step(steps))
    }

    /// Returns a promise of the state: `{step, loss, shares, measures, runs}`.
    pub fn state(&self) -> Promise {
        self.ask(|client| client.look(None))
    }

    /// Restarts with the same settings. Returns a promise of the state.
    pub fn reset(&self) -> Promise {
        self.ask(|client| client.begin(self.plan.clone()))
    }

    /// Ends the worker.
    pub fn close(&self) {
        self.client.end();
    }

    fn ask(&self, send: impl FnOnce(&Client) -> u32) -> Promise {
        let mut send = Some(send);
        Promise::new(&mut |resolve, reject| {
            if let Some(send) = send.take() {
                let id = send(&self.client);
                self.waiting.borrow_mut().insert(id, (resolve, reject));
            }
        })
    }
}

fn answer(waiting: &Waiting, heard: Heard) {
    match heard {
        Heard::Report(report, _) => {
            let Some((resolve, reject)) = waiting.borrow_mut().remove(&report.id) else { return };
            // Promises take any value.
            let _ = match &report.error {
                Some(error) => reject.call1(&JsValue::NULL, &js_sys::Error::new(error)),
                None => resolve.call1(&JsValue::NULL, &state_of(&report)),
            };
        }
        Heard::Restarted(_) => {}
        Heard::Dead(why) => {
            for (_, (_, reject)) in waiting.borrow_mut().drain() {
                let _ = reject.call1(&JsValue::NULL, &js_sys::Error::new(&format!("the lab's worker ended: {why}")));
            }
        }
    }
}

fn state_of(report: &Report) -> JsValue {
    let first = report.runs.first().cloned().unwrap_or_default();
    let state = json!({
        "step": first.step, "loss": first.loss, "shares": first.shares,
        "measures": measures(&report.runs), "runs": report.runs,
    });
    JSON::parse(&state.to_string()).unwrap_or(JsValue::NULL)
}

/// A run of the lab `name`; `settings` by their keys, with `beside` for what differs in a second run.
fn lab(name: &str, settings: &JsValue) -> Result<JsValue, JsValue> {
    let names = LabName::ALL.map(LabName::as_str);
    let wrong = |message: String| JsValue::from(js_sys::Error::new(&message));
    let lab = LabName::parse(name);
    let lab = lab.ok_or_else(|| wrong(format!("there is no lab {name}; there are: {}", names.join(", "))))?;
    let plan = plan_of(settings).map_err(|error| wrong(format!("the settings of lab {name}: {error}")))?;
    let waiting = Waiting::default();
    let heard = {
        let waiting = waiting.clone();
        yew::Callback::from(move |heard| answer(&waiting, heard))
    };
    let client = Client::new(lab, heard);
    client.begin(plan.clone());
    Ok(LabRun { client, plan, waiting }.into())
}

fn plan_of(settings: &JsValue) -> Result<Plan, String> {
    if settings.is_undefined() || settings.is_null() {
        return Ok(Plan::default());
    }
    let json = JSON::stringify(settings).ok().and_then(|json| json.as_string()).unwrap_or_default();
    let mut settings: Settings = parse(&json).map_err(|error| error.to_string())?;
    let mut plan = Plan::default();
    if let Some(beside) = settings.remove("beside") {
        let beside = if beside.is_array() { beside } else { json!([beside]) };
        let beside: Vec<Settings> = serde_json::from_value(beside).map_err(|error| format!("beside: {error}"))?;
        plan.runs = std::iter::once(Settings::new()).chain(beside).collect();
    }
    if let Some(own) = settings.remove("own") {
        plan.own = Some(serde_json::from_value(own).map_err(|error| format!("own: {error}"))?);
    }
    plan.settings = settings;
    Ok(plan)
}

/// Defines `window.moescope` for scripts.
pub fn install() {
    let moescope = Object::new();
    let make =
        Closure::<dyn Fn(String, JsValue) -> Result<JsValue, JsValue>>::new(|name: String, settings: JsValue| {
            lab(&name, &settings)
        });
    // Setting properties of a plain object cannot fail.
    let _ = Reflect::set(&moescope, &"lab".into(), make.as_ref());
    let _ = Reflect::set(&gloo::utils::window(), &"moescope".into(), &moescope);
    make.forget();
}
