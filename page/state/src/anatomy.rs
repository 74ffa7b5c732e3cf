//! What one layer did to one token, in the form in which the stage draws it.

use crate::changes::is_off;
use moescope::routing::{LayerTrace, Policy};

/// An expert that the gate chose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// Its number.
    pub expert: u32,
    /// The factor of its output.
    pub weight: f32,
    /// Whether it was full, so that the token was dropped.
    pub dropped: bool,
}

/// What one layer did to one token.
#[derive(Clone, Debug, PartialEq)]
pub struct Anatomy {
    /// The layer's number.
    pub layer: usize,
    /// The router's probability of each expert; where only the choice is recorded, the weights of the chosen experts.
    pub probabilities: Vec<f32>,
    /// For a gate over groups, the probability of each group; otherwise empty.
    pub groups: Vec<f32>,
    /// The chosen experts, by falling weight.
    pub chosen: Vec<Chosen>,
    /// For each expert, whether the visitor has switched it off.
    pub off: Vec<bool>,
    /// Experts to which the visitor sends this token.
    pub forced: Vec<u32>,
}

impl Anatomy {
    /// What `layer` did to the token at `position` under `policy`; `None` where there is no such token.
    pub fn of(layer: &LayerTrace, position: usize, policy: &Policy) -> Option<Self> {
        if position >= layer.tokens() {
            return None;
        }
        let dropped = layer.dropped_of(position);
        let chosen = layer.selected_of(position).iter().zip(layer.weights_of(position)).enumerate();
        let chosen: Vec<Chosen> = chosen
            .map(|(rank, (&expert, &weight))| Chosen { expert, weight, dropped: dropped.get(rank) == Some(&true) })
            .collect();
        let probabilities = if layer.router_logits.is_empty() {
            let mut shares = vec![0.0; layer.experts];
            chosen.iter().for_each(|chosen| shares[chosen.expert as usize] = chosen.weight);
            shares
        } else {
            layer.probabilities_of(position)
        };
        let groups = layer.group_logits.get(position * layer.groups..(position + 1) * layer.groups);
        let groups = groups.filter(|scores| !scores.is_empty()).map(|scores| {
            let gate = LayerTrace { router_logits: scores.to_vec(), ..LayerTrace::new(layer.layer, layer.groups, 1) };
            gate.probabilities_of(0)
        });
        let groups = groups.unwrap_or_default();
        let rules = policy.0.iter().filter(|rule| {
            let here = rule.layers.as_ref().is_none_or(|layers| layers.contains(&layer.layer));
            here && rule.tokens.is_none_or(|[from, to]| (from..to).contains(&position))
        });
        Some(Self {
            layer: layer.layer,
            probabilities,
            groups,
            chosen,
            off: (0..layer.experts as u32).map(|expert| is_off(policy, layer.layer, expert)).collect(),
            forced: rules.flat_map(|rule| rule.force.iter().copied()).collect(),
        })
    }

    /// The gate's choice of `expert`; `None` where it was not chosen.
    pub fn choice(&self, expert: u32) -> Option<&Chosen> {
        self.chosen.iter().find(|chosen| chosen.expert == expert)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer() -> LayerTrace {
        LayerTrace {
            router_logits: vec![0.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 0.0],
            selected: vec![3, 2, 0, 1],
            weights: vec![0.75, 0.25, 0.6, 0.4],
            dropped: vec![false, true, false, false],
            ..LayerTrace::new(1, 4, 2)
        }
    }

    #[test]
    fn it_says_who_was_chosen_and_who_was_full() {
        let anatomy = Anatomy::of(&layer(), 0, &Policy::default()).expect("the token is there");
        assert_eq!(anatomy.choice(3), Some(&Chosen { expert: 3, weight: 0.75, dropped: false }));
        assert!(anatomy.choice(2).is_some_and(|chosen| chosen.dropped));
        assert_eq!(anatomy.choice(0), None);
        assert!((anatomy.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(anatomy.probabilities[3] > anatomy.probabilities[2]);
        assert!(Anatomy::of(&layer(), 2, &Policy::default()).is_none());
    }

    #[test]
    fn without_scores_the_weights_stand_for_them() {
        let recorded = LayerTrace { router_logits: Vec::new(), ..layer() };
        let anatomy = Anatomy::of(&recorded, 1, &Policy::default()).expect("the token is there");
        assert_eq!(anatomy.probabilities, [0.6, 0.4, 0.0, 0.0]);
    }

    #[test]
    fn groups_have_probabilities_of_their_own() {
        let grouped = LayerTrace { groups: 2, group_logits: vec![0.0, 0.0, 5.0, -5.0], ..layer() };
        assert_eq!(Anatomy::of(&grouped, 0, &Policy::default()).expect("there").groups, [0.5, 0.5]);
        assert!(Anatomy::of(&grouped, 1, &Policy::default()).expect("there").groups[0] > 0.99);
    }

    #[test]
    fn a_policy_says_who_is_off_and_who_is_sent_where() {
        let policy = r#"[{"layers":[1],"off":[2]},{"layers":[1],"tokens":[0,1],"force":[3]},{"layers":[0],"off":[0]}]"#;
        let policy = Policy::parse(policy).expect("a policy");
        let first = Anatomy::of(&layer(), 0, &policy).expect("there");
        assert_eq!((first.off, first.forced), (vec![false, false, true, false], vec![3]));
        assert!(Anatomy::of(&layer(), 1, &policy).expect("there").forced.is_empty());
    }
}
