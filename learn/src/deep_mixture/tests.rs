use super::*;

fn digits() -> &'static [u8] {
    include_bytes!("../../data/digits.bin")
}

/// The network written plainly in `f64`: the mean cross-entropy.
fn plain(s: &Settings, p: &[f64], x: &[f32], classes: &[usize], open: &[Vec<bool>; 2]) -> f64 {
    fn affine(p: &mut &[f64], inputs: usize, outputs: usize, x: &[f64]) -> Vec<f64> {
        let (w, rest) = p.split_at(inputs * outputs);
        let (b, rest) = rest.split_at(outputs);
        *p = rest;
        (0..outputs).map(|o| b[o] + (0..inputs).map(|i| w[o * inputs + i] * x[i]).sum::<f64>()).collect()
    }
    let mut total = 0.0;
    for (row, &class) in x.chunks_exact(PIXELS).zip(classes) {
        let mut rest = p;
        let mut z: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        for (experts, open) in [s.first_experts, s.second_experts].into_iter().zip(open) {
            let inputs = z.len();
            let h: Vec<f64> = affine(&mut rest, inputs, s.gate_hidden, &z).into_iter().map(f64::tanh).collect();
            let logits = affine(&mut rest, s.gate_hidden, experts, &h);
            let e: Vec<f64> = logits.iter().zip(open).map(|(l, open)| if *open { l.exp() } else { 0.0 }).collect();
            let sum: f64 = e.iter().sum();
            let mut next = vec![0.0; s.units];
            for share in e.iter().map(|e| e / sum) {
                let out = affine(&mut rest, inputs, s.units, &z);
                next.iter_mut().zip(out).for_each(|(n, o)| *n += share * o.max(0.0));
            }
            z = next;
        }
        let logits = affine(&mut rest, s.units, CLASSES, &z);
        assert!(rest.is_empty());
        total += logits.iter().map(|l| l.exp()).sum::<f64>().ln() - logits[class];
    }
    total / classes.len() as f64
}

#[test]
fn the_gradient_equals_central_differences() {
    let (first_experts, second_experts, units, gate_hidden) = (3, 2, 5, 4);
    let settings = Settings { first_experts, second_experts, units, gate_hidden, ..Settings::default() };
    let lab = Lab::new(settings.clone(), digits()).unwrap();
    let (mut x, mut classes, mut pass) = (Vec::new(), Vec::new(), Pass::default());
    lab.digits.batch(5, 0, 12, &mut x, &mut classes);
    for open in [[vec![true; 3], vec![true; 2]], [vec![true, false, true], vec![true; 2]]] {
        lab.forward(&x, [&open[0], &open[1]], &mut pass);
        let (loss, gradient) = lab.backward(&x, &classes, &mut pass);
        let mut wide: Vec<f64> = lab.parameters.iter().map(|&p| f64::from(p)).collect();
        assert!((f64::from(loss) - plain(&settings, &wide, &x, &classes, &open)).abs() < 1e-5);
        let scale = gradient.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        for i in (0..wide.len()).step_by(7) {
            let kept = wide[i];
            wide[i] = kept + 1e-6;
            let up = plain(&settings, &wide, &x, &classes, &open);
            wide[i] = kept - 1e-6;
            let slope = (up - plain(&settings, &wide, &x, &classes, &open)) / 2e-6;
            wide[i] = kept;
            let ours = f64::from(gradient[i]);
            assert!((ours - slope).abs() < 1e-3 * f64::from(scale) + 1e-6, "[{i}]: {ours} is not {slope}");
        }
    }
}

#[test]
fn it_learns_the_digits_and_its_gates_divide_where_from_what() {
    let mut lab = Lab::new(Settings::default(), digits()).unwrap();
    let before = lab.state();
    lab.step(3000).unwrap();
    let state = lab.state();
    assert!(before.accuracy < 0.3 && state.accuracy >= 0.9, "{} to {}", before.accuracy, state.accuracy);
    let (first, second) = (&state.first, &state.second);
    let told = format!("{} {} / {} {}", first.place_bits, first.class_bits, second.place_bits, second.class_bits);
    assert!(first.place_bits > first.class_bits, "{told}");
    assert!(second.class_bits > second.place_bits, "{told}");
    for map in [first, second] {
        for rows in [&map.by_place, &map.by_class] {
            assert!(rows.chunks_exact(map.experts).all(|r| (r.iter().sum::<f32>() - 1.0).abs() < 1e-4));
        }
    }
    let example = lab.example(3, 4);
    assert!((example.prediction.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    assert_eq!(example.pixels.len(), PIXELS);
}

#[test]
fn the_same_seed_gives_the_same_run_and_sliders_act() {
    let run = |seed| {
        let mut lab = Lab::new(Settings { seed, ..Settings::default() }, digits()).unwrap();
        lab.step(3).unwrap();
        lab.set(Settings { learning_rate: 0.01, batch: 32, ..lab.settings().clone() }).unwrap();
        lab.step(2).unwrap();
        lab.state()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let mut lab = Lab::new(Settings::default(), digits()).unwrap();
    assert_eq!(lab.set(Settings { units: 3, ..Settings::default() }), Err(Error::NeedsRestart("units")));
}

#[test]
fn bad_input_is_an_error() {
    let error =
        |settings: Settings, file: &[u8]| Lab::new(settings, file).err().map(|e| e.to_string()).unwrap_or_default();
    let good = Settings::default();
    assert!(error(good.clone(), b"").contains("has 0 bytes"));
    assert!(error(good.clone(), &digits()[..1000]).contains("says that it holds 1797 digits"));
    let mut damaged = digits().to_vec();
    damaged[10] = 17;
    assert!(error(good.clone(), &damaged).contains("a pixel above 16 in digit 0"));
    assert!(error(good.clone(), &[0, 0, 0, 0]).contains("holds 0 digits"));
    assert!(error(Settings { first_experts: 0, ..good.clone() }, digits()).contains("first-experts is 0"));
    assert!(
        error(Settings { learning_rate: f32::NAN, ..good.clone() }, digits()).contains("learning-rate is no number")
    );
    for wild in [Settings { learning_rate: 1.0, margin: 0.0, batch: 1, ..good.clone() }, Settings { units: 1, ..good }]
    {
        let mut lab = Lab::new(wild, digits()).unwrap();
        assert!(matches!(lab.step(50), Ok(()) | Err(Error::Diverged { .. })));
        assert!(lab.state().held_out_loss.is_finite());
    }
}
