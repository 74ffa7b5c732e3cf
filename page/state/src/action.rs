//! Actions, which change the page's state, and effects, which the browser or the worker carries out afterwards.

use super::{ColourBy, ExpertOf, LayerChoice, Offered, Picture};
use crate::curves::Curves;
use crate::death::Death;
use crate::example::Example;
use crate::phrase::Phrase;
use crate::story::{Card, Story};
use crate::view::Tab;
use moescope::routing::dossier::Dossier;
use moescope::routing::{Policy, Recording};
use moescope_worker::protocol::{BackendChoice, Command, Event, Extent, Sampling, Source, Sweep};

/// A change of the page's state.
pub enum Action {
    /// The visitor edited the text.
    Edit(String),
    /// Replace the text by another one.
    Replace(String),
    /// The model of that name was chosen: its own text takes the place of one that is not the visitor's.
    OpeningText(String),
    /// Back to the text before the last replacement.
    UndoReplace,
    /// An event of the worker arrived.
    Worker(Box<Event>),
    /// `models/index.json` was fetched.
    Models(Vec<Offered>),
    /// The dossier of the model with this name was fetched.
    Dossier(String, Box<Dossier>),
    /// The visitor opened a file with dossiers.
    DossierOpened(Box<Dossier>),
    /// The training curves of the model with this name were fetched.
    Curves(String, Curves),
    /// Replay the training. The model's recording is fetched unless it is here.
    Watch,
    /// The recording of the model with this name was fetched, or could not be.
    Recording(String, Result<Box<Recording>, String>),
    /// Show a snapshot of the training, or the finished model again.
    Snapshot(Option<usize>),
    /// Show another recorded text.
    RecordedText(usize),
    /// Compare with another snapshot, or with none.
    Beside(Option<usize>),
    /// Change the policy.
    Policy(Policy),
    /// A policy could not be parsed; the message says why.
    PolicyRefused(String),
    /// Hide the message about an invalid policy.
    DismissRefusal,
    /// Time the GPU's kernels.
    Profile,
    /// Run the text several times, each time with another change to the routing.
    Sweep(Sweep),
    /// Restore the view before the last change.
    Undo,
    /// Restore the view that was left by an undo.
    Redo,
    /// `examples.json` was fetched.
    Examples(Vec<Example>),
    /// Load a model; `asked` is its name in a link, where it has one.
    Load {
        /// Where from.
        source: Source,
        /// A name or an address.
        asked: Option<String>,
    },
    /// Use this small model until the load in progress has arrived, where that takes long.
    StandIn(Source),
    /// A script loads a model through `window.moescope`.
    LoadBegan {
        /// Where from.
        source: Source,
        /// A name or an address.
        asked: Option<String>,
        /// The engine that the script wants.
        backend: BackendChoice,
        /// What of the model it wants.
        extent: Extent,
    },
    /// The visitor's access token for the site of an address; an empty one is forgotten.
    Token {
        /// The model's address.
        address: String,
        /// The token.
        token: String,
    },
    /// Open the model in the preview.
    OpenPreviewed {
        /// On which engine.
        backend: BackendChoice,
        /// What of it.
        extent: Extent,
    },
    /// End the load in progress.
    CancelLoad,
    /// Keep the model in use in the browser.
    Keep,
    /// Use another backend.
    Backend(BackendChoice),
    /// Show a layer.
    Layer(LayerChoice),
    /// Show a picture.
    Picture(Picture),
    /// Colour the strip by another figure.
    ColourBy(ColourBy),
    /// The pointer moved over a token, or off all tokens.
    Hover(Option<usize>),
    /// Choose a token, or none.
    Pin(Option<usize>),
    /// Choose the range from the chosen token to this one.
    Extend(usize),
    /// Search for a text.
    Search(String),
    /// Choose the next token that was found.
    FindNext,
    /// Choose an expert, or none.
    Expert(Option<ExpertOf>),
    /// Show a page of the drawer.
    Tab(Tab),
    /// Open the drawer, or close it.
    Drawer(bool),
    /// The pointer moved over an expert, or off all experts.
    Point(Option<ExpertOf>),
    /// Show on the stage the dense network that the experts replace, or the experts.
    Dense(bool),
    /// Show the page on a projector, or as ever.
    Present(bool),
    /// `stories/index.json` came.
    Stories(Vec<Card>),
    /// Start the story with this name, or end the story.
    Story(Option<String>),
    /// A story was fetched.
    StoryCame(Box<Story>),
    /// Go to a step of the story, counted from 0.
    StoryStep(usize),
    /// A step of the game against the router.
    Game(GameStep),
    /// Show only so many tokens, or all of them.
    Play(Option<usize>),
    /// Compare with another model, or with none.
    Compare(Option<String>),
    /// Change the policy of the second side.
    ComparePolicy(Policy),
    /// Copy the current policy to the second side, to compare it with later changes.
    KeepBeside,
    /// Number of experts of the model on the second side.
    OtherExperts(usize),
    /// Continue the text.
    Generate,
    /// Stop the current run.
    Stop,
    /// Set how to draw tokens.
    Sampling(Sampling),
    /// Set how many tokens to generate.
    Tokens(usize),
    /// Switch between the dark and the light theme.
    Dark(bool),
    /// The worker crashed, and another one was started.
    EngineDied {
        /// Why.
        death: Death,
        /// Whether to load the model again; not if the worker crashed a moment ago.
        again: bool,
    },
    /// Show an error.
    Fail(Phrase),
    /// Show a note of one line.
    Note(Phrase),
    /// Hide the error.
    DismissProblem,
    /// Hide the notes.
    DismissNotes,
    /// Delete the text kept from the last visit.
    ForgetKept,
}

impl Action {
    /// Whether the action changes the view, so that undo reverts it.
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
    /// Send a command to the worker.
    Send(Command),
    /// Put the text into the text box.
    ShowText,
    /// Delete what is kept in the browser.
    ForgetKept,
    /// Fetch the files of a shipped model besides the model itself.
    FetchExtras {
        /// The model.
        name: String,
        /// The files that it has.
        files: Vec<String>,
    },
    /// Load the model with this name from `models/`.
    LoadShipped(String),
    /// Fetch the story with this name.
    FetchStory(String),
    /// Fetch the recording of the shipped model with this name.
    FetchRecording(String),
    /// Bring the place of that name into view, and mark it for a moment.
    Reveal(&'static str),
    /// Colours for this many experts.
    Colours(usize),
}
