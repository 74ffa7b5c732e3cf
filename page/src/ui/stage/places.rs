//! The positions of the stage's parts, in the units of its view box.

use std::collections::BTreeMap;

/// The height of the residual stream.
pub const LINE_Y: f32 = 40.0;

/// Left end of the first layer, and right end of the last one.
const LEFT: f32 = 120.0;
const RIGHT: f32 = 838.0;

/// Width of the open layer.
pub const OPEN_WIDTH: f32 = 396.0;

/// The largest width of a small layer.
const WIDEST: f32 = 96.0;

/// Space between layers, if there is room.
const GAP: f32 = 8.0;

/// The least size of a box with a number of three digits.
const FOR_NUMBER: (f32, f32) = (34.0, 18.0);

/// The right end of the boxes.
const GRID_RIGHT: f32 = 346.0;

/// The position of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Its number.
    pub layer: usize,
    /// Its left end.
    pub x: f32,
    /// Its width.
    pub width: f32,
}

/// The positions of `layers` layers, of which `open` is open.
pub fn layer_places(layers: usize, open: usize) -> Vec<Place> {
    let room = RIGHT - LEFT - OPEN_WIDTH;
    let pitch = (room / layers.saturating_sub(1).max(1) as f32).min(WIDEST + GAP);
    let gap = GAP.min(pitch * 0.15);
    // If there are few layers, they are centred.
    let used = pitch * layers.saturating_sub(1) as f32 + OPEN_WIDTH;
    let mut x = LEFT + (RIGHT - LEFT - used).max(0.0) / 2.0;
    (0..layers)
        .map(|layer| {
            let width = if layer == open { OPEN_WIDTH } else { pitch - gap };
            let place = Place { layer, x, width };
            x += width + gap;
            place
        })
        .collect()
}

/// A box: the position of its corner, then width and height.
pub type Area = ((f32, f32), (f32, f32));

/// The positions of the experts of the open layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    columns: usize,
    rows: usize,
    /// Width and height of a box.
    pub size: (f32, f32),
    pitch: (f32, f32),
    top: f32,
}

impl Grid {
    /// A grid for `experts` experts; a shared expert below it reduces its height.
    pub fn new(experts: usize, shared: bool) -> Self {
        let columns = match experts {
            0..=16 => 4,
            17..=64 => 8,
            _ => 16,
        };
        let rows = experts.div_ceil(columns).max(1);
        let (top, height) = (76.0, if shared { 116.0 } else { 154.0 });
        let pitch = (204.0 / columns as f32, (height / rows as f32).min(72.0));
        let top = top + (height - pitch.1 * rows as f32).max(0.0) / 2.0;
        let between = (pitch.0 * 0.2, if rows <= 2 { pitch.1 - 46.0 } else { pitch.1 * 0.16 });
        Self { columns, rows, size: (pitch.0 - between.0, pitch.1 - between.1.max(2.0)), pitch, top }
    }

    /// The upper left corner of an expert's box, relative to the left end of the layer.
    pub fn at(&self, expert: usize) -> (f32, f32) {
        let (row, column) = (expert / self.columns, expert % self.columns);
        let inner = (self.pitch.1 - self.size.1) / 2.0;
        (136.0 + self.pitch.0 * column as f32, self.top + inner + self.pitch.1 * row as f32)
    }

    /// Whether there is room for lines between two rows.
    pub fn has_corridor(&self) -> bool {
        self.rows == 2 && self.pitch.1 - self.size.1 > 14.0
    }

    /// Number of boxes in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The corner and the size of the boxes of these experts, which are large enough for a number. Where two would
    /// cover each other, the left one moves to the left.
    pub fn chosen(&self, experts: &[u32]) -> BTreeMap<u32, Area> {
        let (width, height) = (self.size.0.max(FOR_NUMBER.0), self.size.1.max(FOR_NUMBER.1));
        let mut rows = BTreeMap::<usize, Vec<u32>>::new();
        for &expert in experts {
            rows.entry(expert as usize / self.columns).or_default().push(expert);
        }
        let mut places = BTreeMap::new();
        for mut row in rows.into_values() {
            row.sort_unstable();
            let mut right = f32::INFINITY;
            let corners = row.iter().rev().map(|&expert| {
                let (x, y) = self.at(expert as usize);
                let centred = (x - (width - self.size.0) / 2.0, y - (height - self.size.1) / 2.0);
                let x = centred.0.min(right - width - 2.0).min(GRID_RIGHT - width);
                right = x;
                (expert, (x, centred.1))
            });
            places.extend(corners.map(|(expert, corner)| (expert, (corner, (width, height)))));
        }
        places
    }

    /// The height of the line between the two rows.
    pub fn corridor(&self) -> f32 {
        self.top + self.pitch.1
    }

    /// Whether the expert is above that line.
    pub fn is_above(&self, expert: usize) -> bool {
        expert < self.columns
    }
}
