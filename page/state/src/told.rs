//! What a page of another site that embeds this one is told of, without asking.

use crate::{LayerChoice, State, Status};
use moescope::routing::Policy;
use serde_json::{Value, json};

/// What the other page knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    model: Option<String>,
    text: Option<String>,
    policy: Policy,
    layer: Option<LayerChoice>,
    token: Option<usize>,
    expert: Option<(usize, u32)>,
}

impl Told {
    /// What happened since the last call, as the events of docs/embed.md. A text is told of once it is routed to its
    /// end.
    pub fn news(&mut self, state: &State) -> Vec<Value> {
        let Some(model) = state.model.as_ref().filter(|_| state.status() == Status::Ready && state.past.is_none())
        else {
            return Vec::new();
        };
        let mut news = Vec::new();
        if self.model.as_ref() != Some(&model.name) {
            self.model = Some(model.name.clone());
            self.text = None;
            news.push(json!({
                "event": "ready", "model": model.name, "layers": model.layers,
                "experts": model.experts, "top_k": model.top_k,
            }));
        }
        let (text, policy) = (state.text.as_str(), &state.changes.in_use);
        if self.text.as_deref() != Some(text) || self.policy != *policy {
            (self.text, self.policy) = (Some(text.to_owned()), policy.clone());
            news.push(json!({ "event": "routed", "tokens": state.trace.len(), "policy": policy.to_json() }));
        }
        let layer = Some(state.layer);
        if self.layer != layer {
            self.layer = layer;
            let layer = match state.layer {
                LayerChoice::One(layer) => json!(layer),
                LayerChoice::All => json!("all"),
            };
            news.push(json!({ "event": "layer", "layer": layer }));
        }
        if self.token != state.pinned {
            self.token = state.pinned;
            news.push(json!({ "event": "token", "position": state.pinned }));
        }
        let expert = state.expert.map(|expert| (expert.layer, expert.expert));
        if self.expert != expert {
            self.expert = expert;
            let expert = expert.map(|(layer, expert)| json!({ "layer": layer, "expert": expert }));
            news.push(json!({ "event": "expert", "expert": expert }));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn before_a_model_is_here_nothing_is_told() {
        let mut state = State::new(&Address::default(), false, None);
        state.pinned = Some(3);
        let mut told = Told::default();
        assert!(told.news(&state).is_empty());
        assert_eq!(told, Told::default());
    }
}
