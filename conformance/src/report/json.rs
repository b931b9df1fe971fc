//! A report as JSON, and back.

use super::Report;

/// The report as JSON.
///
/// # Panics
///
/// Never: a report is plain data.
#[must_use]
pub fn to_json(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("a report is plain data") + "\n"
}

/// Reads a report.
///
/// # Errors
///
/// When it is no report, or of another form.
pub fn from_json(text: &str) -> Result<Report, String> {
    let report: Report = serde_json::from_str(text)
        .map_err(|error| format!("no report of gateway-conformance: {error}"))?;
    if report.format == Report::FORMAT {
        Ok(report)
    } else {
        let (theirs, ours) = (report.format, Report::FORMAT);
        Err(format!("a report of form {theirs}, and this suite reads form {ours}; run it again"))
    }
}
