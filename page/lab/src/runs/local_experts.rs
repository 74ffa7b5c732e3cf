//! Mixtures in the plane.

use super::{Run, read};
use crate::goal::Measures;
use crate::protocol::{RANGE, RunReport, Settings};
use moescope_learn::local_experts::{DataSet, Lab, Point, Regions, Task};
use serde_json::json;

/// A run in the plane.
pub struct LocalExperts {
    lab: Lab,
}

/// Cells of a side where nobody draws them: enough for the gate's sureness.
const COARSE: usize = 24;

impl LocalExperts {
    /// A run at its beginning.
    ///
    /// # Errors
    /// The settings or the points are impossible.
    pub fn new(settings: &Settings, own: Option<&[[f32; 3]]>) -> Result<Self, String> {
        let mut settings: moescope_learn::local_experts::Settings = read(settings)?;
        let lab = match own {
            Some(own) => {
                let task = task_of(settings.data, own);
                settings.data = DataSet::Own;
                Lab::with_points(settings, task, points(own))
            }
            None => Lab::new(settings),
        };
        Ok(Self { lab: lab.map_err(|error| error.to_string())? })
    }
}

/// What is predicted of the reader's points: as of the set that they are drawn over; of no set, as many classes as the
/// points have.
fn task_of(data: DataSet, own: &[[f32; 3]]) -> Task {
    match data {
        DataSet::Own => {
            let most = own.iter().map(|point| point[2]).fold(1.0, f32::max);
            Task::Classes((most as usize + 1).clamp(2, 8))
        }
        other => other.task(),
    }
}

fn points(own: &[[f32; 3]]) -> Vec<Point> {
    own.iter().map(|[x, y, value]| Point { x: *x, y: *y, value: *value }).collect()
}

impl Run for LocalExperts {
    fn step(&mut self, n: usize) -> Result<(), String> {
        self.lab.step(n).map_err(|error| error.to_string())
    }

    fn set(&mut self, settings: &Settings) -> Result<(), String> {
        let mut settings: moescope_learn::local_experts::Settings = read(settings)?;
        if self.lab.settings().data == DataSet::Own {
            settings.data = DataSet::Own;
        }
        self.lab.set(settings).map_err(|error| error.to_string())
    }

    fn set_points(&mut self, own: &[[f32; 3]]) -> Result<(), String> {
        self.lab.set_points(points(own)).map_err(|error| error.to_string())
    }

    fn report(&self, cells: Option<(usize, usize)>) -> (RunReport, Vec<u8>) {
        let state = self.lab.state();
        let (width, height) = cells.unwrap_or((COARSE, COARSE));
        let regions = self.lab.regions(width, height).ok();
        let mut measures = Measures::new();
        measures.insert("error".into(), f64::from(state.error));
        if let Some(accuracy) = state.accuracy {
            measures.insert("accuracy".into(), f64::from(accuracy));
        }
        let experts = state.shares.len();
        if let Some(regions) = &regions {
            measures.insert("sharpness".into(), sharpness(regions, experts));
        }
        let classes = match state.task {
            Task::Classes(classes) => Some(classes),
            Task::Values => None,
        };
        let points: Vec<[f32; 3]> = state.points.iter().map(|p| [p.x, p.y, p.value]).collect();
        let drawn = json!({ "classes": classes, "points": points, "experts": state.experts });
        let report = RunReport::new(self.steps(), state.loss, &state.shares, measures, drawn);
        let bytes = cells.and(regions).map_or_else(Vec::new, |regions| bytes(&regions, experts, classes));
        (report, bytes)
    }

    fn steps(&self) -> u64 {
        self.lab.steps() as u64
    }
}

/// The gate's largest share, a mean over the cells.
fn sharpness(regions: &Regions, experts: usize) -> f64 {
    let largest = regions.shares.chunks_exact(experts).map(|shares| shares.iter().copied().fold(0.0, f32::max));
    largest.map(f64::from).sum::<f64>() / (regions.width * regions.height) as f64
}

/// The cells as the page draws them.
fn bytes(regions: &Regions, experts: usize, classes: Option<usize>) -> Vec<u8> {
    let outputs = classes.unwrap_or(1);
    let byte = |x: f32| (x.clamp(0.0, 1.0) * 255.0).round() as u8;
    let shares = regions.shares.chunks_exact(experts);
    let predictions = regions.prediction.chunks_exact(outputs);
    let mut bytes = Vec::with_capacity(regions.width * regions.height * crate::protocol::CELL);
    for (cell, (shares, prediction)) in shares.zip(predictions).enumerate() {
        let (first, share) = largest(shares);
        let predicted = match classes {
            Some(_) => largest(prediction).0 as u8,
            None => byte((prediction[0] / RANGE + 1.0) / 2.0),
        };
        let deviation = regions.deviation.get(cell).copied().unwrap_or(0.0);
        bytes.extend([first as u8, byte(share), predicted, byte(deviation)]);
    }
    bytes
}

/// The place and the value of the largest number.
fn largest(numbers: &[f32]) -> (usize, f32) {
    let all = numbers.iter().copied().enumerate();
    all.fold((0, f32::NEG_INFINITY), |best, one| if one.1 > best.1 { one } else { best })
}
