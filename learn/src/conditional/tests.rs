use super::*;

fn digits() -> &'static [u8] {
    include_bytes!("../../data/digits.bin")
}

/// The network written plainly in `f64`: the mean cross-entropy and the balancing loss. `f` are the parts' shares of
/// the assignments, which have no gradient.
fn plain(s: &Settings, p: &[f64], x: &[f32], classes: &[usize]) -> f64 {
    let (gate_size, part_size) = (s.gate().parameters(), s.part_parameters());
    let affine = |a: Affine, p: &[f64], x: &[f64]| -> Vec<f64> {
        let w = |o: usize, i: usize| p[o * a.inputs + i] * x[i];
        (0..a.outputs).map(|o| p[a.inputs * a.outputs + o] + (0..a.inputs).map(|i| w(o, i)).sum::<f64>()).collect()
    };
    let mut loss = 0.0;
    let mut counts = vec![0.0; s.parts];
    let mut means = vec![0.0; s.parts];
    for (row, &class) in x.chunks_exact(PIXELS).zip(classes) {
        let row: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        let logits = affine(s.gate(), p, &row);
        let sum: f64 = logits.iter().map(|l| l.exp()).sum();
        let share: Vec<f64> = logits.iter().map(|l| l.exp() / sum).collect();
        let mut order: Vec<usize> = (0..s.parts).collect();
        order.sort_by(|&a, &b| share[b].total_cmp(&share[a]));
        order.truncate(s.used());
        let kept: f64 = order.iter().map(|&i| share[i]).sum();
        let mut out = [0.0; CLASSES];
        for &i in &order {
            let weight = match s.mode {
                Mode::On => 1.0,
                Mode::Switched if s.active > 1 => share[i] / kept,
                _ => share[i],
            };
            let p = &p[gate_size + i * part_size..][..part_size];
            let hidden: Vec<f64> = affine(s.part()[0], p, &row).iter().map(|h| h.max(0.0)).collect();
            let each = affine(s.part()[1], &p[s.part()[0].parameters()..], &hidden);
            out.iter_mut().zip(each).for_each(|(o, e)| *o += weight * e);
            counts[i] += 1.0;
        }
        means.iter_mut().zip(&share).for_each(|(m, p)| *m += p);
        loss += out.iter().map(|l| l.exp()).sum::<f64>().ln() - out[class];
    }
    let rows = classes.len() as f64;
    let even: f64 = counts.iter().zip(&means).map(|(c, m)| c / (rows * s.used() as f64) * m / rows).sum();
    let balance = if s.mode == Mode::Switched { f64::from(s.balance) * s.parts as f64 * even } else { 0.0 };
    loss / rows + balance
}

#[test]
fn gradients_equal_central_differences() {
    for (mode, active) in
        [(Mode::On, 1), (Mode::Soft, 1), (Mode::Switched, 1), (Mode::Switched, 2), (Mode::Switched, 4)]
    {
        let settings = Settings { mode, active, parts: 4, units: 3, balance: 0.5, ..Settings::default() };
        let lab = Lab::new(settings.clone(), digits()).unwrap();
        let (mut x, mut classes, mut pass) = (Vec::new(), Vec::new(), Pass::default());
        lab.digits.batch(5, 0, 12, &mut x, &mut classes);
        lab.forward(&x, &mut pass);
        let (_, gradient) = lab.backward(&x, &classes, &mut pass);
        let mut wide: Vec<f64> = lab.parameters.iter().map(|&p| f64::from(p)).collect();
        let scale = gradient.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        for i in (0..wide.len()).step_by(5) {
            let kept = wide[i];
            wide[i] = kept + 1e-6;
            let up = plain(&settings, &wide, &x, &classes);
            wide[i] = kept - 1e-6;
            let slope = (up - plain(&settings, &wide, &x, &classes)) / 2e-6;
            wide[i] = kept;
            let ours = f64::from(gradient[i]);
            assert!((ours - slope).abs() < 1e-3 * f64::from(scale) + 1e-6, "{mode:?} [{i}]: {ours} is not {slope}");
        }
    }
}

#[test]
fn switching_costs_a_fraction_and_learns_too() {
    let run = |mode| {
        let mut lab = Lab::new(Settings { mode, ..Settings::default() }, digits()).unwrap();
        lab.step(1500).unwrap();
        lab.state()
    };
    let [on, soft, switched] = [Mode::On, Mode::Soft, Mode::Switched].map(run);
    for state in [&on, &soft, &switched] {
        assert!(state.accuracy > 0.85, "{state:?}");
        assert!((state.shares.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }
    let part = PIXELS * 16 + 16 * CLASSES;
    assert_eq!(on.multiply_adds, 8 * part);
    assert_eq!(soft.multiply_adds, 8 * part + 8 * PIXELS);
    assert_eq!(switched.multiply_adds, 2 * part + 8 * PIXELS);
    assert_eq!(switched.spent, 3.0 * (1500 * 64 * switched.multiply_adds) as f64);
    assert_eq!(on.parameters, switched.parameters);
}

#[test]
fn the_mode_changes_while_it_runs_and_bad_settings_are_errors() {
    let mut lab = Lab::new(Settings::default(), digits()).unwrap();
    for mode in [Mode::On, Mode::Soft, Mode::Switched] {
        lab.set(Settings { mode, ..lab.settings().clone() }).unwrap();
        lab.step(3).unwrap();
    }
    let copy = lab.clone();
    assert_eq!(lab.state(), copy.state());
    let refuse = |change: fn(&mut Settings), words: &str| {
        let mut settings = Settings::default();
        change(&mut settings);
        let error = Lab::new(settings, digits()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{error}");
    };
    refuse(|s| s.parts = 0, "parts is 0");
    refuse(|s| s.active = 9, "active is 9, but there are only 8 parts");
    refuse(|s| s.balance = f32::NAN, "balance is no number");
    assert_eq!(lab.set(Settings { parts: 4, ..Settings::default() }), Err(Error::NeedsRestart("parts")));
    let mut wild =
        Lab::new(Settings { learning_rate: 1.0, active: 1, balance: 10.0, ..Settings::default() }, digits()).unwrap();
    assert!(matches!(wild.step(50), Ok(()) | Err(Error::Diverged { .. })));
    assert!(wild.state().held_out_loss.is_finite());
}
