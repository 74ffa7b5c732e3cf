//! Runs all checks and tests, and stops at the first failure.
//!
//! All native steps share one target directory and one profile, so nothing is compiled twice. The checks (clippy,
//! rustdoc) share one set of build results, the tests another. The site is built beside them.

use crate::setup::{self, TestTools};
use crate::{licences, wasm, workspace};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The site that the browser tests open.
const SITE: &str = "dist";

/// The directory of the guide's pictures.
const PICTURES: &str = "docs/pictures";

/// Runs everything; with `filters`, only the tests whose names contain one of them.
///
/// # Errors
/// The first step that failed.
pub fn run(filters: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    let (mut tools, mut vocabularies) = (None, None);
    steps.run("set up", || {
        setup::wasm_target()?;
        tools = Some(setup::test_tools()?);
        match setup::vocabularies() {
            Ok(directory) => vocabularies = Some(directory),
            Err(error) => println!("LEFT OUT: the tests with llama.cpp's vocabularies: {error:#}"),
        }
        Ok(())
    })?;
    let tools = tools.expect("the step before found them");
    let site = SiteBuild::start()?;
    if filters.is_empty() {
        checks(&mut steps)?;
    } else {
        println!("Only tests named like {}; formatting, lints and documentation are not checked", filters.join(", "));
    }
    tests(&mut steps, &tools, site, vocabularies.as_deref(), filters)?;
    steps.summary();
    Ok(())
}

/// The build of the site beside the other steps, which leave a core idle here and there: the site's programs are linked
/// on one core for minutes.
struct SiteBuild {
    child: Child,
    log: PathBuf,
}

impl SiteBuild {
    fn start() -> Result<Self> {
        let chores = workspace::target_directory().join("chores");
        std::fs::create_dir_all(&chores).with_context(|| format!("cannot make {}", chores.display()))?;
        let log = chores.join("site.log");
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["build", "--out", SITE])
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start the build of the site")?;
        Ok(Self { child, log })
    }

    /// Waits for its end, and prints what it has printed.
    fn finish(mut self) -> Result<()> {
        let status = self.child.wait()?;
        print!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        ensure!(status.success(), "the site was not built; the messages are above");
        Ok(())
    }
}

impl Drop for SiteBuild {
    fn drop(&mut self) {
        // It has ended, unless another step failed before.
        let _ = self.child.kill();
    }
}

/// Test files that take seconds and need neither a browser nor a GPU.
const QUICK: [&str; 9] =
    ["actions", "address", "bad_input", "files", "layers", "messages", "policy", "routing", "session"];

/// Runs the checks of the inner loop: formatting, lints, the units and the test files of `QUICK`.
///
/// # Errors
/// The first step that failed.
pub fn quick() -> Result<()> {
    let mut steps = Steps::default();
    steps.cargo("formatting", &["fmt", "--all", "--check"])?;
    steps.cargo("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    // The whole workspace, as in the other steps; building a part would compile dependencies again with other
    // features.
    let files = QUICK.iter().flat_map(|name| ["--test", name]);
    let arguments: Vec<&str> = ["test", "--workspace", "--lib", "--bins"].into_iter().chain(files).collect();
    steps.cargo("quick tests", &arguments)?;
    steps.summary();
    Ok(())
}

/// Checks licences, formatting, lints and documentation.
fn checks(steps: &mut Steps) -> Result<()> {
    steps.run("licences", || {
        println!("{} dependencies have a licence that is allowed", licences::check()?);
        Ok(())
    })?;
    steps.cargo("formatting", &["fmt", "--all", "--check"])?;
    let deny = ["--", "-D", "warnings"];
    steps.cargo("lints", &[&["clippy", "--workspace", "--all-targets"][..], &deny].concat())?;
    steps
        .cargo("lints of the browser tests", &[&["clippy", "--workspace", "--test", "browser"][..], &deny].concat())?;
    let names = ["moescope", "moescope-common", "moescope-page", "moescope-worker", "moescope-entry", "moescope-lab"];
    let packages = names.map(|name| ["--package", name]).concat();
    let wasm = [&["clippy"][..], &packages, &["--lib", "--target", setup::WASM_TARGET]].concat();
    steps.cargo("lints of the page's code", &[&wasm[..], &deny].concat())?;
    steps.command(
        "documentation",
        workspace::cargo()
            .args(["doc", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// Runs the native tests and the doctests, builds the site, and runs the browser tests.
fn tests(
    steps: &mut Steps,
    tools: &TestTools,
    site: SiteBuild,
    vocabularies: Option<&Path>,
    filters: &[String],
) -> Result<()> {
    let cargo = |arguments: &[&str]| {
        let mut command = workspace::cargo();
        command.args(["test", "--workspace"]).args(arguments);
        command.envs(vocabularies.map(|directory| ("MOESCOPE_VOCABULARIES", directory)));
        test_environment(&mut command, tools);
        command
    };
    if !filters.is_empty() {
        let mut count = 0;
        for target in [&[][..], &["--test", "browser"]] {
            count += count_tests(cargo(target).args(["--", "--list"]).args(filters))?;
        }
        if count == 0 {
            bail!("no test has a name with {} in it", filters.join(" or "));
        }
    }
    // This also builds the command line, with which the browser tests compare the page. A build of its own would
    // compile the dependencies again, without the features that the tests enable.
    steps.command("native tests", cargo(&[]).arg("--").args(filters))?;
    steps.run("the rest of the site, which is built beside", || site.finish())?;
    steps.command("browser tests", cargo(&["--test", "browser"]).arg("--").args(filters))
}

/// Measures the site in a browser and prints the figures: all, or the named ones. It checks no limits.
///
/// # Errors
/// The tools are missing, or the page does not run.
pub fn measure(figures: &[String]) -> Result<()> {
    let tools = setup::test_tools()?;
    let mut command = workspace::cargo();
    command.args(["run", "--package", "moescope-e2e", "--bin", "measure", "--"]).args(figures);
    test_environment(&mut command, &tools);
    command.env("MOESCOPE_LIGHTHOUSE", setup::lighthouse()?);
    workspace::run(&mut command)
}

/// Races the site's engine against others in a browser; `arguments` go to the bench.
///
/// # Errors
/// The tools are missing, the page does not run, or the bench fails a check that its arguments ask for.
pub fn bench(arguments: &[OsString]) -> Result<()> {
    let tools = setup::test_tools()?;
    let probe = wasm::probe()?;
    let mut command = workspace::cargo();
    command.args(["run", "--package", "moescope-bench", "--"]).args(arguments);
    test_environment(&mut command, &tools);
    command.env("MOESCOPE_RACE", workspace::target_directory().join("race")).env("MOESCOPE_PROBE", probe);
    match setup::peers() {
        Ok(peers) => {
            command.env("MOESCOPE_PEERS", peers);
        }
        Err(error) => println!("The race is without its peers: {error:#}"),
    }
    workspace::run(&mut command)
}

/// Takes the guide's pictures of the site in a browser.
///
/// # Errors
/// The tools are missing, or a view cannot be shown.
pub fn pictures() -> Result<()> {
    let tools = setup::test_tools()?;
    workspace::run(workspace::cargo().args(["build", "--workspace", "--bin", "moescope"]))?;
    let mut command = workspace::cargo();
    command.args(["run", "--package", "moescope-e2e", "--bin", "pictures", "--"]).arg(workspace::root().join(PICTURES));
    test_environment(&mut command, &tools);
    workspace::run(&mut command)
}

/// Sets environment variables: the paths of the tools, and the Vulkan software driver, which is the same on every
/// machine.
fn test_environment(command: &mut Command, tools: &TestTools) {
    command
        .env("MOESCOPE_SITE", workspace::root().join(SITE))
        .env("MOESCOPE_CLI", workspace::target_directory().join("debug/moescope"))
        .env("MOESCOPE_BROWSER", &tools.browser)
        .env("MOESCOPE_DRIVER", &tools.driver)
        .env("MOESCOPE_AXE", &tools.axe);
    if let Some(driver) = &tools.vulkan_driver
        && std::env::var_os("VK_ICD_FILENAMES").is_none()
    {
        command.env("VK_ICD_FILENAMES", driver);
    }
    if let Some(others) = &tools.others {
        command
            .env("MOESCOPE_FIREFOX", &others.firefox)
            .env("MOESCOPE_GECKODRIVER", &others.geckodriver)
            .env("MOESCOPE_WEBKIT", &others.webkit)
            .env("MOESCOPE_WEBKIT_DRIVER", &others.webkit_driver)
            .env("MOESCOPE_XVFB", &others.xvfb);
    }
    // Without this directory Mesa prints a warning at every start, although it does not need it.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    }
}

/// The number of tests in the output of `cargo test ... -- --list`.
fn count_tests(command: &mut Command) -> Result<usize> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`{}` failed; its own message is above", workspace::words(command));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.ends_with(": test")).count())
}

/// The steps that have run, each with its duration.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn cargo(&mut self, name: &'static str, arguments: &[&str]) -> Result<()> {
        self.command(name, workspace::cargo().args(arguments))
    }

    fn command(&mut self, name: &'static str, command: &mut Command) -> Result<()> {
        let words = workspace::words(command);
        self.run(name, || {
            println!("$ {words}");
            workspace::run(command)
        })
    }

    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n== {name}");
        let start = Instant::now();
        let result = step();
        self.done.push((name, start.elapsed()));
        if result.is_err() {
            self.summary();
            eprintln!("\nFAILED at: {name}. The later steps did not run.");
        }
        result
    }

    fn summary(&self) {
        println!();
        for (name, time) in &self.done {
            println!("{:>7.1} s  {name}", time.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, time)| *time).sum();
        println!("{:>7.1} s  in all", total.as_secs_f64());
    }
}
