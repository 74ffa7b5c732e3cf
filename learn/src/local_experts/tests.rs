//! The lab's mathematics against plain `f64` code, central differences and scikit-learn; its behaviour on bad input.

use serde_json::Value;

use super::gaussian_process::{Kernel, Process};
use super::mixture::Mixture;
use super::svm::Machine;
use super::*;

/// A mixture written plainly, one point after the other, in `f64`: the objective of [`Mixture::objective`].
struct Plain<'a> {
    settings: &'a Settings,
    classes: bool,
    outputs: usize,
}

fn soft(x: &[f64]) -> Vec<f64> {
    let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - top).exp()).sum();
    x.iter().map(|x| (x - top).exp() / sum).collect()
}

fn logistic(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

impl Plain<'_> {
    fn network(p: &mut &[f64], [inputs, hidden, outputs]: [usize; 3], squash: fn(f64) -> f64, x: &[f64]) -> Vec<f64> {
        let mut layer = |inputs: usize, outputs: usize, x: &[f64]| -> Vec<f64> {
            let mut unit = || {
                let (row, rest) = p.split_at(inputs + 1);
                *p = rest;
                row[inputs] + (0..inputs).map(|i| row[i] * x[i]).sum::<f64>()
            };
            (0..outputs).map(|_| unit()).collect()
        };
        if hidden == 0 {
            return layer(inputs, outputs, x);
        }
        let h: Vec<f64> = layer(inputs, hidden, x).into_iter().map(squash).collect();
        layer(hidden, outputs, &h)
    }

    fn loss(&self, parameters: &[f64], point: &Point) -> f64 {
        let s = self.settings;
        let x = [f64::from(point.x), f64::from(point.y)];
        let mut rest = parameters;
        let out: Vec<Vec<f64>> = (0..s.experts)
            .map(|_| {
                let (inputs, hidden) = match s.expert {
                    ExpertKind::Constant => (0, 0),
                    ExpertKind::Linear => (2, 0),
                    _ => (2, s.hidden),
                };
                let squash = if s.logistic { logistic } else { f64::tanh };
                let out = Self::network(&mut rest, [inputs, hidden, self.outputs], squash, &x);
                match (self.classes, s.logistic) {
                    (true, false) => soft(&out),
                    (true, true) => out.into_iter().map(logistic).collect(),
                    _ => out,
                }
            })
            .collect();
        let hidden = if s.gate == GateKind::Network { s.gate_hidden } else { 0 };
        let rows = s.experts + if s.groups > 1 { s.groups } else { 0 };
        let logits = Self::network(&mut rest, [2, hidden, rows], f64::tanh, &x);
        assert!(rest.is_empty());
        let size = s.experts / s.groups;
        let groups = if s.groups > 1 { soft(&logits[s.experts..]) } else { vec![1.0] };
        let share: Vec<f64> =
            (0..s.experts).map(|e| groups[e / size] * soft(&logits[e / size * size..][..size])[e % size]).collect();
        let target = |o: usize| match self.classes {
            true => f64::from(u8::from(point.value as usize == o)),
            false => f64::from(point.value),
        };
        let v = f64::from(s.variance);
        let largest = |keys: &[f64]| -> Vec<usize> {
            let mut order: Vec<usize> = (0..s.experts).collect();
            order.sort_by(|&a, &b| keys[b].total_cmp(&keys[a]));
            order.truncate(s.selection.count(s.experts));
            order
        };
        match s.objective {
            Objective::Competitive => {
                let joint: Vec<f64> = (0..s.experts)
                    .map(|e| {
                        let squares: f64 = (0..self.outputs).map(|o| (target(o) - out[e][o]).powi(2)).sum();
                        share[e].ln() - squares / (2.0 * v)
                    })
                    .collect();
                -largest(&joint).iter().map(|&e| joint[e].exp()).sum::<f64>().ln()
            }
            Objective::Cooperative => {
                let chosen = largest(&share);
                let total: f64 =
                    if s.selection == Selection::Top1 { 1.0 } else { chosen.iter().map(|&e| share[e]).sum() };
                let blend = |o: usize| chosen.iter().map(|&e| share[e] / total * out[e][o]).sum::<f64>();
                (0..self.outputs).map(|o| (target(o) - blend(o)).powi(2)).sum::<f64>() / (2.0 * v)
            }
        }
    }
}

/// Every kind of expert and gate under every objective and selection, on classes and values.
fn cases() -> Vec<Settings> {
    let mut all = Vec::new();
    for data in [DataSet::Vowels, DataSet::Waves] {
        for (expert, gate, groups) in [
            (ExpertKind::Constant, GateKind::Linear, 1),
            (ExpertKind::Linear, GateKind::Network, 1),
            (ExpertKind::Network, GateKind::Linear, 3),
            (ExpertKind::Linear, GateKind::Network, 2),
        ] {
            for objective in [Objective::Competitive, Objective::Cooperative] {
                for selection in [Selection::Soft, Selection::Top1, Selection::Top2] {
                    let (experts, points, hidden, gate_hidden, variance) = (6, 37, 3, 4, 0.3);
                    let base = Settings { experts, points, hidden, gate_hidden, variance, ..Settings::default() };
                    let one = Settings { data, expert, gate, groups, objective, selection, ..base };
                    all.extend([Settings { logistic: true, ..one.clone() }, one]);
                }
            }
        }
    }
    all
}

#[test]
fn gradients_equal_central_differences() {
    for settings in cases() {
        let task = settings.data.task();
        let lab = Lab::new(settings.clone()).unwrap();
        let classes = matches!(task, Task::Classes(_));
        let mixture = Mixture::new(&settings, task.outputs(), classes);
        let parameters: Vec<f32> =
            (0..mixture.parameters()).map(|i| (0.6 * crate::random::normal(4, i as u64)) as f32).collect();
        let mut pass = mixture.pass(lab.points.len());
        let mut gradient = vec![f32::NAN; parameters.len()];
        mixture.run_experts(&parameters, &lab.x, &mut pass);
        mixture.run_gate(&parameters, &lab.x, &mut pass);
        let loss = mixture.objective(&lab.targets, &settings, &mut pass);
        mixture.gradient(&parameters, &lab.x, &lab.targets, &settings, &mut pass, &mut gradient);

        let plain = Plain { settings: &settings, classes, outputs: task.outputs() };
        let mut wide: Vec<f64> = parameters.iter().map(|&p| f64::from(p)).collect();
        let mean = |wide: &[f64]| lab.points.iter().map(|p| plain.loss(wide, p)).sum::<f64>() / lab.points.len() as f64;
        let expected = mean(&wide);
        assert!((f64::from(loss) - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{settings:?}: {loss} {expected}");
        let scale = gradient.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        assert!(scale > 1e-3, "{settings:?}");
        for i in 0..wide.len() {
            let kept = wide[i];
            wide[i] = kept + 1e-6;
            let up = mean(&wide);
            wide[i] = kept - 1e-6;
            let slope = (up - mean(&wide)) / 2e-6;
            wide[i] = kept;
            let slack = 1e-3 * f64::from(scale) + 1e-5;
            assert!((f64::from(gradient[i]) - slope).abs() < slack, "{settings:?} [{i}]: {} {slope}", gradient[i]);
        }
    }
}

#[test]
fn em_never_lowers_the_likelihood() {
    for (data, expert, experts, groups) in [
        (DataSet::Patches, ExpertKind::Linear, 4, 1),
        (DataSet::Patches, ExpertKind::Linear, 8, 4),
        (DataSet::Waves, ExpertKind::Constant, 6, 2),
        (DataSet::Vowels, ExpertKind::Linear, 4, 2),
        (DataSet::Spirals, ExpertKind::Linear, 8, 1),
        (DataSet::Checkers, ExpertKind::Constant, 9, 3),
    ] {
        for seed in [1, 2] {
            let base = Settings { data, expert, experts, groups, seed, points: 200, ..Settings::default() };
            let mut lab = Lab::new(Settings { method: Method::Em, ..base }).unwrap();
            let first = lab.state().loss;
            let mut last = f32::INFINITY;
            for step in 0..60 {
                lab.step(1).unwrap();
                assert!(lab.loss <= last + 1e-6 * (1.0 + last.abs()), "{data:?} {step}: {} after {last}", lab.loss);
                last = lab.loss;
            }
            assert!(last < first - 0.05, "{data:?}: {first} to {last}");
        }
    }
}

fn scikit_learn() -> Value {
    serde_json::from_str(include_str!("../../tests/scikit_learn.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn support_vector_machines_equal_those_of_scikit_learn() {
    let expected = scikit_learn();
    let points: Vec<Vec<f64>> = expected["points"].as_array().unwrap().iter().map(numbers).collect();
    let x: Vec<f32> = (0..2).flat_map(|c| points.iter().map(move |p| p[c] as f32)).collect();
    let (classes, weights) = (numbers(&expected["classes"]), numbers(&expected["responsibilities"]));
    for theirs in expected["machines"].as_array().unwrap() {
        let c = theirs["c"].as_f64().unwrap();
        let mut machine = Machine::new(points.len());
        for _ in 0..20_000 {
            machine.pass(&x, |i| 2.0 * classes[i] - 1.0, |i| c * weights[i]);
        }
        for (ours, theirs) in machine.weights.iter().zip(numbers(&theirs["weights"])) {
            assert!((ours - theirs).abs() < 1e-4, "C = {c}: {ours} is not {theirs}");
        }
        assert!(machine.duals.iter().zip(&weights).all(|(a, w)| (0.0..=c * w).contains(a)));
    }
}

fn fixed_process(kernel: Kernel) -> Process {
    let expected = scikit_learn();
    let points: Vec<Vec<f64>> = expected["points"].as_array().unwrap().iter().map(numbers).collect();
    let places = points.iter().map(|p| [p[0], p[1]]).collect();
    let values = points.iter().map(|p| p[2]).collect();
    Process::fit(kernel, places, &numbers(&expected["responsibilities"]), values).unwrap()
}

fn fixed_kernel() -> Kernel {
    let p = &scikit_learn()["process"];
    let log = |key: &str| p[key].as_f64().unwrap().ln();
    Kernel { log_length: log("length"), log_signal: log("signal"), log_noise: log("noise") }
}

#[test]
fn gaussian_processes_equal_those_of_scikit_learn() {
    let expected = &scikit_learn()["process"];
    let process = fixed_process(fixed_kernel());
    let (mean, deviation) = (numbers(&expected["mean"]), numbers(&expected["deviation"]));
    for (i, place) in expected["places"].as_array().unwrap().iter().enumerate() {
        let place = numbers(place);
        let mut ours = [0.0];
        let spread = process.predict([place[0], place[1]], &mut ours, &mut Vec::new());
        assert!((ours[0] - mean[i]).abs() < 1e-8, "{} is not {}", ours[0], mean[i]);
        assert!((spread.sqrt() - deviation[i]).abs() < 1e-6, "{} {}", spread.sqrt(), deviation[i]);
    }
    let likelihood = expected["log_likelihood"].as_f64().unwrap();
    assert!((process.log_likelihood() - likelihood).abs() < 1e-7, "{} {likelihood}", process.log_likelihood());
    let [length, signal, _] = process.log_likelihood_gradient();
    let theirs = numbers(&expected["gradient"]);
    assert!((signal - theirs[0]).abs() < 1e-6 && (length - theirs[1]).abs() < 1e-6, "{signal} {length} {theirs:?}");
}

#[test]
fn a_kernels_gradient_equals_central_differences() {
    let kernel = fixed_kernel();
    let gradient = fixed_process(kernel).log_likelihood_gradient();
    for (k, slope) in gradient.into_iter().enumerate() {
        let at = |change: f64| {
            let mut kernel = kernel;
            *[&mut kernel.log_length, &mut kernel.log_signal, &mut kernel.log_noise][k] += change;
            fixed_process(kernel).log_likelihood()
        };
        let plain = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((slope - plain).abs() < 1e-5 * (1.0 + plain.abs()), "{k}: {slope} is not {plain}");
    }
}

#[test]
fn leaving_a_point_out_equals_a_process_without_it() {
    let kernel = fixed_kernel();
    let expected = scikit_learn();
    let points: Vec<Vec<f64>> = expected["points"].as_array().unwrap().iter().map(numbers).collect();
    let weights = numbers(&expected["responsibilities"]);
    let whole = fixed_process(kernel);
    for out in [0, 7, 39] {
        let kept = || (0..points.len()).filter(|&i| i != out);
        let places = kept().map(|i| [points[i][0], points[i][1]]).collect();
        let shares: Vec<f64> = kept().map(|i| weights[i]).collect();
        let rest = Process::fit(kernel, places, &shares, kept().map(|i| points[i][2]).collect()).unwrap();
        let (mut a, mut b) = ([0.0], [0.0]);
        let left_out = whole.leave_out(out, &mut a);
        let without = rest.predict([points[out][0], points[out][1]], &mut b, &mut Vec::new());
        assert!((a[0] - b[0]).abs() < 1e-9 && (left_out - without).abs() < 1e-9);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for expert in [ExpertKind::Network, ExpertKind::SupportVectorMachine, ExpertKind::GaussianProcess] {
        let run = |seed| {
            let settings = Settings { expert, seed, points: 60, data: DataSet::Moons, ..Settings::default() };
            let mut lab = Lab::new(settings).unwrap();
            lab.step(12).unwrap();
            lab.state()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}

#[test]
fn every_kind_of_expert_learns() {
    for (expert, data, most) in [
        (ExpertKind::Constant, DataSet::Groups, 0.1),
        (ExpertKind::Linear, DataSet::Vowels, 0.25),
        (ExpertKind::Network, DataSet::Moons, 0.1),
        (ExpertKind::SupportVectorMachine, DataSet::Moons, 0.2),
        (ExpertKind::GaussianProcess, DataSet::Waves, 0.05),
    ] {
        let settings =
            Settings { expert, data, experts: 8, points: 200, gate: GateKind::Network, ..Settings::default() };
        let mut lab = Lab::new(settings).unwrap();
        let steps = if expert == ExpertKind::GaussianProcess { 60 } else { 2000 };
        lab.step(steps).unwrap();
        let state = lab.state();
        assert!(state.error < most, "{expert:?}: {}", state.error);
        assert!((state.shares.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        let rows = state.responsibilities.chunks_exact(8);
        assert!(rows.clone().count() == 200 && rows.into_iter().all(|r| (r.iter().sum::<f32>() - 1.0).abs() < 1e-3));
        let regions = lab.regions(12, 9).unwrap();
        assert!(regions.shares.chunks_exact(8).all(|s| (s.iter().sum::<f32>() - 1.0).abs() < 1e-4));
        let spread = if expert == ExpertKind::GaussianProcess { 108 } else { 0 };
        assert_eq!(regions.deviation.len(), spread);
        assert!(regions.deviation.iter().all(|d| d.is_finite() && *d > 0.0));
    }
}

#[test]
fn sliders_act_and_what_restarts_says_so() {
    let mut lab = Lab::new(Settings { points: 40, ..Settings::default() }).unwrap();
    lab.step(3).unwrap();
    for objective in [Objective::Cooperative, Objective::Competitive] {
        for selection in [Selection::Top1, Selection::Top2, Selection::Soft] {
            lab.set(Settings { objective, selection, ..lab.settings().clone() }).unwrap();
            lab.step(2).unwrap();
        }
    }
    lab.set(Settings { method: Method::Em, ..lab.settings().clone() }).unwrap();
    lab.step(2).unwrap();
    lab.set(Settings { method: Method::Gradient, variance: 0.5, ..lab.settings().clone() }).unwrap();
    lab.step(2).unwrap();
    assert_eq!(lab.state().step, 19);
    let restart = lab.set(Settings { experts: 5, ..lab.settings().clone() });
    assert_eq!(restart, Err(Error::NeedsRestart("experts")));
    assert_eq!(lab.settings().experts, 4);
}

#[test]
fn points_come_and_go_while_it_trains() {
    for expert in [ExpertKind::Linear, ExpertKind::SupportVectorMachine, ExpertKind::GaussianProcess] {
        let settings = Settings { data: DataSet::Own, expert, ..Settings::default() };
        assert_eq!(Lab::new(settings.clone()).err(), Some(Error::NoPoints));
        let point = |x: f32, value: f32| Point { x, y: 0.1, value };
        let mut lab = Lab::with_points(settings, Task::Classes(2), vec![point(-0.5, 0.0)]).unwrap();
        lab.step(5).unwrap();
        lab.add(point(0.5, 1.0)).unwrap();
        lab.step(5).unwrap();
        assert_eq!(lab.erase(-0.5, 0.0, 0.2), Ok(1));
        lab.step(5).unwrap();
        assert_eq!(lab.erase(0.5, 0.0, 0.2), Err(Error::NoPoints));
        assert_eq!(lab.points(), [point(0.5, 1.0)]);
        assert!(lab.state().loss.is_finite());
    }
}

#[test]
fn bad_input_is_an_error_that_says_what_to_do() {
    let refuse = |change: fn(&mut Settings), words: &str| {
        let mut settings = Settings { points: 20, ..Settings::default() };
        change(&mut settings);
        let error = Lab::new(settings).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    };
    refuse(|s| s.experts = 0, "experts is 0; it must be 1 to 16");
    refuse(|s| s.experts = 17, "experts is 17");
    refuse(|s| s.points = 0, "points is 0");
    refuse(|s| s.variance = f32::NAN, "variance is no number");
    refuse(|s| s.learning_rate = f32::INFINITY, "learning-rate is no number");
    refuse(|s| s.groups = 3, "groups is 3, which does not divide 4 experts");
    refuse(|s| (s.data, s.expert) = (DataSet::Waves, ExpertKind::SupportVectorMachine), "choose points with classes");
    refuse(|s| (s.method, s.expert) = (Method::Em, ExpertKind::Network), "EM needs constant or linear");
    refuse(|s| (s.method, s.selection) = (Method::Em, Selection::Top1), "choose soft");
    let own = |task, value: f32, x: f32| {
        let settings = Settings { data: DataSet::Own, ..Settings::default() };
        Lab::with_points(settings, task, vec![Point { x, y: 0.0, value }]).err().map(|e| e.to_string())
    };
    let says =
        |error: Option<String>, words: &str| assert!(error.as_ref().is_some_and(|e| e.contains(words)), "{error:?}");
    says(own(Task::Classes(2), 2.0, 0.0), "the class of point 0 is 2; it must be a whole number from 0 to 1");
    says(own(Task::Classes(2), 0.5, 0.0), "the class of point 0 is 0.5");
    says(own(Task::Classes(1), 0.0, 0.0), "there are 1 classes");
    says(own(Task::Values, f32::NAN, 0.0), "the value of point 0 is NaN");
    says(own(Task::Values, 0.0, f32::NAN), "a coordinate of point 0 is NaN");
    assert!(Lab::new(Settings::default()).unwrap().regions(0, 5).is_err());
    assert!(serde_json::from_str::<Settings>(r#"{"expert": "lookup"}"#).is_err());
    assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
}

#[test]
fn extremes_and_points_on_one_spot_neither_panic_nor_give_numbers_that_are_not_finite() {
    let spot = vec![Point { x: 0.3, y: -0.2, value: 1.0 }; 30];
    for expert in [
        ExpertKind::Constant,
        ExpertKind::Linear,
        ExpertKind::Network,
        ExpertKind::SupportVectorMachine,
        ExpertKind::GaussianProcess,
    ] {
        let base = Settings { data: DataSet::Own, expert, experts: 4, ..Settings::default() };
        let extremes = [
            base.clone(),
            Settings { learning_rate: 100.0, momentum: 0.99, variance: 0.001, ..base.clone() },
            Settings { hinge: 1000.0, length_scale: 0.02, variance: 10.0, ..base.clone() },
            Settings { length_scale: 5.0, selection: Selection::Top1, experts: 1, ..base.clone() },
        ];
        for settings in extremes {
            let mut lab = Lab::with_points(settings, Task::Classes(2), spot.clone()).unwrap();
            let diverged = lab.step(30);
            assert!(matches!(diverged, Ok(()) | Err(Error::Diverged { .. })), "{diverged:?}");
            let state = lab.state();
            assert!(state.loss.is_finite() && state.shares.iter().all(|s| s.is_finite()), "{expert:?}");
        }
    }
    for (data, expert) in [(DataSet::Waves, ExpertKind::Linear), (DataSet::Moons, ExpertKind::Constant)] {
        let settings = Settings { method: Method::Em, data, expert, points: 1, experts: 16, ..Settings::default() };
        let mut lab = Lab::new(settings).unwrap();
        lab.step(20).unwrap();
        assert!(lab.state().loss.is_finite());
    }
}

#[test]
fn divergence_keeps_the_step_before() {
    let base = Settings { data: DataSet::Waves, objective: Objective::Cooperative, ..Settings::default() };
    let mut lab = Lab::new(Settings { learning_rate: 100.0, variance: 0.001, ..base }).unwrap();
    let error = lab.step(1000).unwrap_err();
    let state = lab.state();
    assert_eq!(error, Error::Diverged { step: state.step + 1 });
    assert!(error.to_string().contains("lower the learning rate"));
    assert!(lab.parameters.iter().all(|p| p.is_finite()));
}
