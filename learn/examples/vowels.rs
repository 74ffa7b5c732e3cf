//! The comparison of the paper of 1991 as a table:
//! `cargo run -p moescope-learn --example vowels [runs] [seed] [criterion] [noise] [rate]
//! [softmax]`, where a rate of 0 is the best of each system, and `softmax` has tanh units and a softmax
//! in place of logistic units as in 1991.

use std::process::ExitCode;

use moescope_learn::local_experts::vowels::{Comparison, SYSTEMS, System, compare};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut comparison = Comparison::default();
    let mut arguments = std::env::args().skip(1);
    let number = |text: &str| text.parse::<f32>().map_err(|_| format!("{text} is not a number"));
    let given = arguments.by_ref().take(5).map(|text| number(&text)).collect::<Result<Vec<f32>, _>>()?;
    for (place, value) in given.into_iter().enumerate() {
        match place {
            0 => comparison.runs = value as usize,
            1 => comparison.seed = value as u64,
            2 => comparison.criterion = value,
            3 => comparison.noise = value,
            _ => comparison.rate = value,
        }
    }
    comparison.logistic = arguments.next().is_none_or(|word| word != "softmax");
    println!("{} runs; until the squared error of a vowel is {}", comparison.runs, comparison.criterion);
    println!("| system | parameters | step size | epochs | deviation | failed | train | test |");
    println!("| --- | --: | --: | --: | --: | --: | --: | --: |");
    for system in SYSTEMS {
        let row = compare(system, &comparison).map_err(|e| e.to_string())?;
        let name = match system {
            System::Mixture(experts) => format!("mixture of {experts} linear experts"),
            System::Network(hidden) => format!("network with {hidden} hidden units"),
        };
        println!(
            "| {name} | {} | {} | {:.0} | {:.0} | {} | {:.1} % | {:.1} % |",
            row.parameters,
            row.learning_rate,
            row.mean,
            row.deviation,
            row.failed,
            100.0 * row.train_accuracy,
            100.0 * row.test_accuracy
        );
    }
    Ok(())
}
