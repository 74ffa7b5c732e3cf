//! A goal: comparisons of measures with numbers or with one another, all of which must hold.
//! `step>=600,busiest<0.4,loss<loss-2`.

use std::collections::BTreeMap;

/// Named figures of a run or a picture.
pub type Measures = BTreeMap<String, f64>;

/// The condition of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    left: Term,
    sign: Sign,
    right: Term,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Number(f64),
    Measure(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sign {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
}

/// Signs as they are written, the longer ones first.
const SIGNS: [(&str, Sign); 5] =
    [("<=", Sign::AtMost), (">=", Sign::AtLeast), ("<", Sign::Less), (">", Sign::Greater), ("=", Sign::Equal)];

impl Goal {
    /// Reads a goal.
    ///
    /// # Errors
    /// The part that is no comparison.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Result<Vec<_>, _> = text.split(',').map(|part| Part::parse(part).ok_or(part.to_owned())).collect();
        Ok(Self { parts: parts? })
    }

    /// Whether it is reached; never where a measure is missing.
    pub fn is_reached(&self, measures: &Measures) -> bool {
        self.parts.iter().all(|part| part.holds(measures).unwrap_or(false))
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let (sign_text, sign) = SIGNS.into_iter().find(|(sign, _)| text.contains(sign))?;
        let (left, right) = text.split_once(sign_text)?;
        Some(Self { left: Term::parse(left)?, sign, right: Term::parse(right)? })
    }

    fn holds(&self, measures: &Measures) -> Option<bool> {
        let (left, right) = (self.left.value(measures)?, self.right.value(measures)?);
        Some(match self.sign {
            Sign::Less => left < right,
            Sign::AtMost => left <= right,
            Sign::Greater => left > right,
            Sign::AtLeast => left >= right,
            Sign::Equal => (left - right).abs() < 1e-9,
        })
    }
}

impl Term {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        let is_name = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        is_name.then(|| Self::Measure(text.to_owned()))
    }

    fn value(&self, measures: &Measures) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Measure(name) => measures.get(name).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_hold_or_do_not() {
        let measures: Measures = [("step", 600.0), ("loss", 0.5), ("loss-2", 0.7)].map(|(k, v)| (k.into(), v)).into();
        for (goal, holds) in [
            ("step>=600", true),
            ("step>600", false),
            ("loss<loss-2,step<=600", true),
            ("loss < 0.4", false),
            ("step=600", true),
            ("share-3>0.1", false),
            ("0.6>loss", true),
        ] {
            assert_eq!(Goal::parse(goal).unwrap().is_reached(&measures), holds, "{goal}");
        }
    }

    #[test]
    fn what_is_no_comparison_is_named() {
        assert_eq!(Goal::parse("step>=1,loss"), Err("loss".into()));
        assert_eq!(Goal::parse(""), Err(String::new()));
        assert_eq!(Goal::parse("a<b<c"), Err("a<b<c".into()));
    }
}
