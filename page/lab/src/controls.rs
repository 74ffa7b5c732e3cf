//! The controls of each lab: which setting, and how it is set.

use crate::protocol::{LabName, Settings};
use serde_json::{Value, json};

/// How a setting is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A number on a slider.
    Slider {
        /// The least.
        least: f64,
        /// The most.
        most: f64,
        /// How the slider runs.
        scale: Scale,
    },
    /// One of some names.
    Choice(&'static [&'static str]),
    /// Yes or no.
    Switch,
}

/// How a slider runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Whole numbers.
    Whole,
    /// Evenly.
    Linear,
    /// Evenly in the logarithm.
    Log,
}

/// A setting that the reader can change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Control {
    /// The setting.
    pub key: &'static str,
    /// How it is set.
    pub kind: Kind,
    /// Whether a change begins a new run.
    pub begins_anew: bool,
    /// Whether it is folded away.
    pub is_further: bool,
}

/// Positions of a slider.
pub const POSITIONS: f64 = 200.0;

const fn choice(key: &'static str, names: &'static [&'static str]) -> Control {
    Control { key, kind: Kind::Choice(names), begins_anew: true, is_further: false }
}

const fn slider(key: &'static str, least: f64, most: f64, scale: Scale) -> Control {
    Control { key, kind: Kind::Slider { least, most, scale }, begins_anew: true, is_further: false }
}

impl Control {
    const fn while_it_runs(self) -> Self {
        Self { begins_anew: false, ..self }
    }

    const fn further(self) -> Self {
        Self { is_further: true, ..self }
    }
}

const LOCAL_EXPERTS: [Control; 20] = [
    choice("data", &["patches", "roof", "waves", "vowels", "moons", "rings", "spirals", "checkers", "groups"]),
    choice("expert", &["constant", "linear", "network", "support-vector-machine", "gaussian-process"]),
    slider("experts", 1.0, 8.0, Scale::Whole),
    choice("gate", &["linear", "network"]),
    choice("objective", &["competitive", "cooperative"]).while_it_runs(),
    choice("selection", &["soft", "top1", "top2"]).while_it_runs(),
    choice("method", &["gradient", "em"]).while_it_runs(),
    slider("learning-rate", 0.001, 2.0, Scale::Log).while_it_runs(),
    slider("variance", 0.005, 2.0, Scale::Log).while_it_runs(),
    slider("seed", 1.0, 50.0, Scale::Whole),
    slider("points", 20.0, 1000.0, Scale::Whole).further(),
    slider("noise", 0.0, 0.3, Scale::Linear).further(),
    choice("groups", &["1", "2", "4"]).further(),
    slider("hidden", 1.0, 16.0, Scale::Whole).further(),
    slider("gate-hidden", 1.0, 16.0, Scale::Whole).further(),
    slider("momentum", 0.0, 0.99, Scale::Linear).while_it_runs().further(),
    slider("hinge", 0.01, 100.0, Scale::Log).while_it_runs().further(),
    slider("length-scale", 0.05, 2.0, Scale::Log).further(),
    Control { key: "adapt", kind: Kind::Switch, begins_anew: false, is_further: true },
    Control { key: "logistic", kind: Kind::Switch, begins_anew: true, is_further: true },
];

const DEEP_MIXTURE: [Control; 9] = [
    slider("first-experts", 1.0, 8.0, Scale::Whole),
    slider("second-experts", 1.0, 8.0, Scale::Whole),
    slider("learning-rate", 0.0003, 0.1, Scale::Log).while_it_runs(),
    slider("constrained-steps", 0.0, 2000.0, Scale::Whole).while_it_runs(),
    slider("seed", 1.0, 50.0, Scale::Whole),
    slider("margin", 0.0, 4.0, Scale::Linear).while_it_runs().further(),
    slider("units", 4.0, 64.0, Scale::Whole).further(),
    slider("gate-hidden", 4.0, 64.0, Scale::Whole).further(),
    slider("batch", 8.0, 256.0, Scale::Whole).while_it_runs().further(),
];

const CONDITIONAL: [Control; 7] = [
    slider("parts", 2.0, 16.0, Scale::Whole),
    slider("active", 1.0, 4.0, Scale::Whole).while_it_runs(),
    slider("balance", 0.0, 0.2, Scale::Linear).while_it_runs(),
    slider("learning-rate", 0.0003, 0.1, Scale::Log).while_it_runs(),
    slider("seed", 1.0, 50.0, Scale::Whole),
    slider("units", 4.0, 64.0, Scale::Whole).further(),
    slider("batch", 8.0, 256.0, Scale::Whole).while_it_runs().further(),
];

const ROUTER: [Control; 15] = [
    choice("model", &["scratch", "main", "tiny"]),
    choice("gate", &["softmax-top-k", "top-k-of-softmax", "noisy-top-k", "sigmoid-bias"]),
    slider("balance-loss", 0.0, 0.1, Scale::Linear).while_it_runs(),
    slider("z-loss", 0.0, 0.1, Scale::Linear).while_it_runs(),
    slider("bias-rate", 0.0, 0.05, Scale::Linear).while_it_runs(),
    slider("capacity-factor", 0.0, 4.0, Scale::Linear).while_it_runs(),
    slider("learning-rate", 0.0003, 0.1, Scale::Log).while_it_runs(),
    slider("seed", 1.0, 50.0, Scale::Whole),
    slider("importance-loss", 0.0, 0.2, Scale::Linear).while_it_runs().further(),
    slider("load-loss", 0.0, 0.2, Scale::Linear).while_it_runs().further(),
    slider("experts", 2.0, 16.0, Scale::Whole).further(),
    slider("top-k", 1.0, 4.0, Scale::Whole).further(),
    slider("layers", 1.0, 4.0, Scale::Whole).further(),
    slider("units", 8.0, 128.0, Scale::Whole).further(),
    slider("context", 16.0, 128.0, Scale::Whole).further(),
];

const FINE_TUNE: [Control; 10] = [
    choice("model", &["main", "dense", "tiny"]),
    choice("trained", &["all", "without-experts", "without-routers", "routers"]),
    slider("expert-dropout", 0.0, 0.9, Scale::Linear).while_it_runs(),
    slider("learning-rate", 0.00001, 0.1, Scale::Log).while_it_runs(),
    slider("seed", 1.0, 50.0, Scale::Whole),
    slider("measure-every", 1.0, 50.0, Scale::Whole).while_it_runs().further(),
    slider("balance-loss", 0.0, 0.1, Scale::Linear).while_it_runs().further(),
    slider("weight-decay", 0.0, 1.0, Scale::Linear).while_it_runs().further(),
    slider("context", 8.0, 128.0, Scale::Whole).further(),
    slider("sequences", 1.0, 8.0, Scale::Whole).further(),
];

/// The controls of `lab`, in order.
pub fn controls(lab: LabName) -> &'static [Control] {
    match lab {
        LabName::LocalExperts => &LOCAL_EXPERTS,
        LabName::DeepMixture => &DEEP_MIXTURE,
        LabName::Conditional => &CONDITIONAL,
        LabName::Router => &ROUTER,
        LabName::FineTune => &FINE_TUNE,
    }
}

/// What a lab can be set beside: a name, and what is different there.
pub fn besides(lab: LabName) -> Vec<(&'static str, Settings)> {
    let list = match lab {
        LabName::LocalExperts => vec![
            ("cooperative", json!({"objective": "cooperative"})),
            ("top1", json!({"selection": "top1"})),
            ("em", json!({"method": "em"})),
            ("one-network", json!({"experts": 1, "groups": 1, "expert": "network", "objective": "cooperative"})),
        ],
        LabName::Router => vec![("unbalanced", json!({"balance-loss": 0.0}))],
        LabName::Conditional => vec![("on", json!({"mode": "on"})), ("weighted", json!({"mode": "soft"}))],
        LabName::FineTune => vec![
            ("dense", json!({"model": "dense"})),
            ("dropout", json!({"expert-dropout": 0.4})),
            ("frozen", json!({"trained": "without-experts"})),
            ("routers", json!({"trained": "routers"})),
        ],
        LabName::DeepMixture => Vec::new(),
    };
    let object = |value: Value| value.as_object().cloned().unwrap_or_default();
    list.into_iter().map(|(name, settings)| (name, object(settings))).collect()
}

/// What differs in the runs that stand beside the first from the beginning.
pub fn usual_beside(lab: LabName) -> Vec<Settings> {
    match lab {
        LabName::FineTune => besides(lab).into_iter().take(1).map(|(_, settings)| settings).collect(),
        LabName::Conditional | LabName::Router => besides(lab).into_iter().map(|(_, settings)| settings).collect(),
        _ => Vec::new(),
    }
}

/// The control of a setting.
pub fn control(lab: LabName, key: &str) -> Option<&'static Control> {
    controls(lab).iter().find(|control| control.key == key)
}

impl Kind {
    /// The position of `value` on a slider, from 0 to [`POSITIONS`].
    pub fn position(&self, value: f64) -> f64 {
        let Self::Slider { least, most, scale } = *self else { return 0.0 };
        let value = value.clamp(least, most);
        let part = match scale {
            Scale::Log => (value / least).ln() / (most / least).ln(),
            Scale::Whole | Scale::Linear => (value - least) / (most - least),
        };
        part * POSITIONS
    }

    /// The value at a position, in two digits where it runs evenly in the logarithm.
    pub fn value(&self, position: f64) -> f64 {
        let Self::Slider { least, most, scale } = *self else { return 0.0 };
        let part = (position / POSITIONS).clamp(0.0, 1.0);
        match scale {
            Scale::Whole => (least + part * (most - least)).round(),
            Scale::Linear => ((least + part * (most - least)) * 100.0).round() / 100.0,
            Scale::Log => {
                let exact = least * (most / least).powf(part);
                let unit = 10f64.powf(exact.log10().floor() - 1.0);
                // In decimal, so that it is written as short as it is.
                format!("{:.6}", (exact / unit).round() * unit).parse().unwrap_or(exact)
            }
        }
    }

    /// The JSON of a number.
    pub fn number(&self, value: f64) -> Value {
        match self {
            Self::Slider { scale: Scale::Whole, .. } => json!(value as u64),
            _ => json!(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{defaults, limits};

    #[test]
    fn every_control_is_a_setting_within_its_limits() {
        for lab in LabName::ALL {
            let (defaults, limits) = (defaults(lab), limits(lab));
            for control in controls(lab) {
                let usual = defaults.get(control.key).unwrap_or_else(|| panic!("{} is no setting", control.key));
                match control.kind {
                    Kind::Slider { least, most, .. } => {
                        assert!(usual.is_number() && least < most, "{}", control.key);
                        if let Some((_, low, high)) = limits.iter().find(|(key, ..)| *key == control.key) {
                            assert!(least >= *low && most <= *high, "{}", control.key);
                        }
                    }
                    Kind::Choice(names) => {
                        let usual = usual.as_str().map_or_else(|| usual.to_string(), str::to_owned);
                        assert!(names.contains(&usual.as_str()), "{}: {usual}", control.key);
                    }
                    Kind::Switch => assert!(usual.is_boolean(), "{}", control.key),
                }
            }
            for (name, beside) in besides(lab) {
                assert!(beside.keys().all(|key| defaults.contains_key(key)), "{name}");
            }
        }
    }

    #[test]
    fn sliders_go_from_end_to_end() {
        for scale in [Scale::Whole, Scale::Linear, Scale::Log] {
            let kind = Kind::Slider { least: 1.0, most: 64.0, scale };
            assert_eq!((kind.value(0.0), kind.value(POSITIONS)), (1.0, 64.0), "{scale:?}");
            assert!((kind.position(kind.value(77.0)) - 77.0).abs() < 2.0, "{scale:?}");
        }
        let log = Kind::Slider { least: 0.001, most: 2.0, scale: Scale::Log };
        assert_eq!(log.value(log.position(0.05)), 0.05);
    }
}
