//! The game against the router. For some tokens of the text the visitor chooses the experts of one layer. The page
//! then shows the loss of the next token after that choice, after the router's, after the best of all, and on average
//! over all.

use crate::phrase::Phrase;
use moescope::routing::Trace;
use moescope::routing::lens::TriedSets;
use moescope_worker::protocol::{Command, Request};

/// Number of tokens of a game.
pub const ROUNDS: usize = 10;

/// The least number of tokens before a marked one, so that the visitor has some context.
const CONTEXT: usize = 4;

/// The loss of the next token after each choice, in bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// The token's position.
    pub position: usize,
    /// The visitor's experts.
    pub mine: Vec<u32>,
    /// The loss after the visitor's choice.
    pub bits: f64,
    /// The losses of the router's choice and all others.
    pub tried: TriedSets,
}

impl Round {
    /// The loss after the router's choice, in bits.
    pub fn router(&self) -> f64 {
        self.tried.bits_of(&self.tried.router).unwrap_or(f64::NAN)
    }

    /// Whether no other choice is better than the router's.
    pub fn router_is_best(&self) -> bool {
        self.router() <= self.tried.best().bits
    }
}

/// Mean losses over the rounds played, in bits per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Number of rounds played.
    pub rounds: usize,
    /// The mean after the visitor's choices.
    pub mine: f64,
    /// The mean after the router's choices.
    pub router: f64,
    /// The mean after the best choices.
    pub best: f64,
    /// The mean over all choices, as for a random choice.
    pub chance: f64,
    /// Rounds in which the visitor's choice was at least as good as the router's.
    pub won: usize,
    /// Rounds in which the router's choice was the best.
    pub router_best: usize,
}

/// A game.
#[derive(Clone, Debug, PartialEq)]
pub struct Game {
    /// The layer in which the visitor chooses.
    pub layer: usize,
    /// Number of experts to choose for a token.
    pub size: usize,
    /// The tokens' positions.
    pub tokens: Vec<usize>,
    /// Experts chosen so far for the current token.
    pub picked: Vec<u32>,
    /// The rounds that are over.
    pub rounds: Vec<Round>,
    /// Whether the current round is over and its outcome is shown.
    pub shown: bool,
    /// Why the game cannot continue.
    pub failed: Option<Phrase>,
    request: Request,
    tried: Option<TriedSets>,
}

impl Game {
    /// A game on a text; `None` where the text is too short.
    pub fn new(trace: &Trace, layer: usize) -> Option<Self> {
        let routed = trace.layer(layer).filter(|layer| layer.top_k > 0 && layer.experts > layer.top_k)?;
        let tokens = tokens(trace)?;
        Some(Self {
            layer,
            size: routed.top_k,
            tokens,
            picked: Vec::new(),
            rounds: Vec::new(),
            shown: false,
            failed: None,
            request: Request::default(),
            tried: None,
        })
    }

    /// The current token; `None` after the last one.
    pub fn token(&self) -> Option<usize> {
        let round = if self.shown { self.rounds.len() - 1 } else { self.rounds.len() };
        self.tokens.get(round).copied()
    }

    /// Requests the losses of all choices for the current token.
    pub fn ask(&mut self, request: Request) -> Option<Command> {
        self.request = request;
        self.tried = None;
        let position = self.token()?;
        Some(Command::TrySets { request, layer: self.layer, position })
    }

    /// The losses of all choices arrived; returns true if they belong to this game.
    pub fn hear(&mut self, request: Request, tried: TriedSets) -> bool {
        let is_mine = request == self.request;
        if is_mine {
            self.tried = Some(tried);
            self.close_round();
        }
        is_mine
    }

    /// The choices could not be tried; returns true if that belongs to this game.
    pub fn hear_failure(&mut self, request: Request, message: &str) -> bool {
        let is_mine = request == self.request;
        if is_mine {
            self.failed = Some(message.into());
        }
        is_mine
    }

    /// Chooses an expert, or reverts that choice.
    pub fn pick(&mut self, expert: u32) {
        if self.shown || self.token().is_none() {
            return;
        }
        match self.picked.iter().position(|picked| *picked == expert) {
            Some(place) => drop(self.picked.remove(place)),
            None if self.picked.len() < self.size => self.picked.push(expert),
            None => {}
        }
        self.close_round();
    }

    /// Goes to the next token.
    pub fn go_on(&mut self) {
        self.shown = false;
        self.picked.clear();
    }

    /// Ends the round if the visitor has chosen and all choices have been tried.
    fn close_round(&mut self) {
        let Some(tried) = self.tried.as_ref().filter(|_| self.picked.len() == self.size && !self.shown) else { return };
        let Some(bits) = tried.bits_of(&self.picked) else { return };
        let position = tried.position;
        self.rounds.push(Round { position, mine: self.picked.clone(), bits, tried: tried.clone() });
        self.shown = true;
    }

    /// The round whose outcome is shown.
    pub fn outcome(&self) -> Option<&Round> {
        self.rounds.last().filter(|_| self.shown)
    }

    /// Whether all rounds are over and the last outcome was seen.
    pub fn is_over(&self) -> bool {
        !self.shown && self.rounds.len() == self.tokens.len()
    }

    /// The means over the rounds played; `None` before the end of the first round.
    pub fn score(&self) -> Option<Score> {
        let rounds = self.rounds.len();
        let mean = |bits: fn(&Round) -> f64| self.rounds.iter().map(bits).sum::<f64>() / rounds as f64;
        (rounds > 0).then(|| Score {
            rounds,
            mine: mean(|round| round.bits),
            router: mean(Round::router),
            best: mean(|round| round.tried.best().bits),
            chance: mean(|round| round.tried.mean()),
            won: self.rounds.iter().filter(|round| round.bits <= round.router()).count(),
            router_best: self.rounds.iter().filter(|round| round.router_is_best()).count(),
        })
    }
}

/// Tokens distributed over the text, each with some tokens before it and one after it; `None` where there are too few.
fn tokens(trace: &Trace) -> Option<Vec<usize>> {
    let last = trace.len().checked_sub(2)?;
    let room = (last + 1).checked_sub(CONTEXT)?;
    // A token that is a part of a character cannot be read.
    let can_be_read = |position: &usize| !trace.tokens[*position].text.trim().is_empty();
    let places: Vec<usize> = (CONTEXT..=last).filter(can_be_read).collect();
    let rounds = ROUNDS.min(places.len());
    (rounds > 0 && room > 0)
        .then(|| (0..rounds).map(|round| places[(2 * round + 1) * places.len() / (2 * rounds)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use moescope::routing::lens::TriedSet;
    use moescope::routing::{LayerTrace, Token};

    fn trace(tokens: usize) -> Trace {
        let token = |id| Token { id, text: format!("t{id}"), ..Token::default() };
        let tokens = (0..tokens as u32).map(token).collect();
        Trace { tokens, layers: vec![LayerTrace::new(0, 4, 2)], ..Trace::default() }
    }

    fn tried(position: usize) -> TriedSets {
        let set = |experts: [u32; 2], bits| TriedSet { experts: experts.to_vec(), bits };
        let sets = vec![
            set([0, 1], 3.0),
            set([0, 2], 1.0),
            set([0, 3], 2.0),
            set([1, 2], 4.0),
            set([1, 3], 5.0),
            set([2, 3], 3.0),
        ];
        TriedSets { layer: 0, position, router: vec![0, 3], sets }
    }

    #[test]
    fn a_game_has_ten_tokens_spread_over_the_text() {
        let game = Game::new(&trace(100), 0).expect("a game");
        assert_eq!(game.tokens.len(), ROUNDS);
        assert!(game.tokens.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(game.tokens[0] >= CONTEXT && game.tokens[9] <= 98);
        // A short text has fewer, a very short one none.
        assert_eq!(Game::new(&trace(8), 0).expect("a game").tokens, [4, 5, 6]);
        for tokens in 0..=6 {
            let rounds = Game::new(&trace(tokens), 0).map(|game| game.tokens.len());
            assert_eq!(rounds, (tokens == 6).then_some(1), "{tokens} tokens");
        }
        assert!(Game::new(&trace(100), 1).is_none(), "no such layer");
    }

    #[test]
    fn a_round_ends_when_all_is_chosen_and_tried() {
        let mut game = Game::new(&trace(8), 0).expect("a game");
        assert!(matches!(
            game.ask(Request::Page(7)),
            Some(Command::TrySets { request: Request::Page(7), layer: 0, position: 4 })
        ));
        game.pick(2);
        game.pick(2);
        game.pick(2);
        game.pick(0);
        game.pick(1);
        assert_eq!((game.picked.as_slice(), game.shown), ([2, 0].as_slice(), false), "a third one is too many");
        assert!(!game.hear(Request::Page(6), tried(4)), "an answer to something else");
        assert!(game.hear(Request::Page(7), tried(4)));
        let round = game.outcome().expect("the round is over");
        assert_eq!((round.bits, round.router(), round.tried.best().bits, round.tried.mean()), (1.0, 2.0, 1.0, 3.0));
        assert!(!round.router_is_best());
        assert_eq!(game.token(), Some(4), "its outcome is shown");
        game.go_on();
        assert_eq!((game.token(), game.is_over()), (Some(5), false));
    }

    #[test]
    fn the_score_is_the_mean_of_the_rounds() {
        let mut game = Game::new(&trace(6), 0).expect("a game");
        assert_eq!(game.score(), None);
        game.ask(Request::Page(1));
        game.hear(Request::Page(1), tried(4));
        game.pick(0);
        game.pick(3);
        game.go_on();
        assert!(game.is_over() && game.ask(Request::Page(2)).is_none());
        let score = game.score().expect("a round was played");
        assert_eq!((score.rounds, score.won, score.router_best), (1, 1, 0));
        assert_eq!((score.mine, score.router, score.best, score.chance), (2.0, 2.0, 1.0, 3.0));
        game.pick(1);
        assert!(game.picked.is_empty(), "after the end nothing is chosen");
    }

    #[test]
    fn a_failure_is_told_once() {
        let mut game = Game::new(&trace(8), 0).expect("a game");
        game.ask(Request::Page(3));
        assert!(!game.hear_failure(Request::Page(2), "other") && game.hear_failure(Request::Page(3), "too many"));
        assert_eq!(game.failed, Some("too many".into()));
    }
}
