//! The course of a run, as far as the page has seen it: losses and shares over the steps, thinned as it grows.

/// A moment of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// The step.
    pub step: u64,
    /// The loss.
    pub loss: f64,
    /// The experts' shares, which sum to 1.
    pub shares: Vec<f64>,
}

/// The moments of a run, by rising step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    moments: Vec<Moment>,
    /// How many times the loss was higher than at the step before, among steps that were seen one by one or not.
    rises: usize,
}

/// More moments than a picture has columns are of no use.
const MOST: usize = 600;

/// A loss that rises by less than this part of itself does not rise.
const TOLERANCE: f64 = 1e-9;

impl History {
    /// Adds a moment; one of a step that is there already, or earlier, begins the history anew from there.
    pub fn push(&mut self, moment: Moment) {
        if self.moments.last().is_some_and(|last| last.step == moment.step) {
            self.moments.pop();
        } else if self.moments.last().is_some_and(|last| last.step > moment.step) {
            self.moments.retain(|old| old.step < moment.step);
        } else if let Some(last) = self.moments.last() {
            let rose = moment.loss - last.loss > TOLERANCE * last.loss.abs().max(1.0);
            self.rises += usize::from(rose);
        }
        self.moments.push(moment);
        if self.moments.len() > MOST {
            let newest = self.moments.len() - 1;
            let mut at = 0;
            self.moments.retain(|_| {
                at += 1;
                (at - 1) % 2 == 0 || at - 1 == newest
            });
        }
    }

    /// The moments.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// How many times a later moment had a higher loss than the one before it.
    pub fn rises(&self) -> usize {
        self.rises
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(step: u64, loss: f64) -> Moment {
        Moment { step, loss, shares: vec![1.0] }
    }

    #[test]
    fn a_long_history_is_thinned_and_keeps_its_ends() {
        let mut history = History::default();
        (0..5000).for_each(|step| history.push(moment(step, 1.0)));
        let steps: Vec<u64> = history.moments().iter().map(|moment| moment.step).collect();
        assert!(steps.len() <= MOST && steps.is_sorted() && steps[0] == 0 && steps.last() == Some(&4999));
        assert_eq!(history.rises(), 0);
    }

    #[test]
    fn rises_are_counted_and_a_step_back_cuts() {
        let mut history = History::default();
        for (step, loss) in [(0, 3.0), (1, 2.0), (2, 2.5), (3, 1.0)] {
            history.push(moment(step, loss));
        }
        assert_eq!(history.rises(), 1);
        history.push(moment(1, 2.0));
        assert_eq!(history.moments().len(), 2);
    }
}
