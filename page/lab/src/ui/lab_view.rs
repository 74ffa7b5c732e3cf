//! A lab: its runs side by side, what is done with them, and what they show.

use crate::address::Run;
use crate::client::{Client, Heard};
use crate::controls::{Control, besides, control, usual_beside};
use crate::goal::Measures;
use crate::history::{History, Moment};
use crate::protocol::{LabName, Plan, Report, Saved, Settings, measures};
use crate::runs::{defaults, over};
use crate::ui::app::set_state;
use crate::ui::confusion::Confusions;
use crate::ui::controls_view::{Controls, short};
use crate::ui::cost::Cost;
use crate::ui::curves_view::{LossCurves, RUNS, ShareCurves};
use crate::ui::plane::{Plane, Show, Tool, drawn_points};
use crate::ui::routers::Routers;
use crate::ui::shares::Shares;
use crate::ui::strip::Strip;
use crate::ui::task::Task;
use crate::ui::tune::{Kept, Recordings, TuneText, Tuned, most};
use gloo::events::EventListener;
use gloo::utils::{document, window};
use moescope_common::canvas::{Frame, next_frame};
use moescope_common::format;
use moescope_common::icon::icon;
use moescope_common::t;
use serde_json::Value;
use std::collections::BTreeSet;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use yew::prelude::*;

/// Cells of a side of a drawn plane.
const CELLS: usize = 96;

/// Bytes of the longest text that an address holds.
const MOST_TEXT: usize = 6000;

/// Rest before the address follows, in ms.
const REST_MS: u32 = 500;

/// An event of a lab.
pub enum Message {
    /// The worker sent an event.
    Heard(Heard),
    /// A frame is to be drawn.
    Frame,
    /// Train on, or pause.
    Run(bool),
    /// Train so many steps.
    Step(u64),
    /// Begin anew.
    Reset,
    /// A setting changes.
    Set(&'static str, Value),
    /// What differs in each further run.
    Beside(Vec<Settings>),
    /// What the plane shows.
    Show(Show),
    /// What the pointer draws.
    Tool(Tool),
    /// The pointer drew at a place of the plane.
    Draw(f32, f32),
    /// The reader's points go, and the data set's come back.
    ForgetPoints,
    /// The tab was hidden or shown.
    Hidden(bool),
    /// The layer whose experts a text shows.
    Layer(usize),
    /// Make a file of a run's model.
    Save(usize),
    /// Keep a run's model in the browser.
    Keep(usize),
    /// The figures of recorded runs.
    Recorded(Measures),
    /// Halve the learning rate after a divergence, and go on.
    Gentler,
    /// The comparison of 1991.
    Compare,
    /// A row of it came.
    Compared(Heard),
    /// The address follows.
    Rest,
}

#[derive(Properties, PartialEq)]
pub struct LabProps {
    pub lab: LabName,
    /// What it begins with.
    pub run: Rc<Run>,
    pub dark: bool,
    /// The controls shown; all where there are none.
    #[prop_or_default]
    pub chosen: Rc<Vec<String>>,
    /// It is a place of its own: the address follows, and everything is shown.
    #[prop_or_default]
    pub is_whole: bool,
    /// Called with the figures.
    #[prop_or_default]
    pub figures: Callback<Measures>,
}

/// What the lab says besides its figures.
enum Note {
    Error(String),
    Diverged(String),
    Restarted(u64),
    Dead(String),
}

/// A lab.
pub struct LabView {
    client: Client,
    settings: Settings,
    beside: Vec<Settings>,
    own: Option<Vec<[f32; 3]>>,
    report: Option<Rc<Report>>,
    cells: Rc<Vec<Rc<Vec<u8>>>>,
    cells_size: (usize, usize),
    histories: Rc<Vec<History>>,
    measures: Rc<Measures>,
    first_loss: Option<f64>,
    running: bool,
    /// It ran when the tab was hidden.
    resumes: bool,
    is_asked: bool,
    frame: Option<Frame>,
    note: Option<Note>,
    show: Show,
    tool: Tool,
    recorded: Measures,
    layer: usize,
    /// The model that was saved last, with its run.
    saved: Option<(usize, Saved)>,
    /// The run that is being saved.
    saving: Option<usize>,
    /// How many models were kept.
    kept: usize,
    /// Bytes of the lab's files that have come, and of all.
    fetched: Option<(u64, u64)>,
    compared: Option<Rc<Report>>,
    comparing: Option<Client>,
    written: String,
    rest: Option<gloo::timers::callback::Timeout>,
    _hidden: EventListener,
}

impl Component for LabView {
    type Message = Message;
    type Properties = LabProps;

    fn create(context: &Context<Self>) -> Self {
        let props = context.props();
        let client = Client::new(props.lab, context.link().callback(Message::Heard));
        let hidden = context.link().callback(Message::Hidden);
        let hidden = EventListener::new(&document(), "visibilitychange", move |_| hidden.emit(document().hidden()));
        let mut view = Self {
            client,
            settings: Settings::new(),
            beside: Vec::new(),
            own: None,
            report: None,
            cells: Rc::default(),
            cells_size: (0, 0),
            histories: Rc::default(),
            measures: Rc::default(),
            first_loss: None,
            running: false,
            resumes: false,
            is_asked: false,
            frame: None,
            note: None,
            show: Show::Shares,
            tool: Tool::Class(0),
            recorded: Measures::new(),
            layer: 0,
            saved: None,
            saving: None,
            kept: 0,
            fetched: None,
            compared: None,
            comparing: None,
            written: String::new(),
            rest: None,
            _hidden: hidden,
        };
        view.take(props);
        view
    }

    fn changed(&mut self, context: &Context<Self>, old: &LabProps) -> bool {
        let props = context.props();
        // The address that this lab wrote itself brings nothing new.
        if props.run != old.run && props.run.fragment(props.lab) != self.written {
            self.take(props);
        }
        true
    }

    fn update(&mut self, context: &Context<Self>, message: Message) -> bool {
        match message {
            Message::Heard(heard) => return self.hear(context, heard),
            Message::Frame => {
                self.frame = None;
                self.is_asked = true;
                self.client.look(Some((CELLS, CELLS)));
                return false;
            }
            Message::Run(on) => self.run(on),
            Message::Step(steps) => {
                self.running = false;
                self.note = None;
                self.client.step(steps);
            }
            Message::Reset => self.begin(0, Vec::new()),
            Message::Set(key, value) => self.set(context.props().lab, key, value),
            Message::Beside(beside) => {
                self.beside = beside;
                self.begin_and_go_on();
            }
            Message::Show(show) => self.show = show,
            Message::Tool(tool) => self.tool = tool,
            Message::Draw(x, y) => self.draw(x, y),
            Message::ForgetPoints => {
                self.own = None;
                self.begin_and_go_on();
            }
            Message::Hidden(is_hidden) => {
                if is_hidden && self.running {
                    self.run(false);
                    self.resumes = true;
                } else if !is_hidden && std::mem::take(&mut self.resumes) {
                    self.run(true);
                }
            }
            Message::Recorded(figures) => {
                self.recorded = figures;
                self.report_figures(context);
            }
            Message::Layer(layer) => self.layer = layer,
            Message::Save(run) => {
                self.saving = Some(run);
                self.client.save(run, self.model_name(run));
            }
            Message::Keep(run) => {
                self.saving = Some(run);
                self.client.keep(run, self.model_name(run));
            }
            Message::Gentler => {
                let lab = context.props().lab;
                let rate = self.value(lab, "learning-rate").and_then(|value| value.as_f64()).unwrap_or(0.01);
                self.set(lab, "learning-rate", serde_json::json!(rate / 2.0));
                self.run(true);
            }
            Message::Compare => {
                let heard = context.link().callback(Message::Compared);
                let client = Client::new(context.props().lab, heard);
                client.compare();
                self.compared = Some(Rc::new(Report { busy: true, ..Report::default() }));
                self.comparing = Some(client);
            }
            Message::Compared(heard) => match heard {
                Heard::Report(report, _) => {
                    if !report.busy {
                        self.end_comparison();
                    }
                    self.compared = Some(Rc::new(*report));
                }
                Heard::Restarted(_) | Heard::Dead(_) => {
                    self.end_comparison();
                    self.compared = Some(Rc::new(Report { error: Some(t!("compare.ended")), ..Report::default() }));
                }
            },
            Message::Rest => {
                self.rest = None;
                self.write_address(context.props());
                return false;
            }
        }
        self.follow(context);
        true
    }

    fn view(&self, context: &Context<Self>) -> Html {
        let props = context.props();
        let link = context.link();
        html! {
            <section class="lab" data-testid="lab" data-lab={props.lab.as_str()} aria-label={t!("lab.label")}>
                if let Some(goal) = props.run.goal.clone().filter(|_| props.is_whole) {
                    <Task {goal} say={props.run.say.clone()} measures={self.measures.clone()}
                        proof={self.link_here(props, Some(&props.run))} />
                }
                { self.bar(context) }
                { self.notice(context) }
                if self.report.is_none() && self.note.is_none() && self.fetched.is_none() {
                    <p class="soft lab-fetching" role="status">{ t!("loading") }</p>
                }
                if let Some((done, all)) = self.fetched {
                    <p class="soft lab-fetching" role="status"><progress value={done.to_string()}
                        max={all.to_string()}></progress>
                        { t!("lab.fetching", done = format::bytes(done as f64), all = format::bytes(all as f64)) }</p>
                }
                { self.layers(context) }
                <div class="lab-body">
                    <div class="lab-runs" data-runs={self.count().to_string()}>
                        { for (0..self.count()).map(|at| self.figure(context, at)) }
                    </div>
                    <div class="lab-side">
                        if props.lab == LabName::FineTune { { self.text(context) } }
                        if props.lab != LabName::FineTune {
                            <LossCurves histories={self.histories.clone()} names={self.names(props.lab)}
                                dark={props.dark} />
                        }
                        if props.is_whole || !props.chosen.is_empty() {
                            <Controls lab={props.lab} settings={Rc::new(self.settings.clone())}
                                chosen={props.chosen.clone()} beside={self.beside_name(props.lab)}
                                set={link.callback(|(key, value)| Message::Set(key, value))}
                                set_beside={link.callback(Message::Beside)} />
                        }
                    </div>
                </div>
                if props.is_whole && props.lab == LabName::LocalExperts { { self.comparison(context) } }
                if props.lab == LabName::FineTune {
                    if props.is_whole { <Kept count={self.kept} /> }
                    <Recordings figures={link.callback(Message::Recorded)} />
                }
            </section>
        }
    }

    fn destroy(&mut self, _: &Context<Self>) {
        self.client.end();
        self.end_comparison();
        set_state("ready");
    }
}

impl LabView {
    /// Takes what the address or the chapter asks for.
    fn take(&mut self, props: &LabProps) {
        let run = &props.run;
        let usual = defaults(props.lab);
        // A chapter's or a link's settings; those that are as usual say nothing.
        self.settings = run
            .settings
            .iter()
            .filter(|(key, value)| usual.get(*key) != Some(value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        self.beside = run.beside.clone().unwrap_or_else(|| usual_beside(props.lab));
        self.own = run.own.clone();
        self.written = run.fragment(props.lab);
        self.begin(run.at, run.changes.clone());
    }

    fn plan(&self) -> Plan {
        let mut runs = vec![Settings::new()];
        runs.extend(self.beside.clone());
        Plan { settings: self.settings.clone(), runs, own: self.own.clone(), ..Plan::default() }
    }

    fn begin(&mut self, at: u64, changes: Vec<crate::protocol::Change>) {
        self.running = false;
        self.resumes = false;
        self.note = None;
        self.first_loss = None;
        Rc::make_mut(&mut self.histories).clear();
        self.client.begin(Plan { at, changes, ..self.plan() });
        self.is_asked = true;
        self.client.look(Some((CELLS, CELLS)));
    }

    fn begin_and_go_on(&mut self) {
        let ran = self.running;
        self.begin(0, Vec::new());
        if ran {
            self.run(true);
        }
    }

    fn run(&mut self, on: bool) {
        self.running = on;
        self.note = None;
        self.client.run(on);
    }

    fn set(&mut self, lab: LabName, key: &'static str, value: Value) {
        let is_usual = defaults(lab).get(key) == Some(&value);
        if is_usual {
            self.settings.remove(key);
        } else {
            self.settings.insert(key.into(), value.clone());
        }
        if key == "data" {
            self.own = None;
        }
        if key == "trained" && value == "routers" {
            // A dense model has none.
            self.beside.retain(|beside| beside.get("model").is_none_or(|model| model != "dense"));
        }
        if key == "model" {
            self.beside.retain(|beside| beside.get("model").is_none_or(|model| *model != value));
        }
        if key == "text" || control(lab, key).is_some_and(|control: &Control| control.begins_anew) {
            self.begin_and_go_on();
        } else {
            self.note = None;
            self.client.set([(key.to_owned(), value)].into_iter().collect());
        }
    }

    fn value(&self, lab: LabName, key: &str) -> Option<Value> {
        self.settings.get(key).cloned().or_else(|| defaults(lab).get(key).cloned())
    }

    fn count(&self) -> usize {
        1 + self.beside.len()
    }

    fn hear(&mut self, context: &Context<Self>, heard: Heard) -> bool {
        match heard {
            Heard::Report(report, cells) => self.take_report(context, *report, cells),
            Heard::Restarted(step) => {
                self.is_asked = false;
                self.note = Some(Note::Restarted(step));
            }
            Heard::Dead(why) => {
                self.running = false;
                self.note = Some(Note::Dead(why));
            }
        }
        self.follow(context);
        true
    }

    fn take_report(&mut self, context: &Context<Self>, report: Report, cells: Vec<Vec<u8>>) {
        self.fetched = report.fetched;
        if self.fetched.is_some() {
            return;
        }
        if let Some(run) = self.saving.filter(|_| report.saved.is_some() || report.runs.is_empty()) {
            self.take_saved(run, report);
            return;
        }
        self.is_asked = false;
        if let Some(error) = &report.error {
            self.running &= !report.diverged && !report.runs.is_empty();
            self.note = Some(if report.diverged { Note::Diverged(error.clone()) } else { Note::Error(error.clone()) });
        }
        if report.runs.is_empty() {
            return;
        }
        if cells.iter().all(|cells| !cells.is_empty()) {
            self.cells = Rc::new(cells.into_iter().map(Rc::new).collect());
            self.cells_size = report.cells;
        }
        let histories = Rc::make_mut(&mut self.histories);
        histories.resize_with(report.runs.len(), History::default);
        for (history, run) in histories.iter_mut().zip(&report.runs) {
            history.push(Moment { step: run.step, loss: run.loss, shares: run.shares.clone() });
        }
        let mut all = measures(&report.runs);
        let first = &report.runs[0];
        let begun = *self.first_loss.get_or_insert(first.loss);
        all.insert("rises".into(), self.histories[0].rises() as f64);
        all.insert("fell".into(), f64::from(u8::from(first.loss < begun && self.histories[0].rises() == 0)));
        let method = self.value(context.props().lab, "method");
        all.insert("em".into(), f64::from(u8::from(method.is_some_and(|method| method == "em"))));
        if let (Some(switched), Some(other)) = (all.get("multiply-adds"), all.get("multiply-adds-2")) {
            let saving = other / switched.max(1.0);
            all.insert("saving".into(), saving);
        }
        self.measures = Rc::new(all);
        self.report = Some(Rc::new(report));
        self.report_figures(context);
    }

    /// Gives the chapter the figures.
    fn report_figures(&self, context: &Context<Self>) {
        let mut all = (*self.measures).clone();
        all.extend(self.recorded.clone());
        context.props().figures.emit(all);
    }

    fn take_saved(&mut self, run: usize, report: Report) {
        self.saving = None;
        self.note = report.error.map(Note::Error);
        let Some(saved) = report.saved else { return };
        match &saved.file {
            Some(file) => offer(file, &saved.name),
            None => self.kept += 1,
        }
        self.saved = Some((run, saved));
    }

    /// What a run's model is called where it is saved.
    fn model_name(&self, run: usize) -> String {
        let settings = run
            .checked_sub(1)
            .and_then(|at| self.beside.get(at))
            .map_or_else(|| self.settings.clone(), |beside| over(&self.settings, beside));
        let word = |key: &str| {
            let value = settings.get(key).cloned().or_else(|| self.value(LabName::FineTune, key)).unwrap_or_default();
            value.as_str().map(str::to_owned).unwrap_or_default()
        };
        let step = self.report.as_ref().and_then(|report| report.runs.get(run)).map_or(0, |run| run.step);
        format!("{}-{}-step-{step}", word("model"), word("trained"))
    }

    /// After anything: the next frame, the page's state, the address.
    fn follow(&mut self, context: &Context<Self>) {
        let moves = self.running || self.report.as_ref().is_some_and(|report| report.busy);
        // A look after a change or a pause shows how it stands now.
        let is_old = self
            .report
            .as_ref()
            .is_some_and(|report| report.cells == (0, 0) && !report.runs.is_empty() || report.running != self.running);
        if (moves || is_old) && !self.is_asked && self.frame.is_none() && !matches!(self.note, Some(Note::Dead(_))) {
            let frame = context.link().callback(|()| Message::Frame);
            self.frame = Some(next_frame(move || frame.emit(())));
        }
        let is_here = self.report.is_some() || self.note.is_some();
        set_state(if moves {
            "running"
        } else if is_here {
            "ready"
        } else {
            "loading"
        });
        if context.props().is_whole && self.rest.is_none() {
            let link = context.link().clone();
            let rest = gloo::timers::callback::Timeout::new(REST_MS, move || link.send_message(Message::Rest));
            self.rest = Some(rest);
        }
    }

    /// The settings in the address, so that a reload finds them.
    fn write_address(&mut self, props: &LabProps) {
        let mut settings = self.settings.clone();
        if settings.get("text").and_then(Value::as_str).is_some_and(|text| text.len() > MOST_TEXT) {
            // Addresses have an end.
            settings.remove("text");
        }
        let run = Run {
            settings,
            beside: Some(self.beside.clone()).filter(|beside| *beside != usual_beside(props.lab)),
            own: self.own.clone(),
            goal: props.run.goal.clone(),
            say: props.run.say.clone(),
            ..Run::default()
        };
        let fragment = run.fragment(props.lab);
        if fragment != self.written {
            self.written = fragment;
            if let Ok(history) = window().history() {
                // Fails where a page changes its address too often; the next change says it again.
                let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(&self.written));
            }
        }
    }

    /// The address of just this step of just this run.
    fn link_here(&self, props: &LabProps, task: Option<&Run>) -> String {
        let plan = self.client.plan();
        let run = Run {
            settings: plan.settings,
            beside: Some(self.beside.clone()).filter(|beside| *beside != usual_beside(props.lab)),
            own: plan.own,
            at: plan.at,
            changes: plan.changes,
            goal: task.and_then(|run| run.goal.clone()),
            say: task.and_then(|run| run.say.clone()),
        };
        let location = window().location();
        let page = location.href().unwrap_or_default();
        let page = page.split('#').next().unwrap_or_default();
        format!("{page}{}", run.fragment(props.lab))
    }

    fn draw(&mut self, x: f32, y: f32) {
        let Some(first) = self.report.as_ref().and_then(|report| report.runs.first()) else { return };
        let Some(points) = drawn_points(&first.drawn, self.own.as_deref(), self.tool, x, y) else { return };
        self.own = Some(points.clone());
        self.client.set_points(points);
    }

    fn end_comparison(&mut self) {
        if let Some(client) = self.comparing.take() {
            client.end();
        }
    }

    /// What the runs are called: of one, the lab; of several, what differs.
    fn names(&self, lab: LabName) -> Rc<Vec<String>> {
        if self.beside.is_empty() {
            return Rc::new(vec![t!("run.this")]);
        }
        let differs: BTreeSet<&String> = self.beside.iter().flat_map(|beside| beside.keys()).collect();
        let name = |settings: &Settings| {
            let word = |key: &String| {
                let value = settings.get(key).cloned().or_else(|| self.value(lab, key)).unwrap_or_default();
                let number = value.as_f64().map(short);
                value.as_str().map_or_else(
                    || format!("{} {}", t!(&format!("control.{key}")), number.unwrap_or_else(|| value.to_string())),
                    |value| t!(&format!("choice.{key}.{value}")),
                )
            };
            differs.iter().map(|key| word(key)).collect::<Vec<_>>().join(", ")
        };
        let others = self.beside.iter().map(|beside| name(&over(&self.settings, beside)));
        Rc::new(std::iter::once(name(&self.settings)).chain(others).collect())
    }

    fn beside_name(&self, lab: LabName) -> Option<&'static str> {
        let [beside] = &self.beside[..] else { return None };
        besides(lab).into_iter().find(|(_, settings)| settings == beside).map(|(name, _)| name)
    }

    fn bar(&self, context: &Context<Self>) -> Html {
        let link = context.link();
        let running = self.running;
        let step = self.report.as_ref().and_then(|report| report.runs.first()).map_or(0, |run| run.step);
        let rate = self.report.as_ref().map_or(0.0, |report| report.rate);
        let steps = |n: u64| link.callback(move |_: MouseEvent| Message::Step(n));
        let (name, label) = if running { ("pause", t!("run.pause")) } else { ("play", t!("run.start")) };
        html! {
            <div class="lab-bar" role="group" aria-label={t!("run.label")}>
                <button type="button" class="primary" data-testid="lab-run" aria-pressed={running.to_string()}
                    onclick={link.callback(move |_: MouseEvent| Message::Run(!running))}>
                    { icon(name) }{ label }</button>
                <button type="button" data-testid="lab-one" onclick={steps(1)}>
                    { icon("step") }{ t!("run.step") }</button>
                <button type="button" data-testid="lab-ten" onclick={steps(100)}>{ t!("run.steps", n = 100) }</button>
                <button type="button" data-testid="lab-reset" onclick={link.callback(|_: MouseEvent| Message::Reset)}>
                    { icon("undo") }{ t!("run.reset") }</button>
                <output class="lab-step" data-testid="lab-step" data-step={step.to_string()}>
                    { t!("run.at", step = format::count(step as f64)) }</output>
                if running && rate > 0.0 {
                    <span class="soft lab-rate">{ t!("run.rate",
                        rate = if rate < 10.0 { format::decimal(rate) } else { format::count(rate) }) }</span>
                }
            </div>
        }
    }

    fn notice(&self, context: &Context<Self>) -> Html {
        let (class, text) = match &self.note {
            None => return html! {},
            Some(Note::Error(error)) => ("problem", error.clone()),
            Some(Note::Diverged(error)) => ("problem", error.clone()),
            Some(Note::Restarted(step)) => ("remark", t!("run.restarted", step = format::count(*step as f64))),
            Some(Note::Dead(why)) => ("problem", t!("run.dead", why = why)),
        };
        let is_diverged = matches!(self.note, Some(Note::Diverged(_)));
        let gentler = context.link().callback(|_: MouseEvent| Message::Gentler);
        html! {
            <div {class} role="alert" data-testid="lab-note">
                <span>{ text }</span>
                if is_diverged {
                    <button type="button" data-testid="lab-gentler" onclick={gentler}>{ t!("run.gentler") }</button>
                }
            </div>
        }
    }

    fn figure(&self, context: &Context<Self>, at: usize) -> Html {
        let props = context.props();
        let Some(run) = self.report.as_ref().and_then(|report| report.runs.get(at).cloned()) else {
            return html! { <div class="lab-figure is-empty" key={at}></div> };
        };
        let link = context.link();
        let name = self.names(props.lab).get(at).cloned().unwrap_or_default();
        let first = at == 0;
        let accuracy = run.measures.get("accuracy").map(|share| format::percent(*share));
        let cells = self.cells.get(at).cloned().unwrap_or_default();
        html! {
            <figure class="lab-figure" key={at} data-run={at.to_string()}>
                <figcaption>
                    <span class="in-colour run-name" data-e={RUNS[at.min(2)].to_string()}>{ name.clone() }</span>
                    <output class="run-loss" data-testid={if first { "lab-loss" } else { "lab-loss-beside" }}
                        data-loss={run.loss.to_string()}>{ t!("run.loss", loss = format::decimal(run.loss)) }</output>
                    if let Some(accuracy) = accuracy {
                        <span class="soft">{ t!("run.accuracy", share = accuracy) }</span>
                    }
                </figcaption>
                if props.lab == LabName::LocalExperts {
                    <Plane {cells} size={self.cells_size} drawn={run.drawn.clone()} experts={run.shares.len()}
                        show={self.show} tool={self.tool} dark={props.dark} label={name}
                        draw={link.callback(|(x, y)| Message::Draw(x, y))} />
                }
                if props.lab == LabName::DeepMixture { <Confusions drawn={run.drawn.clone()} /> }
                if props.lab == LabName::Router {
                    { self.strip(at, &run.drawn) }
                    <Routers drawn={run.drawn.clone()} />
                }
                if props.lab == LabName::FineTune { { self.tuned(context, at, &run.drawn) } }
                if props.lab == LabName::Conditional { <Cost reports={self.report.clone()} {at} /> }
                <Shares shares={Rc::new(run.shares.clone())} is_first={first} />
                <ShareCurves history={Rc::new(self.histories.get(at).cloned().unwrap_or_default())}
                    dark={props.dark} />
                if first && props.lab == LabName::LocalExperts && props.is_whole { { self.tools(context, &run.drawn) } }
            </figure>
        }
    }

    /// The text to train on.
    fn text(&self, context: &Context<Self>) -> Html {
        let first = self.report.as_ref().and_then(|report| report.runs.first());
        let tokens = |key: &str| first.and_then(|run| run.drawn[key].as_u64()).unwrap_or(0);
        let text = self.settings.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
        html! {
            <TuneText {text} trained={tokens("text-tokens")} held_out={tokens("held-out-tokens")}
                set={context.link().callback(|text: String| Message::Set("text", text.into()))} />
        }
    }

    /// A fine-tuned model, and what can be done with it.
    fn tuned(&self, context: &Context<Self>, at: usize, drawn: &Value) -> Html {
        let link = context.link();
        let all: Vec<&Value> =
            self.report.as_ref().map_or_else(Vec::new, |report| report.runs.iter().map(|run| &run.drawn).collect());
        let busy = self.saving.is_some();
        let saved = self.saved.as_ref().filter(|(run, _)| *run == at).map(|(_, saved)| saved);
        html! {
            <>
                <Tuned drawn={drawn.clone()} most={most(&all)} layer={self.layer_of(drawn)} />
                if context.props().is_whole {
                    <div class="tune-doors">
                        <button type="button" class="small" data-testid="tune-keep" disabled={busy}
                            onclick={link.callback(move |_: MouseEvent| Message::Keep(at))}>
                            { t!("tune.keep") }</button>
                        <button type="button" class="small" data-testid="tune-save" disabled={busy}
                            onclick={link.callback(move |_: MouseEvent| Message::Save(at))}>
                            { t!("tune.save") }</button>
                        <span role="status" data-testid="tune-saved">
                            if self.saving == Some(at) {
                                { t!("tune.saving") }
                            } else if let Some(saved) = saved {
                                if let Some(file) = &saved.file {
                                    <a href={file.clone()} download={format!("{}.zip", saved.name)}>
                                        { format!("{}.zip, {}", saved.name, format::bytes(saved.bytes as f64)) }</a>
                                } else {
                                    { t!("tune.is-kept", name = saved.name, size = format::bytes(saved.bytes as f64)) }
                                }
                            }
                        </span>
                    </div>
                }
            </>
        }
    }

    fn layer_of(&self, drawn: &Value) -> usize {
        self.layer.min(drawn["experts"].as_array().map_or(0, |layers| layers.len().saturating_sub(1)))
    }

    /// Which layer's experts the text shows.
    fn layers(&self, context: &Context<Self>) -> Html {
        let has = matches!(context.props().lab, LabName::Router | LabName::FineTune);
        let first = self.report.as_ref().and_then(|report| report.runs.first()).filter(|_| has);
        let Some(drawn) = first.map(|run| &run.drawn) else { return html! {} };
        let count = drawn["experts"].as_array().map_or(0, Vec::len);
        let layers = (0..count).map(|layer| {
            let chosen = context.link().callback(move |()| Message::Layer(layer));
            radio("layer", layer.to_string(), self.layer_of(drawn) == layer, chosen)
        });
        html! {
            <fieldset class="lab-layers"><legend>{ t!("picture.layers") }</legend>
                <div class="segments">{ for layers }</div></fieldset>
        }
    }

    /// A text in the colours of a run's experts, with marks where the first run has others.
    fn strip(&self, at: usize, drawn: &Value) -> Html {
        let first = self.report.as_ref().and_then(|report| report.runs.first()).filter(|_| at > 0);
        let other = first.map(|run| Rc::new(run.drawn["experts"].clone()));
        let top_k = drawn["top-k"].as_u64().unwrap_or(1) as usize;
        html! {
            <Strip tokens={drawn["strip"].clone()} experts={drawn["experts"].clone()} {other} {top_k}
                layer={self.layer_of(drawn)} label={t!("router.strip")} />
        }
    }

    /// What the plane shows, and what the pointer draws on it.
    fn tools(&self, context: &Context<Self>, drawn: &Value) -> Html {
        let link = context.link();
        let classes = drawn["classes"].as_u64();
        let tools = (0..classes.unwrap_or(2)).map(|class| Tool::Class(class as u8)).chain([Tool::Erase, Tool::None]);
        let tools = tools.map(|tool| {
            let label = match tool {
                Tool::Class(class) if classes.is_some() => t!("tool.class", n = class),
                Tool::Class(0) => t!("tool.low"),
                Tool::Class(_) => t!("tool.high"),
                Tool::Erase => t!("tool.erase"),
                Tool::None => t!("tool.none"),
            };
            radio("tool", label, self.tool == tool, link.callback(move |()| Message::Tool(tool)))
        });
        let shows = [Show::Shares, Show::Prediction, Show::Deviation].map(|show| {
            let label = match show {
                Show::Shares => t!("show.shares"),
                Show::Prediction => t!("show.prediction"),
                Show::Deviation => t!("show.deviation"),
            };
            radio("show", label, self.show == show, link.callback(move |()| Message::Show(show)))
        });
        let forget = link.callback(|_: MouseEvent| Message::ForgetPoints);
        html! {
            <div class="lab-tools">
                <fieldset><legend>{ t!("show.label") }</legend><div class="segments">{ for shows }</div></fieldset>
                <fieldset><legend>{ t!("tool.label") }</legend><div class="segments">{ for tools }</div></fieldset>
                if self.own.is_some() {
                    <button type="button" class="small" onclick={forget}>{ t!("tool.forget") }</button>
                }
            </div>
        }
    }

    /// The comparison of the paper.
    fn comparison(&self, context: &Context<Self>) -> Html {
        let busy = self.comparing.is_some();
        let compare = context.link().callback(|_: MouseEvent| Message::Compare);
        html! {
            <section class="card compare-1991">
                <h2>{ t!("compare.title") }</h2>
                <p>{ t!("compare.about") }</p>
                <button type="button" data-testid="lab-compare" disabled={busy} onclick={compare}>
                    { if busy { t!("compare.running") } else { t!("compare.start") } }</button>
                if let Some(report) = &self.compared {
                    if let Some(error) = &report.error { <p class="problem">{ error.clone() }</p> }
                    { rows(report.compared.as_ref()) }
                }
            </section>
        }
    }
}

fn rows(rows: Option<&Value>) -> Html {
    let Some(rows) = rows.and_then(Value::as_array).filter(|rows| !rows.is_empty()) else { return html! {} };
    let cells = rows.iter().map(|row| {
        let name = match (&row["system"]["mixture"], &row["system"]["network"]) {
            (Value::Number(n), _) => t!("compare.mixture", n = n),
            (_, Value::Number(n)) => t!("compare.network", n = n),
            _ => String::new(),
        };
        let number = |key: &str| row[key].as_f64().unwrap_or(0.0);
        html! {
            <tr data-testid="compare-row"><th scope="row">{ name }</th><td>{ format::count(number("parameters")) }</td>
                <td>{ format::count(number("mean")) }</td><td>{ format::count(number("deviation")) }</td>
                <td>{ format::percent(number("test-accuracy")) }</td><td>{ format::count(number("failed")) }</td></tr>
        }
    });
    let heads = ["system", "parameters", "epochs", "deviation", "test", "failed"];
    let heads = heads.map(|head| html! { <th scope="col">{ t!(&format!("compare.{head}")) }</th> });
    html! {
        <table>
            <thead><tr>{ for heads }</tr></thead>
            <tbody>{ for cells }</tbody>
        </table>
    }
}

/// Lets the browser save a file.
fn offer(file: &str, name: &str) {
    let anchor = document().create_element("a").ok().and_then(|a| a.dyn_into::<web_sys::HtmlAnchorElement>().ok());
    if let Some(anchor) = anchor {
        anchor.set_href(file);
        anchor.set_download(&format!("{name}.zip"));
        anchor.click();
    }
}

/// One of a few choices.
fn radio(group: &'static str, label: String, checked: bool, chosen: Callback<()>) -> Html {
    html! {
        <label key={label.clone()}><input type="radio" name={group} {checked}
            onchange={chosen.reform(|_: Event| ())} /><span>{ label }</span></label>
    }
}
