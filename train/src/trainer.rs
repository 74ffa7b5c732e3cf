//! The training loop.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::checkpoint::{self, About, Checkpoint};
use crate::config::Config;
use crate::curves::{Curves, HeldOutPoint, TrainingPoint};
use crate::data::{Data, Stream};
use crate::evaluation::{Evaluation, evaluate};
use crate::gate::{self, GateKind, max_over_mean};
use crate::model::Layout;
use crate::optimizer::Optimizer;
use crate::random::hash;
use crate::replica::{Losses, Replica};
use crate::snapshots::{self, Album, Moment};

/// Steps between two points of the training curve.
const POINT: usize = 20;
/// Time between two checkpoints.
const CHECKPOINT: Duration = Duration::from_secs(120);
/// Time between two measurements on held-out text.
const MEASURE: Duration = Duration::from_secs(600);
/// Held-out tokens of each domain in a measurement while training.
const MEASURED: usize = 16 * 1024;

/// A training run: its state, and everything that a step needs.
pub struct Trainer {
    config: Config,
    layout: Layout,
    phases: Vec<Phase>,
    held_out: Vec<Stream>,
    optimizer: Optimizer,
    /// The parameters.
    pub values: Vec<f32>,
    gradient: Vec<f32>,
    corpus: String,
    /// Steps done.
    pub step: usize,
    /// Tokens seen.
    pub tokens: usize,
    /// Seconds spent in steps.
    pub seconds: f64,
    /// The curves so far.
    pub curves: Curves,
}

/// A part of a run whose sequences all have the same length.
struct Phase {
    data: Data,
    replicas: Vec<Replica>,
    /// Its first step.
    begins: usize,
    /// Tokens seen before it.
    tokens_before: usize,
}

impl Phase {
    fn tokens_per_step(&self) -> usize {
        self.replicas.iter().map(Replica::tokens).sum()
    }
}

/// What a step reports.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Tokens of the batch.
    pub tokens: usize,
    /// Loss in nats per token.
    pub loss: f64,
    /// Balancing loss without its factor, mean over the layers.
    pub balance: f64,
    /// Busiest expert's load over the mean, the worst layer.
    pub max_over_mean: f32,
    /// The gradient's norm before clipping.
    pub gradient_norm: f32,
}

impl Trainer {
    /// A new run. `corpus` is the checksum of its training text.
    pub fn new(config: Config, train: Vec<Stream>, held_out: Vec<Stream>, corpus: String) -> Result<Self> {
        config.check()?;
        let layout = Layout::new(&config.model);
        let train = Arc::new(train);
        let phases = phases(&config, &train)?;
        Ok(Self {
            values: layout.initial(config.training.seed),
            gradient: vec![0.0; layout.total],
            optimizer: Optimizer::new(layout.clone(), config.optimizer.clone()),
            layout,
            phases,
            held_out,
            corpus,
            step: 0,
            tokens: 0,
            seconds: 0.0,
            curves: Curves::default(),
            config,
        })
    }

    /// Continues from a checkpoint.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let about = checkpoint.about;
        ensure!(
            self.config.continues(&about.config),
            "the checkpoint was made with another configuration; delete its folder to start again"
        );
        ensure!(
            self.corpus == about.corpus,
            "the checkpoint was made on another corpus; delete its folder to start again"
        );
        ensure!(
            checkpoint.values.len() == self.layout.total,
            "the checkpoint has {} parameters, but the configuration asks for {}",
            checkpoint.values.len(),
            self.layout.total
        );
        (self.values, self.optimizer.first, self.optimizer.second) =
            (checkpoint.values, checkpoint.first, checkpoint.second);
        (self.step, self.tokens, self.seconds, self.curves) = (about.step, about.tokens, about.seconds, about.curves);
        Ok(())
    }

    /// The state of the run now.
    pub fn checkpoint(&self) -> Checkpoint {
        let about = About {
            config: self.config.clone(),
            corpus: self.corpus.clone(),
            step: self.step,
            tokens: self.tokens,
            seconds: self.seconds,
            curves: self.curves.clone(),
        };
        Checkpoint {
            about,
            values: self.values.clone(),
            first: self.optimizer.first.clone(),
            second: self.optimizer.second.clone(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Steps of the whole run: its last step is the first that reaches its tokens.
    pub fn steps(&self) -> usize {
        let steps = |p: &Phase| {
            p.begins + self.config.training.tokens.saturating_sub(p.tokens_before).div_ceil(p.tokens_per_step())
        };
        let (first, last) = (&self.phases[0], &self.phases[self.phases.len() - 1]);
        if self.config.training.tokens <= last.tokens_before { steps(first) } else { steps(last) }
    }

    /// The index of the phase of the next step.
    fn phase(&self) -> usize {
        self.phases.iter().rposition(|p| p.begins <= self.step).unwrap_or(0)
    }

    /// One step of the optimiser.
    pub fn train_step(&mut self) -> StepReport {
        let begin = Instant::now();
        let (count, step, factors) = (self.config.training.replicas, self.step, self.config.gate_losses());
        let phase = self.phase();
        let seed = self.config.training.seed;
        let Phase { data, replicas, begins, .. } = &mut self.phases[phase];
        let (values, data, begins) = (&self.values, &*data, *begins);
        let work = |(n, replica): (usize, &mut Replica)| {
            let (inputs, targets) = data.part((step - begins) * count + n);
            let noise = hash(seed ^ 0x901e, (step * count + n) as u64);
            replica.train(values, &inputs, &targets, factors, 1.0 / count as f32, noise)
        };
        let work = &work;
        let losses: Vec<Losses> = std::thread::scope(|scope| {
            let handles: Vec<_> = replicas.iter_mut().enumerate().map(|r| scope.spawn(move || work(r))).collect();
            handles.into_iter().map(|h| h.join().expect("a replica does not panic")).collect()
        });
        self.gradient.copy_from_slice(&replicas[0].gradient);
        for replica in &replicas[1..] {
            self.gradient.iter_mut().zip(&replica.gradient).for_each(|(sum, g)| *sum += g);
        }
        let tokens = self.phases[phase].tokens_per_step();
        let total = self.config.training.tokens;
        let factor = self.config.schedule.factor(self.tokens + tokens, tokens, total);
        let (gradient_norm, shares) = self.optimizer.shares(step, factor, &mut self.values, &mut self.gradient, count);
        std::thread::scope(|scope| {
            for share in shares {
                scope.spawn(|| share.apply());
            }
        });
        self.move_biases(phase);
        self.step += 1;
        self.tokens += tokens;
        self.seconds += begin.elapsed().as_secs_f64();
        let layers = self.config.model.layers;
        let balance = losses.iter().map(|l| l.balance).sum::<f64>() / (layers * count) as f64;
        StepReport {
            tokens,
            loss: losses.iter().map(|l| l.cross_entropy).sum::<f64>() / tokens as f64,
            balance,
            max_over_mean: self.max_over_mean(phase),
            gradient_norm,
        }
    }

    /// Assignments of each expert over the whole batch, for each layer.
    fn counts(&self, phase: usize) -> Vec<Vec<usize>> {
        let mut sums = vec![vec![0; self.config.model.experts]; self.config.model.layers];
        for replica in &self.phases[phase].replicas {
            for (sums, routing) in sums.iter_mut().zip(replica.routing()) {
                sums.iter_mut().zip(&routing.counts).for_each(|(sum, count)| *sum += count);
            }
        }
        sums
    }

    /// Busiest expert's load over the mean, over the whole batch, for the worst layer.
    fn max_over_mean(&self, phase: usize) -> f32 {
        self.counts(phase).iter().map(|counts| max_over_mean(counts)).fold(0.0, f32::max)
    }

    /// Moves the gates' biases against the load of the whole batch, for kinds that have biases.
    fn move_biases(&mut self, phase: usize) {
        let GateKind::SigmoidBias { bias_rate } = self.config.model.router else { return };
        for (counts, layer) in self.counts(phase).iter().zip(&self.layout.layers) {
            gate::move_bias(&mut self.values[layer.bias.clone()], counts, bias_rate);
        }
    }

    /// Measures bits per byte and load on held-out text. With `all` it uses all of the text and windows that overlap
    /// by half; otherwise it uses a part of the text and windows without overlap, which is faster.
    pub fn measure(&mut self, all: bool) -> Evaluation {
        let context = self.config.model.context;
        let (limit, stride) = if all { (usize::MAX, context / 2) } else { (MEASURED, context) };
        let last = self.phases.len() - 1;
        evaluate(&mut self.phases[last].replicas, &self.values, &self.held_out, limit, stride)
    }

    /// Trains to the end or until `stop`. Checkpoints go into `folder`, and the snapshots that the configuration asks
    /// for into a folder next to it; `tokenizer` is copied into each snapshot. Returns whether the run reached its
    /// end.
    pub fn run(&mut self, folder: &Path, tokenizer: &Path, stop: &Arc<AtomicBool>) -> Result<bool> {
        let steps = self.steps();
        let album = self.album(folder, tokenizer);
        let progress = Progress::new(steps, self.step, self.config.training.tokens);
        let (mut saved, mut measured) = (Instant::now(), Instant::now());
        let mut reports = Vec::new();
        while self.step < steps && !stop.load(Ordering::Relaxed) {
            let begin = Instant::now();
            reports.push((self.recorded_step(&album)?, begin.elapsed()));
            if self.step.is_multiple_of(POINT) || self.step == steps {
                let speed = self.add_point(&reports);
                progress.show(self.curves.training.last(), self.step, speed);
                reports.clear();
            }
            if measured.elapsed() > MEASURE && self.step < steps {
                let evaluation = self.measure(false);
                progress.line(&summary(&evaluation));
                self.curves.held_out.push(HeldOutPoint::new(self.step, self.tokens, &evaluation));
                measured = Instant::now();
            }
            if saved.elapsed() > CHECKPOINT {
                checkpoint::write(folder, &self.checkpoint())?;
                saved = Instant::now();
            }
        }
        if let (true, Some(last)) = (self.step >= steps && album.holds(self.step), self.curves.training.last()) {
            let moment = Moment { step: self.step, tokens: self.tokens, loss: last.loss };
            album.keep(&self.config, &self.values, &moment)?;
        }
        checkpoint::write(folder, &self.checkpoint())?;
        progress.bar.finish_and_clear();
        Ok(self.step >= steps)
    }

    /// Runs one step. Before it, writes a snapshot if `album` has one at this step, with this step's loss.
    fn recorded_step(&mut self, album: &Album) -> Result<StepReport> {
        let kept = album.holds(self.step).then(|| (self.values.clone(), self.step, self.tokens));
        let report = self.train_step();
        if let Some((values, step, tokens)) = kept {
            album.keep(&self.config, &values, &Moment { step, tokens, loss: report.loss })?;
        }
        Ok(report)
    }

    fn album<'a>(&self, folder: &Path, tokenizer: &'a Path) -> Album<'a> {
        let chosen = self.config.recording.as_ref().map_or(Vec::new(), |r| snapshots::steps(r.snapshots, self.steps()));
        Album { folder: folder.join("snapshots"), tokenizer, steps: chosen }
    }

    /// Adds a point of the curve and returns the tokens per second of these steps.
    fn add_point(&mut self, reports: &[(StepReport, Duration)]) -> f64 {
        let n = reports.len() as f64;
        let mean = |f: fn(&StepReport) -> f64| reports.iter().map(|(r, _)| f(r)).sum::<f64>() / n;
        self.curves.training.push(TrainingPoint {
            step: self.step,
            tokens: self.tokens,
            loss: mean(|r| r.loss),
            balance: mean(|r| r.balance),
            max_over_mean: mean(|r| f64::from(r.max_over_mean)) as f32,
            gradient_norm: mean(|r| f64::from(r.gradient_norm)) as f32,
        });
        let seconds: f64 = reports.iter().map(|(_, d)| d.as_secs_f64()).sum();
        reports.iter().map(|(r, _)| r.tokens).sum::<usize>() as f64 / seconds
    }
}

/// The phases of a run: two if it begins with shorter sequences, else one.
fn phases(config: &Config, train: &Arc<Vec<Stream>>) -> Result<Vec<Phase>> {
    let training = &config.training;
    let mut phases: Vec<Phase> = Vec::new();
    let short = training.short.as_ref();
    let contexts = short.map(|s| (s.context, training.seed ^ 0x5057)).into_iter();
    for (context, seed) in contexts.chain([(config.model.context, training.seed)]) {
        let data = Data::new(train.clone(), context, training.mixed, seed, &training.repeat)?;
        let replica = |_| Replica::new(&config.model, data.sequences(), context);
        let replicas = (0..training.replicas).map(replica).collect();
        let begins = phases.first().zip(short).map_or(0, |(p, s)| s.tokens.div_ceil(p.tokens_per_step()));
        let tokens_before = phases.first().map_or(0, |p| begins * p.tokens_per_step());
        phases.push(Phase { data, replicas, begins, tokens_before });
    }
    Ok(phases)
}

/// Describes a measurement in one line.
pub fn summary(evaluation: &Evaluation) -> String {
    let domains: Vec<String> =
        evaluation.domains.iter().map(|d| format!("{} {:.3}", d.name, d.bits_per_byte)).collect();
    let layers: Vec<String> = evaluation.layers.iter().map(|l| format!("{:.2}", l.max_over_mean())).collect();
    let mut line =
        format!("held-out bits per byte: {}; max/mean load by layer: {}", domains.join(", "), layers.join(" "));
    if evaluation.layers.iter().any(|l| l.dropped > 0) {
        let dropped: Vec<String> =
            evaluation.layers.iter().map(|l| format!("{:.1} %", 100.0 * l.dropped_share())).collect();
        line += &format!("; dropped by layer: {}", dropped.join(" "));
    }
    line
}

/// The progress of a run: a bar on a terminal, lines elsewhere.
struct Progress {
    bar: ProgressBar,
    plain: bool,
    steps: usize,
    tokens: usize,
}

impl Progress {
    fn new(steps: usize, done: usize, tokens: usize) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(steps as u64) };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").expect("the template is fixed");
        bar.set_style(style);
        bar.set_position(done as u64);
        Self { bar, plain, steps, tokens }
    }

    fn show(&self, point: Option<&TrainingPoint>, step: usize, tokens_per_second: f64) {
        let Some(p) = point else { return };
        let left = Duration::from_secs_f64(self.tokens.saturating_sub(p.tokens) as f64 / tokens_per_second);
        let message = format!(
            "loss {:.3}, {tokens_per_second:.0} tokens/s, max/mean load {:.2}, gradient {:.2}, {:.2} M tokens seen, \
             {} left",
            p.loss,
            p.max_over_mean,
            p.gradient_norm,
            p.tokens as f64 / 1e6,
            indicatif::HumanDuration(left)
        );
        if self.plain {
            println!("step {step}/{}: {message}", self.steps);
        } else {
            self.bar.set_position(step as u64);
            self.bar.set_message(message);
        }
    }

    fn line(&self, line: &str) {
        if self.plain { println!("{line}") } else { self.bar.println(line) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::tests::tiny;
    use crate::data::tests::counting;
    use crate::snapshots::Recording;

    fn trainer() -> Trainer {
        Trainer::new(tiny(), counting(2, 1500), counting(2, 300), "sum".into()).unwrap()
    }

    fn no_tokenizer() -> PathBuf {
        PathBuf::from("no snapshot asks for it")
    }

    fn steps(trainer: &mut Trainer, count: usize) {
        for _ in 0..count {
            trainer.train_step();
        }
    }

    #[test]
    fn a_resumed_run_equals_one_without_a_stop() {
        let folder = tempfile::tempdir().unwrap();
        let mut whole = trainer();
        steps(&mut whole, 7);
        let mut first = trainer();
        steps(&mut first, 4);
        checkpoint::write(folder.path(), &first.checkpoint()).unwrap();
        let mut second = trainer();
        second.resume(checkpoint::read(folder.path()).unwrap().unwrap()).unwrap();
        steps(&mut second, 3);
        assert_eq!((whole.step, whole.tokens), (second.step, second.tokens));
        assert_eq!(whole.values, second.values);
    }

    /// The lab of the page takes the trainer's steps: the same losses from the same seed.
    #[test]
    fn the_lab_s_router_has_the_losses_of_the_trainer() {
        use moescope_learn::router::{Gate, Lab, Settings};

        for gate in [Gate::SoftmaxTopK, Gate::NoisyTopK, Gate::SigmoidBias] {
            let settings = Settings { gate, seed: 11, context: 32, z_loss: 0.001, sequences: 2, ..Settings::default() };
            let texts = || crate::data::made_up(3, 2000, 300);
            let mut lab = Lab::new(settings.clone(), texts()).unwrap();
            let (factors, mut config) = (settings.factors(), tiny());
            config.model = lab.shape().clone();
            config.training.tokens = 1 << 30;
            config.training.short = None;
            config.training.seed = 11;
            config.training.replicas = 1;
            config.training.mixed = 0.0;
            config.training.repeat = texts().into_iter().map(|t| (t.name, 2)).collect();
            (config.training.balance_loss, config.training.z_loss) = (factors.balance, factors.z);
            config.optimizer = settings.rates();
            config.schedule = settings.schedule();
            let mut trainer = Trainer::new(config, texts(), Vec::new(), String::new()).unwrap();
            for step in 0..50 {
                lab.step(1).unwrap();
                let (ours, theirs) = (lab.state().loss.unwrap(), trainer.train_step().loss as f32);
                assert!((ours - theirs).abs() < 1e-3, "{gate:?}, step {step}: {ours} is not {theirs}");
            }
            assert!(lab.state().loss.unwrap() < 5.6, "it has learned something: {:?}", lab.state().loss);
        }
    }

    #[test]
    fn snapshots_are_kept_and_a_run_that_goes_on_has_them_all() {
        let recorded = || {
            let mut config = tiny();
            config.training.tokens = 600;
            config.recording = Some(Recording { snapshots: 8 });
            Trainer::new(config, counting(2, 1500), counting(2, 300), "sum".into()).unwrap()
        };
        let names = |folder: &Path| {
            let names = std::fs::read_dir(folder.join("snapshots")).unwrap().map(|e| e.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        let folder = tempfile::tempdir().unwrap();
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let tokenizer = folder.path().join("tokenizer.json");
        std::fs::write(&tokenizer, "{}").unwrap();
        let stop = |now| Arc::new(AtomicBool::new(now));
        let mut trainer = recorded();
        assert!(trainer.run(&whole, &tokenizer, &stop(false)).unwrap());
        assert!(names(&whole).len() >= 4, "{:?}", names(&whole));
        assert!(names(&whole).contains(&trainer.tokens.to_string()));

        let mut first = recorded();
        let album = first.album(&parts, &tokenizer);
        for _ in 0..first.steps() / 2 {
            first.recorded_step(&album).unwrap();
        }
        checkpoint::write(&parts, &first.checkpoint()).unwrap();
        let mut second = recorded();
        second.resume(checkpoint::read(&parts).unwrap().unwrap()).unwrap();
        assert!(second.run(&parts, &tokenizer, &stop(false)).unwrap());
        assert_eq!(names(&whole), names(&parts));
        for name in names(&whole) {
            let read = |run: &Path| std::fs::read(run.join("snapshots").join(&name).join("model.safetensors")).unwrap();
            assert!(read(&whole) == read(&parts), "{name}");
        }
    }

    #[test]
    fn it_learns_to_count() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = tiny();
        config.training.tokens = 60_000;
        config.training.short = None;
        let mut trainer = Trainer::new(config, counting(2, 1500), counting(2, 300), "sum".into()).unwrap();
        let before = trainer.measure(true);
        assert!((before.domains[0].nats_per_token - 2100f64.ln()).abs() < 0.2);
        let stop = Arc::new(AtomicBool::new(false));
        assert!(trainer.run(folder.path(), &no_tokenizer(), &stop).unwrap());
        let after = trainer.measure(true);
        assert!(after.domains[1].nats_per_token < 0.75 * before.domains[1].nats_per_token);
        assert_eq!(after.domains[0].tokens, 299);
    }

    #[test]
    fn a_stopped_run_leaves_a_checkpoint_and_another_configuration_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let stop = Arc::new(AtomicBool::new(true));
        assert!(!trainer().run(folder.path(), &no_tokenizer(), &stop).unwrap());
        let saved = checkpoint::read(folder.path()).unwrap().unwrap();
        let mut config = tiny();
        config.model.experts = 3;
        let mut other = Trainer::new(config, counting(2, 1500), counting(2, 300), "sum".into()).unwrap();
        assert!(other.resume(saved.clone()).unwrap_err().to_string().contains("another configuration"));
        let mut other = Trainer::new(tiny(), counting(2, 1500), counting(2, 300), "else".into()).unwrap();
        assert!(other.resume(saved).unwrap_err().to_string().contains("another corpus"));
    }
}
