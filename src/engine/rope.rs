//! Rotary tables. Layers with the same rotary embedding share one; most models have one for all layers.

use crate::error::Result;
use crate::kernels::qkv::angles;
use crate::shape::AttentionShape;

/// The rotary tables of one model, in the form `T` in which an engine stores them.
pub struct RopeTables<T> {
    context: usize,
    made: Vec<((usize, f32), T)>,
}

impl<T: Clone> RopeTables<T> {
    /// No tables yet; each table made later has `context` positions.
    pub fn new(context: usize) -> Self {
        Self { context, made: Vec::new() }
    }

    /// The table of a layer with this attention. A new table ([`angles`]) is converted to `T` by `keep`.
    pub fn of(&mut self, shape: &AttentionShape, keep: impl FnOnce(Vec<[f32; 2]>) -> Result<T>) -> Result<T> {
        let key = (shape.head_dim, shape.rope_theta);
        if let Some((_, table)) = self.made.iter().find(|(made, _)| *made == key) {
            return Ok(table.clone());
        }
        let table = keep(angles(self.context, shape.head_dim, shape.rope_theta))?;
        self.made.push((key, table.clone()));
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_share_a_table_unless_their_attention_differs() {
        let shape = |head_dim, rope_theta| AttentionShape { heads: 1, kv_heads: 1, head_dim, rope_theta, window: None };
        let (mut tables, mut made) = (RopeTables::new(3), 0);
        for shape in [shape(4, 1e4), shape(4, 1e4), shape(2, 1e4), shape(4, 1e6), shape(2, 1e4)] {
            let table = tables.of(&shape, |table| {
                made += 1;
                Ok(table)
            });
            assert_eq!(table.unwrap(), angles(3, shape.head_dim, shape.rope_theta));
        }
        assert_eq!(made, 3);
    }
}
