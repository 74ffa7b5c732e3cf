//! Fuses operations where one kernel does the work of several.

use super::operation::{CacheSide, Combine, NormOf, Operation, Product};
use crate::shape::{Architecture, MatrixName};

/// Replaces operations by fused ones with the same result:
///
/// - a product of queries, keys and values and the three copies after it, where whole heads are rotated by halves;
/// - adding the experts' outputs and the next norm, where that is an RMSNorm.
pub fn fuse(operations: Vec<Operation>, a: &Architecture, n: usize) -> Vec<Operation> {
    let whole_heads = a.layers[n].attention().is_some_and(|s| s.turns_whole_heads() && s.value_dim == s.head_dim);
    let mut fused: Vec<Operation> = Vec::with_capacity(operations.len());
    for operation in operations {
        fused.push(operation);
        if let Some(one) = whole_heads.then(|| qkv(&fused)).flatten() {
            fused.truncate(fused.len() - 4);
            fused.push(one);
        }
        if let Some(one) = (!a.layer_norm).then(|| combine_and_norm(&fused)).flatten() {
            fused.truncate(fused.len() - 2);
            fused.push(one);
        }
    }
    fused
}

/// The last four operations as one.
fn qkv(operations: &[Operation]) -> Option<Operation> {
    use Operation::Copy;
    let [Operation::Product(Product { matrix: MatrixName::Qkv, .. }), Copy(q), Copy(k), Copy(v)] =
        operations.last_chunk()?
    else {
        return None;
    };
    let sides = [q.to, k.to, v.to];
    (sides == [CacheSide::Queries, CacheSide::Keys, CacheSide::Values]).then_some(Operation::Qkv)
}

/// The last two operations as one.
fn combine_and_norm(operations: &[Operation]) -> Option<Operation> {
    match operations.last_chunk()? {
        [Operation::Combine(combine), Operation::Norm(NormOf::Next)] => {
            Some(Operation::Combine(Combine { norm: true, ..combine.clone() }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Ffn, program};
    use super::*;
    use crate::shape::{AttentionShape, HeadNorm, LayerShape, MoeShape};

    fn operations(attention: AttentionShape) -> Vec<Operation> {
        let layers = vec![LayerShape::new(attention, MoeShape::mixtral(8, 2, 40))];
        let a = Architecture { vocabulary: 96, hidden: 32, context: 64, layers, ..Architecture::default() };
        program(&a, 0).operations().cloned().collect()
    }

    /// Eight kernels run one token of a Mixtral layer; grouping is needed only for several tokens.
    #[test]
    fn mixtral_takes_eight_operations() {
        let all = operations(AttentionShape::new(4, 2, 8, 1e4));
        assert_eq!(all.iter().filter(|operation| !matches!(operation, Operation::Group(_))).count(), 8);
        assert_eq!(all[0], Operation::Qkv);
        assert!(matches!(all.last(), Some(Operation::Combine(Combine { of: Ffn::Routed, norm: true, .. }))));
    }

    /// Norms and partly rotated heads come between the product and the cache, so nothing is fused.
    #[test]
    fn what_one_kernel_cannot_do_stays_apart() {
        let plain = AttentionShape::new(4, 2, 8, 1e4);
        let normed = AttentionShape { norm: Some(HeadNorm::Head), ..plain.clone() };
        let mut partial = plain.clone();
        partial.rope.as_mut().unwrap().dim = 4;
        let without = AttentionShape { rope: None, ..plain };
        for shape in [normed, partial, without] {
            assert!(!operations(shape.clone()).contains(&Operation::Qkv), "{shape:?}");
        }
    }
}
