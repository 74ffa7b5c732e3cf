//! Points in the plane: sets that are made from a seed, and the points of a reader.

use serde::{Deserialize, Serialize};

use crate::random::{normal, uniform};

/// Which points a lab trains on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSet {
    /// Two half circles that interlock: 2 classes.
    Moons,
    /// A disc inside of a ring: 2 classes.
    Rings,
    /// Two arms of a spiral: 2 classes.
    Spirals,
    /// A board of 4 x 4 fields: 2 classes.
    Checkers,
    /// Four groups, each of its own class.
    Groups,
    /// Four overlapping vowels by their first two formants, as in the paper of 1991: drawn around the mean formants of
    /// men, women and children (Peterson and Barney 1952, table II), not the measured speakers themselves.
    #[default]
    Vowels,
    /// A plane of its own in every quadrant: values.
    Patches,
    /// A roof with four sides: values.
    Roof,
    /// A product of waves: values.
    Waves,
    /// The reader's points.
    Own,
}

/// What the experts predict of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One of so many classes.
    Classes(usize),
    /// A number.
    Values,
}

impl Task {
    /// Numbers that an expert gives for a point.
    pub fn outputs(self) -> usize {
        match self {
            Self::Classes(classes) => classes,
            Self::Values => 1,
        }
    }
}

/// A point of the plane, which shows x and y from -1 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// From left to right.
    pub x: f32,
    /// From bottom to top.
    pub y: f32,
    /// The class, counted from 0, or the value.
    pub value: f32,
}

/// The most classes of a set.
pub const MOST_CLASSES: usize = 8;

impl DataSet {
    /// What is predicted of its points; the reader's have two classes unless a lab sets another number.
    pub fn task(self) -> Task {
        match self {
            Self::Groups | Self::Vowels => Task::Classes(4),
            Self::Patches | Self::Roof | Self::Waves => Task::Values,
            Self::Moons | Self::Rings | Self::Spirals | Self::Checkers | Self::Own => Task::Classes(2),
        }
    }

    /// `count` points with noise of this size; none for the reader's own set.
    pub fn points(self, count: usize, noise: f32, seed: u64) -> Vec<Point> {
        let count = if self == Self::Own { 0 } else { count };
        (0..count).map(|i| self.point(i, count, f64::from(noise), seed)).collect()
    }

    fn point(self, i: usize, count: usize, noise: f64, seed: u64) -> Point {
        let place = 16 * i as u64;
        let free = |n: u64| 2.0 * uniform(seed, place + n) - 1.0;
        let jitter = |n: u64| noise * normal(seed ^ 0x5eed, place + n);
        let (x, y, value) = match self {
            Self::Moons => {
                let angle = std::f64::consts::PI * uniform(seed, place);
                let (x, y) = (0.55 * angle.cos(), 0.55 * angle.sin());
                if i.is_multiple_of(2) { (x - 0.25, y - 0.15, 0.0) } else { (0.25 - x, 0.15 - y, 1.0) }
            }
            Self::Rings => {
                let angle = std::f64::consts::TAU * uniform(seed, place);
                let inside = i.is_multiple_of(2);
                let part = uniform(seed, place + 1);
                let radius = if inside { 0.4 * part.sqrt() } else { 0.65 + 0.2 * part };
                (radius * angle.cos(), radius * angle.sin(), if inside { 0.0 } else { 1.0 })
            }
            Self::Spirals => {
                let part = (i / 2) as f64 / (count / 2).max(1) as f64;
                let arm = (i % 2) as f64;
                let angle = 1.5 * std::f64::consts::TAU * part + arm * std::f64::consts::PI;
                let radius = 0.1 + 0.8 * part;
                (radius * angle.cos(), radius * angle.sin(), arm)
            }
            Self::Checkers => {
                let (x, y) = (0.95 * free(0), 0.95 * free(1));
                let field = |v: f64| (2.0 * v + 2.0).floor() as i64;
                (x, y, ((field(x) + field(y)) % 2) as f64)
            }
            Self::Groups => {
                let class = i % 4;
                let centre = |upper: bool| if upper { 0.5 } else { -0.5 };
                let spread = |n: u64| 0.14 * normal(seed, place + n);
                (centre(class % 2 == 1) + spread(0), centre(class / 2 == 1) + spread(2), class as f64)
            }
            Self::Vowels => return vowel(i, noise, seed),
            Self::Patches => {
                let (x, y) = (free(0), free(1));
                let value = match (x > 0.0, y > 0.0) {
                    (false, false) => x + 0.6,
                    (false, true) => -y + 0.3,
                    (true, false) => 0.8 * y + 0.7,
                    (true, true) => x - y,
                };
                return Point { x: x as f32, y: y as f32, value: (value + jitter(2)) as f32 };
            }
            Self::Roof => {
                let (x, y) = (free(0), free(1));
                return Point { x: x as f32, y: y as f32, value: (0.8 - x.abs() - y.abs() + jitter(2)) as f32 };
            }
            Self::Waves => {
                let (x, y) = (free(0), free(1));
                let value = 0.9 * (4.0 * x).sin() * (3.0 * y).cos();
                return Point { x: x as f32, y: y as f32, value: (value + jitter(2)) as f32 };
            }
            Self::Own => (0.0, 0.0, 0.0),
        };
        Point { x: (x + jitter(0)) as f32, y: (y + jitter(2)) as f32, value: value as f32 }
    }
}

/// Mean first and second formants in Hz of four vowels (heed, hid, hod, hud), spoken by men, women and children
/// (Peterson and Barney 1952, table II).
const FORMANTS: [[[f64; 2]; 3]; 4] = [
    [[270.0, 2290.0], [310.0, 2790.0], [370.0, 3200.0]],
    [[390.0, 1990.0], [430.0, 2480.0], [530.0, 2730.0]],
    [[730.0, 1090.0], [850.0, 1220.0], [1030.0, 1370.0]],
    [[640.0, 1190.0], [760.0, 1400.0], [850.0, 1590.0]],
];

/// The vowel `i % 4` of the speaker `i / 4`: a kind of speaker, a factor of the speaker's own, and one of the moment.
fn vowel(i: usize, noise: f64, seed: u64) -> Point {
    let (vowel, speaker) = (i % 4, (i / 4) as u64);
    let kind = (3.0 * uniform(seed, 4 * speaker)) as usize;
    let own = 0.05 * normal(seed ^ 0x0feed, speaker);
    let formant = |n: usize| {
        let moment = (0.05 + noise) * normal(seed ^ 0x5eed, 16 * i as u64 + 2 * n as u64);
        FORMANTS[vowel][kind.min(2)][n] * (own + moment).exp()
    };
    let (x, y) = ((formant(0) - 700.0) / 550.0, (formant(1) - 2200.0) / 1500.0);
    Point { x: x as f32, y: y as f32, value: vowel as f32 }
}
