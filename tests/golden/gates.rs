//! The gates against the routers of transformers' families, on the CPU; `tests/parity` has them on the GPU.

use super::engines::file;
use super::gate_cases::read;
use super::largest_difference;
use moescope::kernels::choose::{Room, RoutedToken, Scores, route};
use moescope::shape::Setting;

/// Every case: the same experts, and their weights, up to rounding.
pub fn agree_with_the_routers_of_families() {
    for case in read(&file("tests/golden/gates")) {
        let (name, k, setting) = (&case.name, case.shape.top_k, Setting::own(&case.shape, 64));
        let (mut selected, mut weights, mut room) = (vec![0; k], vec![0.0; k], Room::default());
        for (t, logits) in case.logits.chunks_exact(case.shape.experts).enumerate() {
            let scores = Scores { router_logits: logits, vectors: &case.vectors, full: &[] };
            route(&setting, RoutedToken::default(), &scores, &mut room, &mut selected, &mut weights);
            assert_eq!(selected, case.selected[t * k..][..k], "{name}: token {t}");
            let difference = largest_difference(&weights, &case.weights[t * k..][..k]);
            assert!(difference < case.tolerance(2e-6), "{name}: weights of token {t} differ by {difference}");
        }
    }
}
