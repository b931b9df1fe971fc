//! REQ: request line and target.

use super::{Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] =
    &[WireCheck { rule: "REQ-03", after: &[], when: When::Beside, check: req_03_method }];

fn req_03_method(session: &mut Session<'_>) -> Result<(), Stop> {
    let request = |method: &str| session.request(method, "/", "");
    let refused = ["G(T", "G,T", "G\"T", "G/T", "G\x7ft"].map(|method| (method, request(method)));
    session.accept("GET", session.request("GET", "/", ""))?;
    for (method, request) in refused {
        session.refuse(method, request, &[400])?;
    }
    Ok(())
}
