//! Two continuations of the text from the same seed: by the model's own routing, and with the visitor's changes.

use moescope_worker::protocol::{Command, Prompt, Request, Sampling};
use serde::Deserialize;

/// Tokens of each continuation.
pub const TOKENS: usize = 30;

/// One of the two continuations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// The number of the request, while the answer is not here.
    waiting: Option<Request>,
    /// What it wrote.
    pub text: Option<String>,
    /// The error message, where it failed.
    pub failed: Option<String>,
}

/// Both continuations, and the text before them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Writes {
    /// The text before them.
    pub after: String,
    /// The continuation under the model's own routing.
    pub model: Side,
    /// The continuation with the visitor's changes.
    pub changed: Side,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
}

impl Writes {
    /// Asks both sides to go on from `text`; `requests` are the numbers of the two questions.
    pub fn ask(text: &str, sampling: Sampling, requests: [Request; 2]) -> (Self, [Command; 2]) {
        let side = |request| Side { waiting: Some(request), ..Side::default() };
        let writes = Self { after: text.to_owned(), model: side(requests[0]), changed: side(requests[1]) };
        let ask = |request, plain| Command::Complete {
            request,
            prompt: Prompt::Text(text.to_owned()),
            tokens: TOKENS,
            sampling,
            plain,
        };
        (writes, [ask(requests[0], true), ask(requests[1], false)])
    }

    /// An answer came: the JSON of `Generated`, or why there is none. False where it is not one of these two.
    pub fn hear(&mut self, request: Request, answer: Result<&str, &str>) -> bool {
        let sides = [&mut self.model, &mut self.changed];
        let Some(side) = sides.into_iter().find(|side| side.waiting == Some(request)) else { return false };
        side.waiting = None;
        match answer.map(serde_json::from_str::<Answer>) {
            Ok(Ok(answer)) => side.text = Some(answer.text),
            Ok(Err(error)) => side.failed = Some(error.to_string()),
            Err(message) => side.failed = Some(message.to_owned()),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_hears_its_own_answer() {
        let (mut writes, commands) = Writes::ask("Der Hund", Sampling::default(), [Request::Page(7), Request::Page(8)]);
        let plain = commands.map(|command| matches!(command, Command::Complete { plain: true, .. }));
        assert_eq!(plain, [true, false]);
        assert!(!writes.hear(Request::Page(6), Ok("{\"text\":\"stray\"}")));
        assert!(writes.hear(Request::Page(8), Ok("{\"text\":\" bellt\"}")));
        assert_eq!((writes.model.text.as_deref(), writes.changed.text.as_deref()), (None, Some(" bellt")));
        assert!(writes.hear(Request::Page(7), Err("no room")));
        assert_eq!(writes.model.failed.as_deref(), Some("no room"));
        // Answered once, a request has no second answer.
        assert!(!writes.hear(Request::Page(8), Ok("{\"text\":\"again\"}")));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_a_failure() {
        let (mut writes, _) = Writes::ask("a", Sampling::default(), [Request::Page(1), Request::Page(2)]);
        assert!(writes.hear(Request::Page(1), Ok("{}")));
        assert!(writes.model.failed.is_some() && writes.model.text.is_none());
    }
}
