//! Rotary tables. Layers with the same rotary embedding share one; most models have one for all layers.

use crate::error::Result;
use crate::kernels::angles::angles;
use crate::shape::Rope;

/// The rotary tables of one model, in the form `T` in which an engine stores them.
pub struct RopeTables<T> {
    context: usize,
    made: Vec<(Option<Rope>, T)>,
}

impl<T: Clone> RopeTables<T> {
    /// No tables yet; each table made later has `context` positions.
    pub fn new(context: usize) -> Self {
        Self { context, made: Vec::new() }
    }

    /// The table of a layer with these rotary positions, an empty one where it has none; `keep` converts a new table
    /// ([`angles`]) to `T`.
    pub fn of(&mut self, rope: Option<&Rope>, keep: impl FnOnce(Vec<[f32; 2]>) -> Result<T>) -> Result<T> {
        if let Some((_, table)) = self.made.iter().find(|(made, _)| made.as_ref() == rope) {
            return Ok(table.clone());
        }
        let table = keep(rope.map_or(Vec::new(), |rope| angles(self.context, rope)))?;
        self.made.push((rope.cloned(), table.clone()));
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_share_a_table_unless_their_positions_differ() {
        let (mut tables, mut made) = (RopeTables::new(3), 0);
        for (dim, theta) in [(4, 1e4), (4, 1e4), (2, 1e4), (4, 1e6), (2, 1e4)] {
            let rope = Rope::new(theta, dim);
            let table = tables.of(Some(&rope), |table| {
                made += 1;
                Ok(table)
            });
            assert_eq!(table.unwrap(), angles(3, &rope));
        }
        assert_eq!(made, 3);
    }
}
