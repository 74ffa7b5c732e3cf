//! A policy: what a visitor changes about the routing. It is plain data, the same in Rust, on the command line, in the
//! page's address and in JavaScript. docs/gates.md describes each field.

use crate::error::{Error, Result};
use crate::shape::setting::SETTINGS;
use crate::shape::{
    Architecture, GROUP, Gate, GateKind, Limit, MoeShape, NONE, Noise, Setting, Settings, own_settings,
};
use GateKind::{ExpertChoice, Hash, Hierarchical, NoisyTopK, Random, SigmoidBias, SigmoidTopK, Soft, SoftmaxBias};
use serde::{Deserialize, Serialize};

/// Upper limit of numbers in a policy. Products of larger numbers and their inverses would exceed the range of f32.
const LARGEST: f32 = 1e30;

/// Rules in order; a later rule overrides an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy(pub Vec<Rule>);

/// One rule. Fields that are empty change nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Layers to which it applies; all where it is `None`.
    pub layers: Option<Vec<usize>>,
    /// Positions to which it applies, `from <= position < to`.
    pub tokens: Option<[usize; 2]>,
    /// Experts that are removed.
    pub off: Vec<u32>,
    /// Experts that are chosen first.
    pub force: Vec<u32>,
    /// Pairs of experts that exchange their tokens.
    pub swap: Vec<[u32; 2]>,
    /// Experts per token.
    pub top_k: Option<usize>,
    /// Divides the router logits.
    pub temperature: Option<f32>,
    /// Added to the experts' scores, `[E]`.
    pub bias: Vec<f32>,
    /// Standard deviation of noise on the router logits.
    pub noise: Option<f32>,
    /// Seed of the noise and of random gates.
    pub seed: Option<u32>,
    /// An expert's capacity, as a multiple of an even share of each window of 64 tokens.
    pub capacity_factor: Option<f32>,
    /// What happens to tokens over the capacity.
    pub overflow: Option<Overflow>,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub renormalise: Option<bool>,
    /// The gate that replaces the model's.
    pub gate: Option<GateKind>,
}

/// What happens to tokens over the capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// They are dropped: only the residual stream carries them on.
    Drop,
    /// They go to the best expert that has room.
    NextBest,
    /// There is no capacity.
    Keep,
}

impl Policy {
    /// Reads a rule, a list of rules, or null.
    pub fn parse(json: &str) -> Result<Self> {
        let wrong = |why: String| Error::Input(format!("policy: {why}; docs/gates.md lists the fields"));
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|e| wrong(format!("it is not JSON ({e})")))?;
        let rules = match value {
            serde_json::Value::Null => Vec::new(),
            serde_json::Value::Array(rules) => rules,
            rule => vec![rule],
        };
        let several = rules.len() > 1;
        let read = |(n, rule): (usize, serde_json::Value)| {
            let at = if several { format!("rule {}: ", n + 1) } else { String::new() };
            if !rule.is_object() {
                return Err(wrong(format!("{at}a rule is an object like {{\"off\": [3]}}")));
            }
            let rule: Rule = serde_json::from_value(rule).map_err(|e| wrong(format!("{at}{e}")))?;
            match rule.gate {
                Some(gate) if !GateKind::OF_POLICIES.contains(&gate) => {
                    let known = GateKind::OF_POLICIES.map(GateKind::name).join(", ");
                    Err(wrong(format!("{at}gate \"{}\" cannot replace another; take one of {known}", gate.name())))
                }
                _ => Ok(rule),
            }
        };
        rules.into_iter().enumerate().map(read).collect::<Result<_>>().map(Self)
    }

    /// As JSON without empty fields; `null` where there is no rule.
    pub fn to_json(&self) -> serde_json::Value {
        let short = |rule: &Rule| {
            let mut value = serde_json::to_value(rule).expect("plain data");
            if let Some(fields) = value.as_object_mut() {
                fields.retain(|_, v| !v.is_null() && v.as_array().is_none_or(|list| !list.is_empty()));
                // Numbers as they were typed: 0.1, and not the nearest f32.
                fields.iter_mut().for_each(|(_, v)| shorten(v));
            }
            value
        };
        match self.0.as_slice() {
            [] => serde_json::Value::Null,
            [rule] => short(rule),
            rules => rules.iter().map(short).collect(),
        }
    }

    /// The settings of each layer's gate; `None` where they are the model's own. An [`Error::Input`] says what is not
    /// possible.
    pub fn settings(&self, architecture: &Architecture) -> Result<Option<Settings>> {
        self.0.iter().try_for_each(|rule| rule.check(architecture))?;
        let context = architecture.context;
        let layer = |(n, moe): (usize, &MoeShape)| {
            if moe.gate.is_none() {
                return Ok(Vec::new());
            }
            let rules: Vec<&Rule> = self.0.iter().filter(|rule| rule.holds_in(n)).collect();
            layer_settings(&rules, n, moe, context)
        };
        let shapes = || architecture.layers.iter().map(|layer| &layer.moe).enumerate();
        let settings: Settings = shapes().map(layer).collect::<Result<_>>()?;
        let changes = shapes().zip(&settings).any(|((_, moe), settings)| {
            let own = Setting::own(moe, context);
            settings.iter().any(|setting| Setting { first: 0, ..setting.clone() } != own)
        });
        Ok(changes.then_some(settings))
    }

    /// As [`Self::settings`], with the model's own settings where the policy changes nothing.
    pub fn settings_or_own(&self, architecture: &Architecture) -> Result<Settings> {
        Ok(self.settings(architecture)?.unwrap_or_else(|| own_settings(architecture)))
    }

    /// This policy, with one more expert of one layer off.
    pub fn without(&self, layer: usize, expert: u32) -> Self {
        let mut policy = self.clone();
        policy.0.push(Rule { layers: Some(vec![layer]), off: vec![expert], ..Rule::default() });
        policy
    }
}

/// Writes numbers with as many digits as an f32 has.
fn shorten(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) if number.is_f64() => {
            let short = number.as_f64().map(|x| (x as f32).to_string()).and_then(|digits| digits.parse().ok());
            if let Some(short) = short.and_then(serde_json::Number::from_f64) {
                *number = short;
            }
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(shorten),
        _ => {}
    }
}

impl Rule {
    fn holds_in(&self, layer: usize) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.contains(&layer))
    }

    fn holds_at(&self, position: usize) -> bool {
        self.tokens.is_none_or(|[from, to]| (from..to).contains(&position))
    }

    /// Checks the layers, the positions and the ranges of the numbers.
    fn check(&self, architecture: &Architecture) -> Result<()> {
        let routed = |n: usize| architecture.layers[n].moe.gate.is_some();
        let count = architecture.layers.len();
        if !(0..count).any(routed) && *self != Self::default() {
            return wrong("the model has no experts, so there is nothing to change about their choice");
        }
        for &layer in self.layers.iter().flatten() {
            if layer >= count {
                return wrong(format!("layer {layer} does not exist; the model has layers 0 to {}", count - 1));
            }
            if !routed(layer) {
                return wrong(format!("layer {layer} has no experts; name layers that have"));
            }
        }
        if let Some([from, to]) = self.tokens
            && from >= to
        {
            return wrong(format!("tokens is [{from}, {to}]; it needs a first position below its end"));
        }
        let numbers = [
            ("temperature", self.temperature, "a number above 0", (|x| x > LARGEST.recip()) as fn(f32) -> bool),
            ("noise", self.noise, "a number from 0", |x| (0.0..LARGEST).contains(&x)),
            ("capacity_factor", self.capacity_factor, "a number above 0", |x| x > 0.0),
        ];
        for (name, value, wanted, fits) in numbers {
            if let Some(value) = value.filter(|&x| !(x.is_finite() && fits(x))) {
                return wrong(format!(
                    "{name} is {value}; it must be {wanted}, and within the range of 32-bit numbers"
                ));
            }
        }
        if let Some(at) = self.bias.iter().position(|b| b.abs() >= LARGEST || b.is_nan()) {
            return wrong(format!("number {at} of bias is {}, which is too large", self.bias[at]));
        }
        Ok(())
    }
}

fn wrong<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Input(format!("policy: {}", why.into())))
}

/// The settings of one layer, one for each range of tokens with its own rules.
fn layer_settings(rules: &[&Rule], n: usize, moe: &MoeShape, context: usize) -> Result<Vec<Setting>> {
    let mut firsts: Vec<usize> =
        rules.iter().filter_map(|rule| rule.tokens).flatten().chain([0]).filter(|&first| first < context).collect();
    firsts.sort_unstable();
    firsts.dedup();
    let mut settings: Vec<Setting> = Vec::new();
    for first in firsts {
        let here: Vec<&Rule> = rules.iter().copied().filter(|rule| rule.holds_at(first)).collect();
        let setting = Setting { first, ..Wanted::of(&here).setting(n, moe, context)? };
        let same = |last: &Setting| Setting { first, ..last.clone() } == setting;
        if !settings.last().is_some_and(same) {
            settings.push(setting);
        }
    }
    if settings.len() > SETTINGS {
        return wrong(format!(
            "layer {n} has {} ranges of tokens with rules of their own; at most {SETTINGS} are possible",
            settings.len()
        ));
    }
    Ok(settings)
}

/// Rules merged into one: lists are joined, and of other fields the last one counts.
struct Wanted(Rule);

impl Wanted {
    fn of(rules: &[&Rule]) -> Self {
        let mut all = Rule::default();
        for &rule in rules {
            all.off.extend(&rule.off);
            all.swap.extend(&rule.swap);
            // The length is checked later, against the layer.
            all.bias.resize(all.bias.len().max(rule.bias.len()), 0.0);
            all.bias.iter_mut().zip(&rule.bias).for_each(|(sum, b)| *sum += b);
            if !rule.force.is_empty() {
                all.force.clone_from(&rule.force);
            }
            all.top_k = rule.top_k.or(all.top_k);
            all.temperature = rule.temperature.or(all.temperature);
            all.noise = rule.noise.or(all.noise);
            all.seed = rule.seed.or(all.seed);
            all.capacity_factor = rule.capacity_factor.or(all.capacity_factor);
            all.overflow = rule.overflow.or(all.overflow);
            all.renormalise = rule.renormalise.or(all.renormalise);
            all.gate = rule.gate.or(all.gate);
        }
        Self(all)
    }

    fn setting(&self, n: usize, moe: &MoeShape, context: usize) -> Result<Setting> {
        let rule = &self.0;
        let own = Setting::own(moe, context);
        let mut setting = self.gate(own, moe);
        setting.temperature = rule.temperature.unwrap_or(1.0);
        setting.bias = if rule.bias.iter().all(|&b| b == 0.0) { Vec::new() } else { rule.bias.clone() };
        if !rule.bias.is_empty() && rule.bias.len() != moe.experts {
            return wrong(format!(
                "bias has {} numbers, and layer {n} has {} experts; give one number for each",
                rule.bias.len(),
                moe.experts
            ));
        }
        let left = self.switch_off(&mut setting, n)?;
        self.count(&mut setting, n, moe, left)?;
        self.force(&mut setting, n)?;
        self.swap(&mut setting, n)?;
        self.limit(&mut setting)?;
        if let Some(renormalise) = rule.renormalise {
            if !setting.gate.kind.weighs_scores() {
                return wrong(
                    "renormalise means nothing to this gate, whose weights are not computed from scores; leave it out",
                );
            }
            setting.gate.renormalise = renormalise;
        }
        // Only noise and random gates depend on the seed.
        if setting.noise == Noise::Off && !matches!(setting.gate.kind, Hash | Random) {
            setting.seed = 0;
        }
        Ok(setting)
    }

    /// Sets the gate and the noise.
    fn gate(&self, own: Setting, moe: &MoeShape) -> Setting {
        let rule = &self.0;
        let gate = match rule.gate {
            None => own.gate,
            // The model's own, as the model has it.
            Some(kind) if moe.gate.is_some_and(|gate| gate.kind == kind) => own.gate,
            Some(kind @ (SigmoidBias | SoftmaxBias | SigmoidTopK)) => Gate { scale: own.gate.scale, ..Gate::new(kind) },
            Some(ExpertChoice) => {
                Gate { capacity_factor: rule.capacity_factor.unwrap_or(1.0), ..Gate::new(ExpertChoice) }
            }
            Some(kind) => Gate::new(kind).ranking(),
        };
        let noise = match rule.noise {
            Some(std) if std > 0.0 => Noise::Of(std),
            None if rule.gate == Some(NoisyTopK) => {
                if moe.noise {
                    Noise::Learned
                } else {
                    Noise::Of(1.0)
                }
            }
            _ => Noise::Off,
        };
        Setting { gate, noise, seed: rule.seed.unwrap_or(0), ..own }
    }

    /// Marks the experts that are off; returns how many are left.
    fn switch_off(&self, setting: &mut Setting, n: usize) -> Result<usize> {
        let off = &self.0.off;
        in_range(off, "off", n, setting.experts)?;
        if !off.is_empty() {
            setting.off = (0..setting.experts as u32).map(|expert| off.contains(&expert)).collect();
        }
        match setting.experts - setting.off.iter().filter(|&&off| off).count() {
            0 => wrong(format!("all experts of layer {n} are off; leave at least one on")),
            left => Ok(left),
        }
    }

    fn count(&self, setting: &mut Setting, n: usize, moe: &MoeShape, left: usize) -> Result<()> {
        let rule = &self.0;
        if rule.gate == Some(Soft) {
            if rule.top_k.is_some() {
                return wrong("the gate \"soft\" uses all experts; leave top_k out");
            }
            setting.top_k = left;
            return Ok(());
        }
        if setting.gate.kind == Hierarchical {
            if rule.top_k.is_some_and(|k| k != setting.top_k) || !rule.force.is_empty() {
                return wrong(
                    "the model's gate chooses groups of experts first; name another gate to use top_k or force",
                );
            }
            return Ok(());
        }
        setting.top_k = rule.top_k.unwrap_or(moe.top_k);
        match rule.top_k {
            Some(0) => wrong("top_k is 0; a token needs at least one expert"),
            // Under expert choice, k is a mean.
            _ if setting.experts_choose() => Ok(()),
            Some(k) if k > left => {
                wrong(format!("top_k is {k}, and layer {n} has {left} experts that are not off; take at most {left}"))
            }
            None if moe.top_k > left => wrong(format!(
                "a token uses {} experts, and layer {n} has only {left} that are not off; set top_k as well",
                moe.top_k
            )),
            _ => Ok(()),
        }
    }

    fn force(&self, setting: &mut Setting, n: usize) -> Result<()> {
        let force = &self.0.force;
        if force.is_empty() {
            return Ok(());
        }
        in_range(force, "force", n, setting.experts)?;
        if setting.experts_choose() || self.0.gate == Some(Soft) {
            return wrong(
                "force does not work with this gate, which gives each expert its tokens in another way; \
                 leave one of them out",
            );
        }
        if let Some(expert) = force.iter().find(|&&e| setting.off.get(e as usize).copied().unwrap_or(false)) {
            return wrong(format!("expert {expert} of layer {n} is forced and off; choose one"));
        }
        if let Some(expert) = force.iter().enumerate().find(|(at, e)| force[..*at].contains(e)).map(|(_, e)| e) {
            return wrong(format!("force names expert {expert} twice"));
        }
        if force.len() > setting.top_k {
            return wrong(format!(
                "force names {} experts, and a token uses {} in layer {n}; raise top_k or name fewer",
                force.len(),
                setting.top_k
            ));
        }
        setting.forced.clone_from(force);
        Ok(())
    }

    fn swap(&self, setting: &mut Setting, n: usize) -> Result<()> {
        let Rule { swap, force, .. } = &self.0;
        if swap.is_empty() {
            return Ok(());
        }
        let named: Vec<u32> = swap.iter().flatten().copied().collect();
        in_range(&named, "swap", n, setting.experts)?;
        if let Some(expert) = named.iter().find(|&&e| setting.off.get(e as usize).copied().unwrap_or(false)) {
            return wrong(format!("expert {expert} of layer {n} is off and in swap; choose one"));
        }
        if let Some(expert) = named.iter().find(|e| force.contains(e)) {
            return wrong(format!("expert {expert} of layer {n} is forced and in swap; choose one"));
        }
        let mut renamed: Vec<u32> = (0..setting.experts as u32).collect();
        for &[a, b] in swap {
            for to in &mut renamed {
                *to = if *to == a {
                    b
                } else if *to == b {
                    a
                } else {
                    *to
                };
            }
        }
        if renamed.iter().enumerate().any(|(from, &to)| from as u32 != to) {
            setting.renamed = renamed;
        }
        Ok(())
    }

    fn limit(&self, setting: &mut Setting) -> Result<()> {
        let Rule { capacity_factor, overflow, gate, .. } = &self.0;
        if setting.experts_choose() || *gate == Some(Soft) {
            if overflow.is_some() || (*gate == Some(Soft) && capacity_factor.is_some()) {
                return wrong("no token is over the capacity of this gate; leave capacity_factor and overflow out");
            }
            setting.limit = None;
            return Ok(());
        }
        let share = (GROUP * setting.top_k) as f32 / setting.experts as f32;
        let limit = |factor: f32| Limit {
            most: ((factor * share).ceil() as usize).min(GROUP * setting.top_k),
            group: GROUP,
            next_best: false,
        };
        setting.limit = capacity_factor.map(limit).or(setting.limit);
        match (overflow, &mut setting.limit) {
            (Some(Overflow::Keep), limit) => *limit = None,
            (Some(Overflow::NextBest), Some(limit)) => limit.next_best = true,
            (Some(_), None) => return wrong("overflow needs a capacity_factor: the model itself has no limit"),
            _ => {}
        }
        Ok(())
    }
}

fn in_range(experts: &[u32], field: &str, n: usize, count: usize) -> Result<()> {
    match experts.iter().find(|&&expert| expert as usize >= count || expert == NONE) {
        None => Ok(()),
        Some(expert) => wrong(format!("{field} names expert {expert}; layer {n} has experts 0 to {}", count - 1)),
    }
}
