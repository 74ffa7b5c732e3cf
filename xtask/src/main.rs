//! `cargo xtask ...`: the command line of the project's chores.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use xtask::wasm::Profile;
use xtask::{dist, gpu_check, serve, test, workspace};

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the static site: works from any web server, in a sub-path too.
    Build {
        #[command(flatten)]
        profile: ProfileArgs,
        /// The directory to write.
        #[arg(long, value_name = "DIR", default_value = "dist")]
        out: PathBuf,
    },
    /// Build the site and serve it on this machine.
    Serve {
        #[command(flatten)]
        profile: ProfileArgs,
        /// The port to listen on; 0 takes any free one.
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// The directory to write and serve.
        #[arg(long, value_name = "DIR", default_value = "dist")]
        dist: PathBuf,
        /// Serve the directory without building it.
        #[arg(long)]
        no_build: bool,
    },
    /// Check and test everything, stopping at the first failure.
    Test {
        /// Run the checks of the inner loop: formatting, lints, and the tests that take seconds.
        #[arg(long, conflicts_with = "filters")]
        quick: bool,
        /// Run only the tests whose name contains one of these words, and no other checks.
        filters: Vec<String>,
    },
    /// Make a folder that tests a real GPU on a machine without Rust; its gpu-check.sh describes how to use it.
    GpuCheck {
        /// The folder to make.
        #[arg(long, value_name = "DIR")]
        pack: PathBuf,
    },
    /// Measure the built page in a browser: all figures or the named ones (sizes, view, start, slow-line, speed,
    /// policy, typing, key, map, pointer, written, clicks, learn, lighthouse).
    Measure {
        /// The figures to measure.
        figures: Vec<String>,
    },
    /// Race the built page against other engines in one browser; `cargo xtask bench --help` lists the options.
    #[command(disable_help_flag = true)]
    Bench {
        /// Options and arguments of the tool.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Take the pictures of docs/guide.md from the built page.
    Pictures,
    /// Collect the training corpus: `cargo xtask corpus --help`.
    #[command(disable_help_flag = true)]
    Corpus {
        /// Options and arguments of the tool.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Write the model of a training run from its newest checkpoint: `cargo xtask export --help`.
    #[command(disable_help_flag = true)]
    Export {
        /// Options and arguments of the tool.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Write docs/models.md and its picture from the finished models: `cargo xtask models --help`.
    #[command(disable_help_flag = true)]
    Models {
        /// Options and arguments of the tool.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Train a model: `cargo xtask train --help`.
    #[command(disable_help_flag = true)]
    Train {
        /// Options and arguments of the tool.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[derive(Args)]
struct ProfileArgs {
    /// Optimised and compressed (the default).
    #[arg(long, conflicts_with = "dev")]
    release: bool,
    /// Quicker to build, with debug checks and function names.
    #[arg(long)]
    dev: bool,
}

impl ProfileArgs {
    fn profile(&self) -> Profile {
        if self.dev { Profile::Dev } else { Profile::Release }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Build { profile, out } => {
            let site = dist::build(profile.profile(), &out)?;
            println!("{site}");
            Ok(())
        }
        Command::Serve { profile, port, dist: directory, no_build } => {
            // Fails before the build where the port is in use.
            let listener = serve::bind(port)?;
            if !no_build {
                println!("{}", dist::build(profile.profile(), &directory)?);
            }
            serve::run(listener, &directory)
        }
        Command::Test { quick: true, .. } => test::quick(),
        Command::Test { filters, .. } => test::run(&filters),
        Command::GpuCheck { pack } => {
            let size = gpu_check::pack(&pack)?;
            println!("{}: {} MB; run gpu-check.sh in it where there is a GPU", pack.display(), size >> 20);
            Ok(())
        }
        Command::Measure { figures } => {
            dist::build(Profile::Release, "dist".as_ref())?;
            test::measure(&figures)
        }
        Command::Bench { args } => {
            dist::build(Profile::Release, "dist".as_ref())?;
            test::bench(&args)
        }
        Command::Pictures => {
            dist::build(Profile::Release, "dist".as_ref())?;
            test::pictures()
        }
        Command::Corpus { args } => trainer("corpus", &args),
        Command::Export { args } => trainer("export", &args),
        Command::Models { args } => trainer("models", &args),
        Command::Train { args } => trainer("run", &args),
    }
}

/// Runs the trainer, built for this machine's own CPU and therefore in a target directory of its own: it runs for an
/// hour, and every instruction set that the compiler may use makes it faster.
fn trainer(command: &str, args: &[OsString]) -> Result<()> {
    workspace::run(
        workspace::cargo()
            .args(["run", "--release", "--package", "moescope-train", "--", command])
            .args(args)
            .env("RUSTFLAGS", "-C target-cpu=native")
            .env("CARGO_TARGET_DIR", workspace::target_directory().join("native")),
    )
}
