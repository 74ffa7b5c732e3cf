// The layout of a weight matrix: panels of 16 rows; in a panel, groups of 4 columns; in a group, the rows one after
// the other. Invocations that work on neighbouring rows therefore read neighbouring words. Rows and columns beyond the
// matrix are zero.
const ROWS = 16u;

fn panels_of(rows: u32) -> u32 {
    return (rows + ROWS - 1u) / ROWS;
}

// The index of the columns 4 * group .. 4 * group + 4 of `row`, in a matrix of `groups` column groups.
fn panel_index(row: u32, group: u32, groups: u32) -> u32 {
    return (row / ROWS * groups + group) * ROWS + row % ROWS;
}
