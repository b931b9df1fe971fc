//! Chromium without a window: a page as a browser sees it, once its scripts are done.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::{PATIENCE, programs};

/// What it is called, by who packs it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What it is started with: no window, no sandbox (which root has not), and no errands of its own.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// Finds the browser. Where there is none, a test that needs one ends here, and says so.
///
/// # Panics
///
/// When there is none and the environment variable `CI` is set: there nothing may be skipped.
#[must_use]
pub fn find() -> Option<PathBuf> {
    programs::find(&NAMES, "chromium")
}

/// Opens a page, and gives its document as the page's scripts have left it ten seconds later, by a
/// clock that jumps whenever nothing is under way.
///
/// # Panics
///
/// When the browser does not start, or takes more than twice the [`PATIENCE`].
#[must_use]
pub fn document(browser: &Path, url: &str) -> String {
    static PROFILES: AtomicUsize = AtomicUsize::new(0);
    let number = PROFILES.fetch_add(1, Ordering::Relaxed);
    let profile = format!("gateway-chromium-{}-{number}", std::process::id());
    let profile = std::env::temp_dir().join(profile);
    let mut child = Command::new(browser)
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--virtual-time-budget=10000", "--dump-dom", url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the browser starts");
    let mut out = child.stdout.take().expect("standard output is piped");
    let (document, documents) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = out.read_to_string(&mut text).map(|_| text);
        let _ = document.send(read);
    });
    let document = documents.recv_timeout(PATIENCE * 2);
    // Fails only when it has ended already, as it should.
    let _ = child.kill();
    let _ = child.wait();
    let _ = fs::remove_dir_all(&profile);
    document.expect("the browser has an end").expect("the document is text")
}
