//! The results of the race: tables, JSON, a picture, and the comparison with the committed ratios.

use anyhow::{Context, Result, bail};
use moescope_e2e::median;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;

/// A ratio below this share of the committed one is a failure. The margin allows for other load on the machine.
const ENOUGH: f64 = 0.85;

/// The most that one thread of the browser, or its GPU, can do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes read from memory in order, a second.
    pub read: f64,
    /// Multiply-adds of numbers in registers, a second.
    pub multiply_add: f64,
}

/// The spread of a measurement over the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The minimum.
    pub least: f64,
    /// The maximum.
    pub most: f64,
}

impl Spread {
    /// Tokens per second, from milliseconds per token; `None` if there are none.
    fn of(times: &[f64]) -> Option<Self> {
        Self::over(times.iter().map(|ms| 1e3 / ms).collect())
    }

    /// The spread of `numbers`; `None` if there are none.
    fn over(numbers: Vec<f64>) -> Option<Self> {
        let least = numbers.iter().copied().min_by(f64::total_cmp)?;
        let most = numbers.iter().copied().max_by(f64::total_cmp)?;
        Some(Self { median: median(numbers), least, most })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.median < 10.0 { 2 } else { 0 };
        write!(f, "{:.digits$}", self.median)?;
        if self.least < self.most {
            write!(f, " ({:.digits$} to {:.digits$})", self.least, self.most)?;
        }
        Ok(())
    }
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// The model, and the width of its numbers.
    pub model: String,
    /// What was measured: `decode`, or `prefill` and the tokens of the prompt.
    pub what: String,
    /// Moescope's tokens per second.
    pub own: Spread,
    /// The peer's.
    pub peer: Option<Spread>,
    /// Moescope's over the peer's, of the medians.
    pub ratio: Option<f64>,
    /// Moescope's over the most that the machine can do: reading memory for decoding, multiply-adds for prefill.
    pub share: f64,
}

impl Figure {
    /// A row from milliseconds per token; `most` is the limit in tokens per second.
    pub fn new(model: &str, what: String, own: &[f64], peer: &[f64], most: f64) -> Self {
        let own = Spread::of(own).expect("Moescope ran");
        let peer = Spread::of(peer);
        let ratio = peer.map(|peer| own.median / peer.median);
        Self { model: model.into(), what, own, peer, ratio, share: own.median / most }
    }

    fn name(&self) -> String {
        format!("{}, {}", self.model, self.what)
    }
}

/// What an open model costs; less is better.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// The model, and the width of its numbers.
    pub model: String,
    /// What is measured, with its unit.
    pub what: &'static str,
    /// Moescope's.
    pub own: Spread,
    /// The peer's.
    pub peer: Option<Spread>,
    /// The peer's over Moescope's, of the medians.
    pub ratio: Option<f64>,
}

impl Cost {
    /// A row from the value of each round.
    pub fn new(model: &str, what: &'static str, own: &[f64], peer: &[f64]) -> Self {
        let own = Spread::over(own.to_vec()).expect("Moescope ran");
        let peer = Spread::over(peer.to_vec());
        Self { model: model.into(), what, own, peer, ratio: peer.map(|peer| peer.median / own.median) }
    }
}

/// The results of Moescope and a peer on the same device.
#[derive(Clone, Debug, Serialize)]
pub struct Race {
    /// The other engine.
    pub peer: &'static str,
    /// What both ran on.
    pub device: String,
    /// The most that the device can do.
    pub limits: Limits,
    /// Speeds: the rows of the first table.
    pub figures: Vec<Figure>,
    /// First token and memory: the rows of the second table.
    pub costs: Vec<Cost>,
}

impl Race {
    /// As a table in Markdown.
    fn table(&self) -> String {
        let mut text = format!(
            "{} reads {:.1} GB/s from memory and does {:.1} G multiply-adds/s at most.\n\n\
             | model | what | Moescope, tokens/s | {}, tokens/s | ratio | of the limit |\n\
             | --- | --- | --: | --: | --: | --: |\n",
            self.device,
            self.limits.read / 1e9,
            self.limits.multiply_add / 1e9,
            self.peer
        );
        for figure in &self.figures {
            let Figure { model, what, own, share, .. } = figure;
            let [peer, ratio] = beside(figure.peer, figure.ratio);
            let _ = writeln!(text, "| {model} | {what} | {own} | {peer} | {ratio} | {:.0} % |", share * 100.0);
        }
        if !self.costs.is_empty() {
            let _ = write!(
                text,
                "\n| model | cost | Moescope | {} | times as much |\n| --- | --- | --: | --: | --: |\n",
                self.peer
            );
        }
        for cost in &self.costs {
            let Cost { model, what, own, .. } = cost;
            let [peer, ratio] = beside(cost.peer, cost.ratio);
            let _ = writeln!(text, "| {model} | {what} | {own} | {peer} | {ratio} |");
        }
        text
    }

    /// As a picture: a bar for each row, with Moescope's speed over the peer's.
    pub fn picture(&self) -> String {
        const ROW: usize = 26;
        const LEFT: usize = 170;
        const LONGEST: f64 = 480.0;
        let rows: Vec<(String, f64)> = self.figures.iter().filter_map(|f| Some((f.name(), f.ratio?))).collect();
        let scale = LONGEST / rows.iter().map(|row| row.1).fold(1.0, f64::max);
        let (width, height) = (LEFT + LONGEST as usize + 70, rows.len() * ROW + 40);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n\
             <title>Moescope's tokens per second over those of {peer}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
            peer = self.peer
        );
        for (n, (name, ratio)) in rows.iter().enumerate() {
            let (y, bar) = (n * ROW + 8, ratio * scale);
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{bar:.1}\" height=\"18\" fill=\"#0072b2\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{ratio:.2} x</text>",
                LEFT - 8,
                y + 14,
                LEFT as f64 + bar + 6.0,
                y + 14
            );
        }
        let (even, bottom) = (LEFT as f64 + scale, rows.len() * ROW + 8);
        let _ = writeln!(
            svg,
            "<path d=\"M{even:.1} 0V{bottom}\" stroke=\"#d55e00\" stroke-dasharray=\"4 3\"/>\
             <text x=\"{LEFT}\" y=\"{}\" fill=\"#b34700\">dashed: as fast as {}</text>\n</svg>",
            bottom + 18,
            self.peer
        );
        svg
    }
}

/// The cells of a row about the peer: its figure and the ratio.
fn beside(peer: Option<Spread>, ratio: Option<f64>) -> [String; 2] {
    [peer.map_or("left out".into(), |peer| peer.to_string()), ratio.map_or("-".into(), |ratio| format!("{ratio:.2} x"))]
}

/// The results of all races.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// On one thread of the browser.
    pub cpu: Option<Race>,
    /// On WebGPU.
    pub gpu: Option<Race>,
    /// The time to decode with 64 experts over the time with eight, on the CPU.
    pub more_experts: Option<f64>,
}

impl Outcome {
    /// As tables in Markdown.
    pub fn table(&self) -> String {
        let races = [&self.cpu, &self.gpu].into_iter().flatten();
        let mut text = races.map(Race::table).collect::<Vec<_>>().join("\n");
        if let Some(more) = self.more_experts {
            let _ = writeln!(text, "\nDecoding with 64 experts takes {more:.2} x the time that it takes with 8.");
        }
        text
    }

    /// The ratios to the peer, by the name of their row; these are compared with the committed ones.
    fn ratios(&self) -> BTreeMap<String, f64> {
        let figures = [&self.cpu, &self.gpu].into_iter().flatten().flat_map(|race| &race.figures);
        figures.filter_map(|figure| Some((figure.name(), figure.ratio?))).collect()
    }

    /// Writes the ratios to the file `committed`. Rows that were not measured keep their old ratio.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn commit(&self, committed: &Path) -> Result<()> {
        let mut ratios = read_ratios(committed)?;
        ratios.extend(self.ratios());
        std::fs::write(committed, serde_json::to_string_pretty(&ratios)? + "\n")
            .with_context(|| format!("cannot write {}", committed.display()))
    }

    /// Compares the ratios with those in the file `committed`.
    ///
    /// # Errors
    /// A ratio is more than 15 % lower, or the file cannot be read. A row that was not measured is named on stderr.
    pub fn check(&self, committed: &Path) -> Result<()> {
        let committed = read_ratios(committed)?;
        let worse = worse(&self.ratios(), &committed);
        if !worse.is_empty() {
            bail!("slower than the committed ratio to the same peer: {}", worse.join("; "));
        }
        Ok(())
    }
}

/// The ratios in a committed file.
fn read_ratios(path: &Path) -> Result<BTreeMap<String, f64>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| {
        format!("{} is not a JSON object of ratios; write it with `cargo xtask bench --commit`", path.display())
    })
}

/// Describes the rows that are far below the committed ratio. A row that was not measured is only named on stderr.
fn worse(ratios: &BTreeMap<String, f64>, committed: &BTreeMap<String, f64>) -> Vec<String> {
    let mut worse = Vec::new();
    for (name, before) in committed {
        match ratios.get(name) {
            Some(now) if *now < before * ENOUGH => worse.push(format!("{name}: {now:.2} x, was {before:.2} x")),
            Some(_) => {}
            None => eprintln!("{name}: not measured, so not checked"),
        }
    }
    worse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratios(rows: &[(&str, f64)]) -> BTreeMap<String, f64> {
        rows.iter().map(|(name, ratio)| (name.to_string(), *ratio)).collect()
    }

    #[test]
    fn only_what_is_far_below_the_committed_ratio_is_worse() {
        let committed = ratios(&[("a", 4.0), ("b", 2.0), ("c", 2.0)]);
        assert!(worse(&ratios(&[("a", 3.5), ("b", 9.0)]), &committed).is_empty());
        assert_eq!(worse(&ratios(&[("a", 3.3), ("b", 2.0)]), &committed), ["a: 3.30 x, was 4.00 x"]);
    }

    #[test]
    fn a_spread_is_of_speeds() {
        let spread = Spread::of(&[10.0, 2.0, 5.0]).unwrap();
        assert_eq!((spread.least, spread.median, spread.most), (100.0, 200.0, 500.0));
        assert!(Spread::of(&[]).is_none());
    }
}
