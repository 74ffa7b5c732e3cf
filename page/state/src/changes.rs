//! The visitor's changes to the routing, and their effect.

use crate::shared::Shared;
use moescope::routing::effect::{Ablated, Effect, KPoint, effect};
use moescope::routing::policy::{Policy, Rule};
use moescope::routing::{Limit, Trace};
use moescope_worker::protocol::{Request, Speed, Swept};

/// The visitor's changes, and their effect.
#[derive(Clone, Default, PartialEq)]
pub struct Changes {
    /// The policy that the controls show.
    pub asked: Policy,
    /// The policy that the engine uses.
    pub in_use: Policy,
    /// For each layer, the capacity of its experts under the policy in use.
    pub limits: Vec<Option<Limit>>,
    /// Why the engine rejected the policy of the controls.
    pub refused: Option<String>,
    /// The trace of the text under the model's own routing, while a policy is in use.
    pub baseline: Shared<Trace>,
    /// Speed of the baseline run.
    pub baseline_speed: Option<Speed>,
    /// The comparison of baseline and text, once both are complete.
    pub effect: Option<Shared<Effect>>,
    /// The current or finished sweep over this text.
    pub sweep: Option<Shared<SweepResult>>,
}

/// The results of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SweepResult {
    /// The worker's number for it.
    pub request: Request,
    /// Where an expert was off.
    pub ablated: Vec<Ablated>,
    /// Results for other numbers of experts per token.
    pub points: Vec<KPoint>,
    /// Number of cases done, and of all cases.
    pub progress: (usize, usize),
    /// Whether the sweep is still running.
    pub running: bool,
    /// Why it failed.
    pub failed: Option<String>,
}

impl Changes {
    /// Whether the engine uses another routing than the model's own.
    pub fn are_on(&self) -> bool {
        self.in_use != Policy::default()
    }

    /// The engine now uses `policy`; `trace` is the text's trace so far. Returns the trace with which the text
    /// continues.
    pub fn set(&mut self, policy: Policy, limits: Vec<Option<Limit>>, trace: &Shared<Trace>) -> Shared<Trace> {
        self.limits = limits;
        let before = std::mem::replace(&mut self.in_use, policy);
        self.asked = self.in_use.clone();
        self.refused = None;
        self.effect = None;
        self.sweep = None;
        match (before == Policy::default(), self.are_on()) {
            (true, true) => {
                self.baseline = trace.clone();
                self.baseline_speed = None;
                trace.clone()
            }
            (false, false) => std::mem::take(&mut self.baseline),
            _ => trace.clone(),
        }
    }

    /// A piece of the baseline ran at this speed.
    pub fn baseline_ran(&mut self, speed: Speed) {
        if speed.tokens > 0 {
            self.baseline_speed = Some(speed);
        }
    }

    /// Makes the comparison where both traces are complete.
    pub fn compare(&mut self, trace: &Trace, total: usize) {
        let whole = self.are_on() && trace.len() == total && self.baseline.len() == total && total > 0;
        self.effect = whole.then(|| Shared::new(effect(&self.baseline, trace)));
    }

    /// A sweep begins.
    pub fn sweep(&mut self, request: Request) {
        self.sweep = Some(Shared::new(SweepResult { request, running: true, ..SweepResult::default() }));
    }

    /// A sweep found something.
    pub fn hear_swept(&mut self, request: Request, found: Swept, progress: (usize, usize), done: bool) {
        let Some(sweep) = self.sweep.as_mut().filter(|sweep| sweep.request == request) else { return };
        sweep.change(|sweep| {
            match found {
                Swept::Ablation(found) => sweep.ablated.extend(found),
                Swept::Choices(found) => sweep.points.extend(found),
            }
            sweep.progress = progress;
            sweep.running = !done;
        });
    }

    /// A sweep cannot be.
    pub fn sweep_failed(&mut self, request: Request, message: String) {
        let Some(sweep) = self.sweep.as_mut().filter(|sweep| sweep.request == request) else { return };
        sweep.change(|sweep| {
            sweep.running = false;
            sweep.failed = Some(message);
        });
    }
}

/// Replaces the rule for these layers (all layers where it is `None`) and these tokens.
pub fn with_rule(
    policy: &Policy,
    layers: Option<usize>,
    tokens: Option<[usize; 2]>,
    change: impl FnOnce(&mut Rule),
) -> Policy {
    let mut policy = policy.clone();
    let layers = layers.map(|layer| vec![layer]);
    let place = policy.0.iter().position(|rule| rule.layers == layers && rule.tokens == tokens);
    let place = place.unwrap_or_else(|| {
        policy.0.push(Rule { layers: layers.clone(), tokens, ..Rule::default() });
        policy.0.len() - 1
    });
    change(&mut policy.0[place]);
    if policy.0[place] == (Rule { layers, tokens, ..Rule::default() }) {
        policy.0.remove(place);
    }
    policy
}

/// The rule for these layers and all tokens.
pub fn rule_of(policy: &Policy, layers: Option<usize>) -> Rule {
    let layers = layers.map(|layer| vec![layer]);
    policy.0.iter().find(|rule| rule.layers == layers && rule.tokens.is_none()).cloned().unwrap_or_default()
}

/// Whether a policy switches the expert of this layer off, for all tokens.
pub fn is_off(policy: &Policy, layer: usize, expert: u32) -> bool {
    let holds =
        |rule: &&Rule| rule.tokens.is_none() && rule.layers.as_ref().is_none_or(|layers| layers.contains(&layer));
    policy.0.iter().filter(holds).any(|rule| rule.off.contains(&expert))
}

/// The policy without what it sends the tokens `first` to `last` to, in this layer or where there is none in all; other
/// tokens of the same rules stay where they are sent.
pub fn released(policy: &Policy, layer: Option<usize>, (first, last): (usize, usize)) -> Policy {
    let mut rules = Vec::new();
    for rule in &policy.0 {
        let here = layer.is_none_or(|layer| rule.layers.as_ref().is_none_or(|layers| layers.contains(&layer)));
        let Some([from, to]) = rule.tokens.filter(|[from, to]| here && *from <= last && first < *to) else {
            rules.push(rule.clone());
            continue;
        };
        if rule.force.is_empty() {
            rules.push(rule.clone());
            continue;
        }
        let inside = [from.max(first), to.min(last + 1)];
        let sent = [[from, inside[0]], [inside[1], to]].into_iter().filter(|[from, to]| from < to);
        rules.extend(sent.map(|tokens| Rule { tokens: Some(tokens), ..rule.clone() }));
        // What else the rule says holds for these tokens too.
        let rest = Rule { tokens: Some(inside), force: Vec::new(), ..rule.clone() };
        if rest != (Rule { layers: rule.layers.clone(), tokens: Some(inside), ..Rule::default() }) {
            rules.push(rest);
        }
    }
    Policy(rules)
}

/// Whether a policy sends the token at `position` somewhere in this layer, or where there is none in any.
pub fn is_sent(policy: &Policy, layer: Option<usize>, position: usize) -> bool {
    policy.0.iter().any(|rule| {
        let here = layer.is_none_or(|layer| rule.layers.as_ref().is_none_or(|layers| layers.contains(&layer)));
        !rule.force.is_empty() && here && rule.tokens.is_none_or(|[from, to]| (from..to).contains(&position))
    })
}

/// The policy with the expert on again, or off: in this layer, or everywhere where there is none.
pub fn toggled(policy: &Policy, layer: Option<usize>, expert: u32, off: bool) -> Policy {
    if off {
        return with_rule(policy, layer, None, |rule| {
            rule.off.push(expert);
            rule.off.sort_unstable();
        });
    }
    // The rule of this layer or the rule of all layers may switch it off.
    let on = |rule: &mut Rule| rule.off.retain(|&e| e != expert);
    let policy = with_rule(policy, layer, None, on);
    let mut policy = with_rule(&policy, None, None, on);
    if layer.is_none() {
        policy.0.iter_mut().for_each(on);
        policy.0.retain(|rule| *rule != Rule { layers: rule.layers.clone(), tokens: rule.tokens, ..Rule::default() });
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Policy {
        Policy::parse(json).expect("a policy")
    }

    #[test]
    fn one_token_is_released_and_the_others_stay_sent() {
        let sent = policy(r#"[{"layers":[2],"tokens":[3,7],"force":[5]},{"layers":[2],"off":[1]}]"#);
        assert!(is_sent(&sent, Some(2), 4) && !is_sent(&sent, Some(2), 7) && !is_sent(&sent, Some(1), 4));
        let released = released(&sent, Some(2), (4, 5));
        let wanted = r#"[{"layers":[2],"tokens":[3,4],"force":[5]},{"layers":[2],"tokens":[6,7],"force":[5]},
            {"layers":[2],"off":[1]}]"#;
        assert_eq!(released, policy(wanted));
        assert!(!is_sent(&released, None, 4) && is_sent(&released, None, 3) && is_sent(&released, None, 6));
    }

    #[test]
    fn what_else_a_rule_says_of_a_released_token_stays() {
        let sent = policy(r#"[{"tokens":[3,4],"force":[5],"top_k":1}]"#);
        assert_eq!(released(&sent, None, (0, 9)), policy(r#"[{"tokens":[3,4],"top_k":1}]"#));
        assert_eq!(released(&policy(r#"[{"tokens":[3,4],"force":[5]}]"#), Some(1), (3, 3)), Policy::default());
    }

    #[test]
    fn an_expert_that_is_off_in_one_layer_is_off_there_alone() {
        let off = toggled(&Policy::default(), Some(2), 1, true);
        assert_eq!([1, 2].map(|layer| is_off(&off, layer, 1)), [false, true]);
        assert_eq!(toggled(&off, None, 1, false), Policy::default());
    }
}
