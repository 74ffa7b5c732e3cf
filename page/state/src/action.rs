//! What happens to the page, and what the browser or the worker must do then.

use super::{ColourBy, ExpertOf, LayerChoice, Offered, Picture};
use crate::curves::Curves;
use crate::death::Death;
use crate::example::Example;
use crate::phrase::Phrase;
use crate::story::{Card, Story};
use crate::view::Tab;
use moescope::routing::dossier::Dossier;
use moescope::routing::{Policy, Recording};
use moescope_worker::protocol::{BackendChoice, Command, Event, Sampling, Source, Sweep};

/// What happens to the page.
pub enum Action {
    /// The visitor edited the text.
    Edit(String),
    /// Another text is put in its place.
    Replace(String),
    /// The model of that name was chosen: its own text takes the place of one that is not the visitor's.
    OpeningText(String),
    /// Back to the text before the last replacement.
    UndoReplace,
    /// The worker said something.
    Worker(Box<Event>),
    /// `models/index.json` came.
    Models(Vec<Offered>),
    /// The dossier of the model of that name came.
    Dossier(String, Box<Dossier>),
    /// The training curves of the model of that name came.
    Curves(String, Curves),
    /// Show how the model learned: its recording is fetched where it is not here yet.
    Watch,
    /// The recording of the model of that name came, or did not.
    Recording(String, Result<Box<Recording>, String>),
    /// Show a snapshot of the training, or the finished model again.
    Snapshot(Option<usize>),
    /// Show another of the recorded texts.
    RecordedText(usize),
    /// Compare with another snapshot, or with none.
    Beside(Option<usize>),
    /// Change the routing.
    Policy(Policy),
    /// A policy that cannot even be read.
    PolicyRefused(String),
    /// Put away why a policy cannot be.
    DismissRefusal,
    /// Time the GPU's kernels.
    Profile,
    /// Run the text again and again.
    Sweep(Sweep),
    /// Back to the view before.
    Undo,
    /// Forth to the view that was left by going back.
    Redo,
    /// `examples.json` came.
    Examples(Vec<Example>),
    /// Load a model; `asked` is what a link calls it, where it can.
    Load {
        /// Where from.
        source: Source,
        /// A name or an address.
        asked: Option<String>,
    },
    /// A program loads a model over `window.moescope`.
    LoadBegan {
        /// Where from.
        source: Source,
        /// A name or an address.
        asked: Option<String>,
        /// The engine it wants.
        backend: BackendChoice,
    },
    /// Use another backend.
    Backend(BackendChoice),
    /// Show a layer.
    Layer(LayerChoice),
    /// Show a picture.
    Picture(Picture),
    /// Colour the strip by something.
    ColourBy(ColourBy),
    /// The pointer is over a token, or over none.
    Hover(Option<usize>),
    /// A token was chosen, or none.
    Pin(Option<usize>),
    /// Choose the range from the chosen token to this one.
    Extend(usize),
    /// Search for a text.
    Search(String),
    /// Choose the next token that was found.
    FindNext,
    /// An expert was chosen, or none.
    Expert(Option<ExpertOf>),
    /// Show a page of the drawer.
    Tab(Tab),
    /// Open the drawer, or close it.
    Drawer(bool),
    /// The pointer is over an expert, or over none.
    Point(Option<ExpertOf>),
    /// Show on the stage the large network that the experts replaced, or the experts.
    Dense(bool),
    /// Show the page on a projector, or as ever.
    Present(bool),
    /// `stories/index.json` came.
    Stories(Vec<Card>),
    /// Tell the story of that name, or none.
    Story(Option<String>),
    /// A story came.
    StoryCame(Box<Story>),
    /// Go to a step of the story, counted from 0.
    StoryStep(usize),
    /// A step of the game against the router.
    Game(GameStep),
    /// Show only so many tokens, or all of them.
    Play(Option<usize>),
    /// Compare with a model, or with none.
    Compare(Option<String>),
    /// Change the routing of what is compared with.
    ComparePolicy(Policy),
    /// Keep the routing as it is now beside what it becomes.
    KeepBeside,
    /// The model that this one is compared with has so many experts.
    OtherExperts(usize),
    /// Continue the text.
    Generate,
    /// End what runs.
    Stop,
    /// How to generate.
    Sampling(Sampling),
    /// How many tokens to generate.
    Tokens(usize),
    /// Dark or light.
    Dark(bool),
    /// The engine broke off, and another one was started in its place.
    EngineDied {
        /// Why.
        death: Death,
        /// Load again what was in use; not where that broke off a moment ago.
        again: bool,
    },
    /// Say something went wrong.
    Fail(Phrase),
    /// Say something in one line.
    Note(Phrase),
    /// Put the problem away.
    DismissProblem,
    /// Put the notes away.
    DismissNotes,
    /// Forget the text kept from last time.
    ForgetKept,
}

impl Action {
    /// Whether it takes the visitor to another view, so that undo takes it back.
    pub(super) fn goes_somewhere(&self) -> bool {
        matches!(
            self,
            Self::Load { .. }
                | Self::Layer(_)
                | Self::Picture(_)
                | Self::ColourBy(_)
                | Self::Pin(_)
                | Self::Extend(_)
                | Self::Search(_)
                | Self::FindNext
                | Self::Expert(_)
                | Self::Compare(_)
                | Self::ComparePolicy(_)
                | Self::KeepBeside
                | Self::Watch
                | Self::Recording(..)
                | Self::Snapshot(_)
                | Self::RecordedText(_)
                | Self::Beside(_)
                | Self::Policy(_)
        )
    }
}

/// A step of the game against the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GameStep {
    /// Begin one on the text as it is, in the layer shown.
    Begin,
    /// Choose an expert for the token, or take it back.
    Pick(u32),
    /// On to the next token.
    Next,
    /// End it.
    End,
}

/// What the browser or the worker must do after an action.
pub enum Effect {
    /// Tell the worker.
    Send(Command),
    /// Put the text into the text box.
    ShowText,
    /// Forget what was kept in the browser.
    ForgetKept,
    /// Fetch what comes with the shipped model of that name.
    FetchExtras {
        /// The model.
        name: String,
        /// What there is.
        files: Vec<String>,
    },
    /// Load the model of that name in `models/`.
    LoadShipped(String),
    /// Fetch the story of that name.
    FetchStory(String),
    /// Fetch the recording of the shipped model of that name.
    FetchRecording(String),
    /// Bring the place of that name into view, and mark it for a moment.
    Reveal(&'static str),
    /// Colours for this many experts.
    Colours(usize),
}
