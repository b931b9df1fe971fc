//! Programs that a test needs and Debian has.

use std::path::PathBuf;

/// Finds a program by the names that it may have. Where there is none, a test that needs it ends
/// here, and says so.
///
/// # Panics
///
/// When there is none and the environment variable `CI` is set: there nothing may be skipped.
#[must_use]
pub fn find(names: &[&str], package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are installed where only an administrator looks.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        let name = names[0];
        crate::skip(&format!("{name} is not installed: Debian's package `{package}` brings it"));
    }
    found
}
