//! Tests of the built page in a real browser, as visitors, scripts and other sites use it.
//!
//! It has a harness of its own, because all tests share one ChromeDriver and one server, which must end with them. It
//! takes the arguments of `cargo test`, and several filters.

mod api;
mod balance;
mod beat;
mod embed;
mod errors;
mod explore;
mod faults;
mod fine_tune;
mod generate;
mod harness;
mod inspectors;
mod keeping;
mod lab;
mod layout;
mod learn;
mod links;
mod loads;
mod opening;
mod others;
mod panels;
mod pictures;
mod policy;
mod previews;
mod refused;
mod routing;
mod sheets;
mod shell;
mod speed;
mod stage;
mod stories;
mod strip;
mod training;
mod versions;

use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [
        routing::tests(),
        stories::tests(),
        beat::tests(),
        embed::tests(),
        strip::tests(),
        pictures::tests(),
        balance::tests(),
        inspectors::tests(),
        panels::tests(),
        training::tests(),
        policy::tests(),
        keeping::tests(),
        sheets::tests(),
        speed::tests(),
        stage::tests(),
        links::tests(),
        loads::tests(),
        opening::tests(),
        previews::tests(),
        refused::tests(),
        versions::tests(),
        generate::tests(),
        errors::tests(),
        explore::tests(),
        faults::tests(),
        api::tests(),
        layout::tests(),
        others::tests(),
        learn::tests(),
        lab::tests(),
        fine_tune::tests(),
        shell::tests(),
    ];
    harness::run(tests.into_iter().flatten().collect())
}
