//! Programs that a check needs and Debian has: installed in continuous integration, left alone elsewhere.

use std::path::Path;
use std::process::Command;

use crate::command;

/// Whether the program is there. In continuous integration (the variable `CI` is set) its package is
/// installed first, where it is missing; elsewhere it is only said which one that is.
///
/// # Errors
///
/// When it can't be installed.
pub(crate) fn provide(program: &str, package: &str) -> Result<bool, String> {
    let there = command::is_installed(program) || Path::new("/usr/sbin").join(program).is_file();
    provide_unless(there, program, package)
}

/// As [`provide`], for what is no program: `there` says whether it is there already.
///
/// # Errors
///
/// As [`provide`].
pub(crate) fn provide_unless(there: bool, what: &str, package: &str) -> Result<bool, String> {
    if there {
        return Ok(true);
    }
    if std::env::var_os("CI").is_none() {
        println!("{what} is not installed: Debian's package `{package}` brings it");
        return Ok(false);
    }
    command::run(Command::new("apt-get").args(["update", "-q"]))?;
    command::run(
        Command::new("apt-get")
            .args(["install", "-qy", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    Ok(true)
}
