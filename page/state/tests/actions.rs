//! Every action of the page, against a worker with a real model (`desk`).

mod desk;

use desk::{FIRST, Page, source};
use moescope::routing::dossier::Dossier;
use moescope::routing::{Policy, Recording};
use moescope_state::changes::toggled;
use moescope_state::curves::Curves;
use moescope_state::death::Death;
use moescope_state::phrase::Phrase;
use moescope_state::view::Tab;
use moescope_state::{Action, ColourBy, Effect, ExpertOf, GameStep, LayerChoice, Picture, Status};
use moescope_worker::protocol::{BackendChoice, Command, Event, Extent, Request, Sampling, Sweep, Swept};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn policy(json: &str) -> Policy {
    Policy::parse(json).expect("a policy")
}

/// The texts of the first text's tokens, joined, are the text.
fn shown(page: &Page) -> String {
    page.state.shown.tokens.iter().map(|token| token.text.as_str()).collect()
}

#[test]
fn every_action_has_a_test_here_or_beside_its_part() {
    let read = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file");
    let actions = read("src/action.rs");
    let (_, body) = actions.split_once("pub enum Action {").expect("the actions");
    let (body, _) = body.split_once("\n}\n").expect("their end");
    let names = body.lines().filter(|line| line.starts_with("    ") && line[4..].starts_with(char::is_uppercase));
    let names: Vec<&str> = names.map(|line| line[4..].split(['(', ' ', ',']).next().unwrap_or_default()).collect();
    assert!(names.len() > 50, "{names:?}");
    let tests = [read("tests/actions.rs"), read("tests/desk/mod.rs")];
    let beside = ["src/lib.rs", "src/story.rs"].map(|path| {
        let source = read(path);
        source.split_once("mod tests {").expect("tests").1.to_owned()
    });
    let tests: String = tests.into_iter().chain(beside).collect();
    let is_used = |name: &&&str| {
        tests
            .match_indices(&format!("Action::{name}"))
            .any(|(at, found)| !tests[at + found.len()..].starts_with(|next: char| next.is_alphanumeric()))
    };
    let missing: Vec<_> = names.iter().filter(|name| !is_used(name)).collect();
    assert!(missing.is_empty(), "no test does {missing:?}");
}

#[test]
fn the_page_opens_on_the_first_example() {
    let page = Page::open("");
    assert_eq!((page.state.text.as_str(), shown(&page).as_str()), (FIRST, FIRST));
    assert_eq!(page.state.status(), Status::Ready);
    assert!(matches!(page.effects.first(), Some(Effect::ShowText)));
    assert!(page.effects.iter().any(|effect| matches!(effect, Effect::Colours(8))));
    assert!(page.effects.iter().any(|effect| matches!(effect, Effect::FetchExtras { name, .. } if name == "tiny")));
}

#[test]
fn text_is_edited_replaced_and_put_back() {
    let mut page = Page::open("");
    page.act(Action::Edit("The house by the sea".into()));
    assert_eq!(shown(&page), "The house by the sea");
    assert_eq!(*page.state.trace, page.fresh());
    page.act(Action::Pin(Some(2)));
    page.act(Action::Replace("let x = 1;".into()));
    assert_eq!((shown(&page).as_str(), page.state.pinned), ("let x = 1;", None), "the token was another text's");
    page.act(Action::UndoReplace);
    assert_eq!(shown(&page), "The house by the sea");
    page.act(Action::UndoReplace);
    assert_eq!(shown(&page), "The house by the sea", "once");
}

#[test]
fn a_run_in_progress_shows_what_is_to_come() {
    let mut page = Page::open("");
    let commands = page.held(Action::Edit("The house stood by the sea and the wind".into()));
    assert!(matches!(commands.as_slice(), [Command::Route { text, .. }] if text.ends_with("wind")));
    assert_eq!(page.state.status(), Status::Running);
    assert!(matches!(page.held(Action::Stop).as_slice(), [Command::Stop]));
    // The failure of an older run is shown, but the newer run goes on.
    let Some(Command::Route { generation, .. }) = commands.into_iter().next() else { panic!("a run") };
    page.hear(Event::RunFailed { generation: generation - 1, message: "old".into() });
    assert_eq!((page.state.status(), page.state.problem.is_some()), (Status::Running, true));
    page.act(Action::DismissProblem);
    page.hear(Event::RunFailed { generation, message: "the GPU was lost".into() });
    assert_eq!((page.state.status(), &page.state.problem), (Status::Error, &Some("the GPU was lost".into())));
}

#[test]
fn the_view_changes_by_itself() {
    let mut page = Page::open("");
    page.act(Action::Layer(LayerChoice::All));
    assert_eq!(page.state.open_layer(), 3);
    page.act(Action::Layer(LayerChoice::One(1)));
    assert_eq!((page.state.layer, page.state.open_layer()), (LayerChoice::One(1), 1));
    page.act(Action::Picture(Picture::Flow));
    assert!(page.state.picture == Picture::Flow && matches!(page.effects.last(), Some(Effect::Reveal("picture"))));
    page.act(Action::ColourBy(ColourBy::Entropy));
    page.act(Action::Dense(true));
    page.act(Action::Present(true));
    page.act(Action::Dark(true));
    page.act(Action::Tab(Tab::Cost));
    let state = &page.state;
    assert!(state.colour_by == ColourBy::Entropy && state.view.dense && state.view.present && state.dark);
    assert_eq!((state.view.tab, state.view.drawer_open), (Tab::Cost, true));
    page.act(Action::Drawer(false));
    assert!(!page.state.view.drawer_open);
    let expert = ExpertOf { layer: 2, expert: 5 };
    page.act(Action::Point(Some(expert)));
    assert_eq!(page.state.marked_expert(), Some(expert));
    page.act(Action::Point(None));
    assert_eq!(page.state.marked_expert(), None);
    page.act(Action::Expert(Some(expert)));
    assert_eq!((page.state.layer, page.state.view.tab), (LayerChoice::One(2), Tab::Expert));
    assert_eq!(page.state.inspected_expert(), Some(expert));
    page.act(Action::OtherExperts(32));
    assert!(matches!(page.effects.last(), Some(Effect::Colours(32))), "the side with more experts");
}

#[test]
fn tokens_are_pointed_at_chosen_and_found() {
    let mut page = Page::open("#/?text=the%20house%20and%20the%20sea%20and%20the%20house");
    let last = page.state.trace.len() - 1;
    assert_eq!(page.state.inspected(), Some(last), "the newest");
    page.act(Action::Hover(Some(1)));
    assert_eq!(page.state.inspected(), Some(1));
    page.act(Action::Hover(None));
    page.act(Action::Pin(Some(3)));
    assert!(page.state.shows_pinned() && page.state.view.tab == Tab::Token);
    let look = page.state.look.as_ref().expect("the lens has looked inside");
    assert_eq!(look.len(), 4, "every layer");
    page.act(Action::Extend(5));
    let range: Vec<usize> = (0..=last).filter(|&position| page.state.found[position]).collect();
    assert_eq!(range, [3, 4, 5]);
    page.act(Action::Pin(None));
    page.act(Action::Search("house".into()));
    let found: Vec<usize> = (0..=last).filter(|&position| page.state.found[position]).collect();
    assert!(found.len() >= 2, "{found:?}");
    for expected in [found[0], found[1]] {
        page.act(Action::FindNext);
        assert_eq!(page.state.pinned, Some(expected));
    }
    page.act(Action::Pin(Some(last)));
    page.act(Action::FindNext);
    assert_eq!(page.state.pinned, Some(found[0]), "from the start again");
}

#[test]
fn playback_shows_the_beginning() {
    let mut page = Page::open("");
    let all = page.state.trace.len();
    page.act(Action::Play(Some(2)));
    assert_eq!((page.state.shown.len(), page.state.trace.len(), page.state.inspected()), (2, all, Some(1)));
    page.act(Action::Play(Some(all)));
    assert_eq!((page.state.shown.len(), page.state.played), (all, None));
}

#[test]
fn a_change_of_the_routing_is_compared_and_written_out() {
    let mut page = Page::open("");
    let before = (*page.state.trace).clone();
    page.act(Action::Policy(policy(r#"{"top_k":1}"#)));
    assert_eq!(*page.state.trace, page.fresh());
    assert_eq!(*page.state.changes.baseline, before);
    assert!(page.state.changes.effect.is_some() && page.state.changes.are_on());
    let writes = page.state.writes.as_ref().expect("both continuations");
    assert_eq!(writes.model.text.as_deref(), Some(format!("{FIRST} and on").as_str()));
    assert_eq!(writes.changed.text.as_deref(), Some(format!("{FIRST} and on otherwise").as_str()));
    // Text typed under the change is routed both ways.
    page.act(Action::Edit("The house by the sea".into()));
    assert_eq!(*page.state.trace, page.fresh());
    assert_eq!(page.state.changes.baseline.len(), page.state.trace.len());
    page.act(Action::Policy(Policy::default()));
    assert!(!page.state.changes.are_on() && *page.state.trace == page.fresh());
}

#[test]
fn a_refused_policy_leaves_the_one_in_use() {
    let mut page = Page::open("");
    let one = policy(r#"{"top_k":1}"#);
    page.act(Action::Policy(one.clone()));
    page.act(Action::Policy(policy(r#"{"top_k":99}"#)));
    let changes = &page.state.changes;
    assert!(changes.refused.as_ref().is_some_and(|why| why.contains("top_k")), "{:?}", changes.refused);
    assert_eq!((&changes.asked, &changes.in_use), (&one, &one));
    page.act(Action::DismissRefusal);
    assert_eq!(page.state.changes.refused, None);
    page.act(Action::PolicyRefused("it is not JSON".into()));
    assert_eq!(page.state.changes.refused.as_deref(), Some("it is not JSON"));
}

#[test]
fn experts_that_are_off_are_known() {
    let mut page = Page::open("");
    page.act(Action::Policy(toggled(&Policy::default(), Some(2), 5, true)));
    assert_eq!(page.state.experts_off(), [ExpertOf { layer: 2, expert: 5 }]);
    assert!(page.state.trace.layer(2).expect("a layer").selected.iter().all(|&expert| expert != 5));
}

#[test]
fn sweeps_and_profiles_answer_to_their_own_request() {
    let mut page = Page::open("");
    let commands = page.held(Action::Sweep(Sweep::Choices));
    let [Command::Sweep { request, sweep: Sweep::Choices }] = commands.as_slice() else { panic!("{commands:?}") };
    let swept = |request, done| Event::Swept { request, found: Swept::Choices(Vec::new()), progress: (3, 8), done };
    page.hear(swept(Request::Api(1), true));
    assert!(page.state.changes.sweep.as_ref().is_some_and(|sweep| sweep.running && sweep.progress == (0, 0)));
    page.hear(swept(*request, true));
    assert!(page.state.changes.sweep.as_ref().is_some_and(|sweep| !sweep.running && sweep.progress == (3, 8)));
    page.act(Action::Profile);
    assert_eq!(page.state.notes, [Phrase::from("the model runs on the CPU")]);
}

#[test]
fn a_continuation_grows_token_by_token_and_can_be_put_back() {
    let mut page = Page::open("");
    page.act(Action::Tokens(3));
    page.act(Action::Sampling(Sampling { seed: 7, ..Sampling::default() }));
    let before = page.state.trace.len();
    let commands = page.held(Action::Generate);
    let [Command::Generate { tokens: 3, sampling, .. }] = commands.as_slice() else { panic!("{commands:?}") };
    assert!(sampling.seed == 7 && page.state.is_generating());
    let mut page = Page::open("");
    page.act(Action::Tokens(3));
    page.act(Action::Generate);
    assert_eq!((page.state.trace.len(), page.state.status()), (before + 3, Status::Ready));
    assert!(page.state.text.starts_with(FIRST) && page.state.text.len() > FIRST.len());
    assert_eq!(shown(&page), **page.state.text);
    page.act(Action::UndoReplace);
    assert_eq!(page.state.text.as_str(), FIRST);
}

#[test]
fn a_second_side_keeps_what_it_is_given() {
    let mut page = Page::open("");
    page.act(Action::Policy(policy(r#"{"top_k":1}"#)));
    page.act(Action::KeepBeside);
    assert_eq!(page.state.compare.as_deref(), Some("self"));
    assert_eq!(page.state.compare_policy, policy(r#"{"top_k":1}"#));
    page.act(Action::ComparePolicy(policy(r#"{"off":[1]}"#)));
    assert_eq!(page.state.compare_policy, policy(r#"{"off":[1]}"#));
    page.act(Action::Compare(None));
    assert_eq!((page.state.compare.as_deref(), &page.state.compare_policy), (None, &Policy::default()));
}

#[test]
fn the_training_is_watched_and_left() {
    let mut page = Page::open("");
    page.act(Action::Watch);
    assert!(matches!(page.effects.last(), Some(Effect::FetchRecording(name)) if name == "tiny"));
    let json = std::fs::read_to_string(root().join("tests/recordings/sample.json")).expect("a recording");
    let recording = || Box::new(Recording::read(&json).expect("a recording"));
    let last = recording().snapshots().len() - 1;
    page.act(Action::Recording("another".into(), Ok(recording())));
    assert!(page.state.past.is_none(), "another model's");
    page.act(Action::Recording("tiny".into(), Ok(recording())));
    assert_eq!(page.state.past.as_ref().map(|past| past.moment.snapshot), Some(0));
    page.act(Action::Snapshot(Some(last + 5)));
    assert_eq!(page.state.past.as_ref().map(|past| past.moment.snapshot), Some(last), "the last there is");
    page.act(Action::Beside(Some(0)));
    let text = recording().texts().len() - 1;
    page.act(Action::RecordedText(text + 3));
    let past = page.state.past.as_ref().expect("a snapshot");
    assert_eq!((past.moment.text, past.moment.beside), (text, Some(0)));
    assert_eq!(page.state.shown.len(), recording().texts()[text].tokens.len());
    page.act(Action::Snapshot(None));
    assert!(page.state.past.is_none() && shown(&page) == FIRST);
    page.act(Action::Recording("tiny".into(), Err("it is damaged".into())));
    assert_eq!(page.state.notes, [Phrase::from("it is damaged")]);
}

#[test]
fn dossiers_and_curves_are_those_of_the_model() {
    let mut page = Page::open("");
    let json = |file: &str| std::fs::read_to_string(root().join("www/models/tiny").join(file)).expect("a file");
    let dossier = || Box::new(serde_json::from_str::<Dossier>(&json("experts.json")).expect("dossiers"));
    let curves = || serde_json::from_str::<Curves>(&json("curves.json")).expect("curves");
    page.act(Action::Dossier("another".into(), dossier()));
    page.act(Action::Curves("another".into(), curves()));
    assert!(page.state.dossier.is_none() && page.state.curves.is_none());
    page.act(Action::Dossier("tiny".into(), dossier()));
    page.act(Action::Curves("tiny".into(), curves()));
    assert!(page.state.dossier.is_some() && page.state.curves.is_some());
}

#[test]
fn another_engine_loads_the_model_again() {
    let mut page = Page::open("");
    let commands = page.held(Action::Backend(BackendChoice::CpuInt8));
    let [Command::Load { backend: BackendChoice::CpuInt8, source: of, .. }] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert_eq!((of, page.state.status()), (&source("tiny"), Status::Loading));
    // A script loads one by itself: the page only takes note.
    let mut page = Page::open("");
    let began = Action::LoadBegan {
        source: source("switch"),
        asked: Some("switch".into()),
        backend: BackendChoice::Cpu,
        extent: moescope_worker::protocol::Extent::default(),
    };
    assert!(page.held(began).is_empty());
    assert_eq!((page.state.loading, page.state.backend), (1, BackendChoice::Cpu));
    page.hear(Event::LoadFailed { message: "no such file".into() });
    assert_eq!(page.state.problem, Some(Phrase::from("no such file")));
    assert_eq!(page.state.model_asked.as_deref(), Some("tiny"), "the model before stays");
}

#[test]
fn a_large_model_is_decided_about_cancelled_and_kept() {
    let mut page = Page::open("");
    let (address, extent) = ("https://host.example/models/large/", Extent { layers: Some(2), resident: None });
    page.act(Action::Token { address: address.into(), token: "secret".into() });
    let load = Action::Load { source: source("large"), asked: Some("large".into()) };
    let commands = page.held(load);
    let [Command::Load { opening, .. }] = commands.as_slice() else { panic!("{commands:?}") };
    assert!(opening.asks && opening.token.as_deref() == Some("secret"), "{opening:?}");
    let commands = page.held(Action::OpenPreviewed { backend: BackendChoice::Cpu, extent });
    assert!(matches!(commands.as_slice(), [Command::Open { extent: of, .. }] if *of == extent), "{commands:?}");
    assert_eq!(page.state.backend, BackendChoice::Cpu);
    assert!(matches!(page.held(Action::CancelLoad).as_slice(), [Command::CancelLoad]));
    // What is kept is the model in use; the token is for all of its site.
    let commands = page.held(Action::Keep);
    let [Command::Keep { source: kept, token: Some(_) }] = commands.as_slice() else { panic!("{commands:?}") };
    assert!(*kept == source("tiny") && page.state.openings.keeping);
}

#[test]
fn an_engine_that_died_is_loaded_again_once() {
    let mut page = Page::open("");
    let died = |again| Action::EngineDied { death: Death::BrokeOff("out of memory".into()), again };
    page.act(died(true));
    assert_eq!((page.state.status(), shown(&page).as_str()), (Status::Ready, FIRST), "text and routing are back");
    assert_eq!(page.state.notes.len(), 1);
    page.act(died(false));
    assert_eq!(page.state.status(), Status::Error);
    page.act(Action::DismissProblem);
    page.act(Action::DismissNotes);
    assert!(page.state.problem.is_none() && page.state.notes.is_empty());
    page.act(Action::Fail("no model".into()));
    page.act(Action::Note("a note".into()));
    page.act(Action::Note("a note".into()));
    assert_eq!((page.state.problem.clone(), page.state.notes.len()), (Some("no model".into()), 1), "said once");
}

#[test]
fn what_is_kept_can_be_deleted() {
    let mut page = Page::open("");
    assert!(page.state.kept_text.is_some());
    page.act(Action::ForgetKept);
    assert!(page.state.kept_text.is_none() && matches!(page.effects.last(), Some(Effect::ForgetKept)));
}

#[test]
fn a_game_asks_for_all_choices_and_keeps_the_score() {
    let mut page =
        Page::open("#/?text=The%20old%20house%20stood%20by%20the%20water%20and%20the%20people%20came%20back");
    page.act(Action::Game(GameStep::Begin));
    let rounds = page.state.game.as_ref().expect("a game").tokens.len();
    for _ in 0..rounds {
        page.act(Action::Game(GameStep::Pick(0)));
        page.act(Action::Game(GameStep::Pick(1)));
        let game = page.state.game.as_ref().expect("a game");
        let round = game.outcome().expect("the outcome").clone();
        let router = round.tried.bits_of(&round.tried.router).expect("a set");
        assert!(round.tried.best().bits <= router && round.tried.best().bits <= round.bits);
        page.act(Action::Game(GameStep::Next));
    }
    let game = page.state.game.as_ref().expect("a game");
    assert!(game.is_over() && game.score().is_some_and(|score| score.rounds == rounds));
    page.act(Action::Game(GameStep::End));
    assert!(page.state.game.is_none());
}

#[test]
fn stories_are_listed() {
    let mut page = Page::open("");
    let card = r#"[{"name":"one","title":{"en":"One"}}]"#;
    page.act(Action::Stories(serde_json::from_str(card).expect("a card")));
    assert_eq!(page.state.stories.len(), 1);
    page.act(Action::Story(Some("one".into())));
    assert!(matches!(page.effects.last(), Some(Effect::FetchStory(name)) if name == "one"));
}

/// Texts that share beginnings, so that edits cut and append.
fn texts() -> impl Strategy<Value = Vec<String>> {
    let word = proptest::sample::select(vec!["the ", "house ", "sea", "let x = 1;\n", "und ", "é", " "]);
    let text = proptest::collection::vec(word, 0..9).prop_map(|words| words.concat());
    proptest::collection::vec(text, 1..6)
}

fn views() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0usize..12, 1..14)
}

/// One of twelve changes of the view.
fn nth(number: usize) -> Action {
    match number {
        0 => Action::Layer(LayerChoice::All),
        1 => Action::Layer(LayerChoice::One(0)),
        2 => Action::Picture(Picture::Load),
        3 => Action::Picture(Picture::Map),
        4 => Action::ColourBy(ColourBy::Weight),
        5 => Action::Pin(Some(1)),
        6 => Action::Pin(None),
        7 => Action::Extend(2),
        8 => Action::Search("house".into()),
        9 => Action::Expert(Some(ExpertOf { layer: 1, expert: 3 })),
        10 => Action::Policy(policy(r#"{"off":[2]}"#)),
        _ => Action::Policy(Policy::default()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn after_any_edits_the_trace_is_that_of_the_text(texts in texts(), changed in any::<bool>()) {
        let mut page = Page::open("");
        if changed {
            page.act(Action::Policy(policy(r#"{"off":[2],"layers":[1]}"#)));
        }
        for text in texts {
            page.act(Action::Edit(text));
            let fresh = page.fresh();
            prop_assert_eq!(page.state.trace.len(), fresh.len());
            // Of an empty text, a trace that was cut keeps its empty layers.
            prop_assert!(fresh.is_empty() || *page.state.trace == fresh);
        }
    }

    #[test]
    fn undo_leads_back_to_the_start_and_redo_to_the_end(views in views()) {
        let mut page = Page::open("");
        let place = |page: &Page| {
            let state = &page.state;
            (state.layer, state.picture, state.colour_by, state.pinned, state.range_end, state.search.clone(),
                state.expert, state.changes.in_use.clone())
        };
        let start = place(&page);
        views.iter().for_each(|&number| page.act(nth(number)));
        let end = place(&page);
        while page.state.history.has_back() {
            page.act(Action::Undo);
        }
        prop_assert_eq!(place(&page), start);
        prop_assert_eq!(&*page.state.trace, &page.fresh());
        for _ in 0..views.len() {
            page.act(Action::Redo);
        }
        prop_assert_eq!(place(&page), end);
        prop_assert_eq!(&*page.state.trace, &page.fresh());
    }
}
