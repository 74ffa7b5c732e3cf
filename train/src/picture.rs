//! Draws training loss against training FLOPs as an SVG, one line for each model.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 96.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = HEIGHT - 48.0;

/// Higher losses, as in the first steps, are not drawn.
const HIGHEST: f64 = 5.0;
/// Distance between two lines of the grid, in nats.
const GRID: f64 = 0.4;

/// The line of one model.
pub struct Line {
    /// The model.
    pub name: String,
    /// Its colour.
    pub colour: &'static str,
    /// (FLOPs so far, loss).
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// The points that are drawn.
    fn shown(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.points.iter().copied().filter(|(_, loss)| *loss < HIGHEST)
    }
}

/// Maps numbers to coordinates in the picture: FLOPs on a logarithmic scale, losses on a linear one.
struct Frame {
    /// Logarithms of the smallest and the largest number of FLOPs.
    from: f64,
    to: f64,
    lowest: f64,
}

impl Frame {
    fn around(lines: &[Line]) -> Self {
        let points = || lines.iter().flat_map(Line::shown);
        let bound = |f: fn((f64, f64)) -> f64, pick: fn(f64, f64) -> f64| points().map(f).reduce(pick).unwrap_or(1.0);
        let (from, to) = (bound(|p| p.0, f64::min).log10(), bound(|p| p.0, f64::max).log10());
        Self { from, to: to.max(from + 1e-9), lowest: (bound(|p| p.1, f64::min) * 5.0).floor() / 5.0 }
    }

    fn x(&self, flops: f64) -> f64 {
        LEFT + (flops.log10() - self.from) / (self.to - self.from) * (RIGHT - LEFT)
    }

    fn y(&self, loss: f64) -> f64 {
        TOP + (HIGHEST - loss) / (HIGHEST - self.lowest) * (BOTTOM - TOP)
    }
}

/// Draws the whole picture.
pub fn draw(lines: &[Line]) -> String {
    let frame = Frame::around(lines);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Training loss against training FLOPs</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    losses(&frame, &mut out);
    computation(&frame, &mut out);
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">training FLOPs</text>\n\
         <text transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">training loss, nats per token</text>",
        (LEFT + RIGHT) / 2.0,
        HEIGHT - 8.0,
        (TOP + BOTTOM) / 2.0,
    );
    lines.iter().for_each(|line| curve(&frame, line, &mut out));
    out + "</svg>\n"
}

/// Draws the horizontal lines of the grid.
fn losses(frame: &Frame, out: &mut String) {
    let count = ((HIGHEST - frame.lowest) / GRID).floor() as usize;
    for loss in (0..=count).map(|n| HIGHEST - GRID * n as f64) {
        let at = frame.y(loss);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{loss:.1}</text>",
            LEFT - 8.0,
            at + 4.0,
        );
    }
}

/// Draws the vertical lines of the grid: 1, 2 and 5 times each power of ten.
fn computation(frame: &Frame, out: &mut String) {
    for exponent in frame.from.floor() as i32..=frame.to.ceil() as i32 {
        for (factor, grey) in [(1.0, "#bbb"), (2.0, "#e4e4e4"), (5.0, "#e4e4e4")] {
            let flops = factor * 10f64.powi(exponent);
            if !(frame.from..=frame.to).contains(&flops.log10()) {
                continue;
            }
            let power = format!("10<tspan dy=\"-5\" font-size=\"10\">{exponent}</tspan>");
            let label = if factor == 1.0 { power } else { format!("{factor:.0}") };
            let at = frame.x(flops);
            let _ = writeln!(
                out,
                "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"{grey}\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                BOTTOM + 18.0,
            );
        }
    }
}

/// Draws the line of a model, with its name at the end.
fn curve(frame: &Frame, line: &Line, out: &mut String) {
    let points: Vec<String> =
        line.shown().map(|(flops, loss)| format!("{:.1} {:.1}", frame.x(flops), frame.y(loss))).collect();
    let Some((flops, loss)) = line.shown().last() else { return };
    let Line { name, colour, .. } = line;
    let _ = writeln!(
        out,
        "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\" font-weight=\"bold\">{name}</text>",
        points.join("L"),
        frame.x(flops) + 6.0,
        frame.y(loss) + 4.0,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_lies_inside_the_frame_and_falls_as_the_loss_does() {
        let points = vec![(1e12, 7.0), (1e13, 4.0), (1e14, 3.0)];
        let lines = [Line { name: "m".into(), colour: "#000", points }];
        let frame = Frame::around(&lines);
        assert_eq!((frame.x(1e13), frame.x(1e14)), (LEFT, RIGHT));
        assert!(TOP < frame.y(4.0) && frame.y(4.0) < frame.y(3.0) && frame.y(3.0) <= BOTTOM);
        let drawn = draw(&lines);
        assert!(drawn.contains(">m</text>") && !drawn.contains("NaN"), "{drawn}");
    }
}
