//! The built page in a real browser, as visitors, scripts and other sites meet it.
//!
//! A harness of its own, because all tests share one ChromeDriver and one server, which must end with them. It
//! takes what `cargo test` takes; filters may be several.

mod api;
mod errors;
mod generate;
mod harness;
mod layout;
mod links;
mod routing;
mod shell;

use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [
        routing::tests(),
        links::tests(),
        generate::tests(),
        errors::tests(),
        api::tests(),
        layout::tests(),
        shell::tests(),
    ];
    harness::run(tests.into_iter().flatten().collect())
}
