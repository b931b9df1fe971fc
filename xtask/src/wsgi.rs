//! `cargo xtask wsgi`: an app as a module for Python, and its tests under servers for WSGI.
//!
//! Nothing is installed outside `target/wsgi`. uWSGI is built there from its source.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::Failure;
use crate::command::{self, cargo};
use crate::packages::{provide, provide_unless};

/// Where everything is prepared.
const FOLDER: &str = "target/wsgi";

/// The servers, but for wsgiref, which comes with Python.
const PACKAGES: [&str; 3] = ["gunicorn==27.0.1", "waitress==3.0.2", "uWSGI==2.0.31"];

/// What Python shall find: the module, and what the tests have in common.
const TESTS: &str = "wsgi/tests";

/// Builds the module and runs its tests, or those that are named.
pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    match is_provided().map_err(Failure::Failed)? {
        true => test(words).map_err(Failure::Failed),
        false => Err(Failure::Failed("the packages named above are missing".to_owned())),
    }
}

/// Lints the crate, builds the module and runs all tests. Outside continuous integration it is left
/// out where Python is missing.
///
/// # Errors
///
/// When one of them fails.
pub(crate) fn check() -> Result<(), String> {
    if !is_provided()? {
        println!("nothing is tried of WSGI");
        return Ok(());
    }
    command::run(&mut in_wsgi("clippy --all-targets", &["--", "-D", "warnings"]))?;
    let mut doc = in_wsgi("doc --no-deps", &[]);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    command::run(&mut in_wsgi("test --doc", &[]))?;
    test(&[])
}

/// Whether everything is there that has to be: Python, its headers, and a compiler for uWSGI.
fn is_provided() -> Result<bool, String> {
    let mut all = true;
    for (program, package) in
        [("python3", "python3"), ("python3-config", "python3-dev"), ("gcc", "gcc")]
    {
        all &= provide(program, package)?;
    }
    if all {
        let mut python = Command::new("python3");
        python.args(["-c", "import ensurepip, venv"]).stderr(Stdio::null());
        let venv = python.status().is_ok_and(|status| status.success());
        all &= provide_unless(venv, "Python's module venv", "python3-venv")?;
    }
    Ok(all)
}

fn test(words: &[String]) -> Result<(), String> {
    command::run(&mut in_wsgi("build --example portable", &[]))?;
    let modules = Path::new(FOLDER).join("modules");
    let build = |error| format!("cannot put the module into {}: {error}", modules.display());
    fs::create_dir_all(&modules).map_err(build)?;
    let built = "target/debug/examples/libportable.so";
    fs::copy(built, modules.join("portable.abi3.so")).map_err(build)?;

    let python = format!("{FOLDER}/python");
    if !Path::new(&python).join("bin/pip").exists() {
        command::run(Command::new("python3").args(["-m", "venv", &python]))?;
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let python = format!("{python}/bin/python");
    command::run(Command::new(&python).args(pip).args(PACKAGES))?;

    let mut tests = Command::new(&python);
    tests.args(["-m", "unittest"]);
    match words {
        [] => tests.args(["discover", "-s", TESTS]),
        names => tests.args(names),
    };
    // In full, since servers are started in other folders.
    let here = env::current_dir().map_err(|error| format!("there is no folder: {error}"))?;
    let path = env::join_paths([here.join(modules), here.join(TESTS)]);
    let path = path.map_err(|error| format!("{}: {error}", here.display()))?;
    command::run(tests.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1"))
}

/// Cargo in that workspace, with the folder of the whole project for what it builds.
fn in_wsgi(line: &str, more: &[&str]) -> Command {
    let mut command = cargo(line);
    command.args(["--locked", "--manifest-path", "wsgi/Cargo.toml", "--target-dir", "target"]);
    // A module is not linked to a Python: it is loaded by one.
    command.args(more).env("PYO3_BUILD_EXTENSION_MODULE", "1");
    command
}
