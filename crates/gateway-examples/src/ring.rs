//! `/ring`: the request is passed on to the next host, over portable sockets, by the [`client`]. Four
//! runtimes call each other, and none of them knows.
//!
//! [`client`]: crate::client

use std::time::Instant;

use gateway_core::{Body, Error, Fault, Response};
use http::{Request, StatusCode};

use crate::{Portable, routes};

/// The longest answer that the next host may give, in bytes.
const ANSWER: usize = 64 * 1024;

/// Passes the request on `hops` times, this host included.
pub(crate) async fn pass_on(app: &Portable, hops: u64) -> Result<Response, Error> {
    let started = Instant::now();
    let rest = match hops {
        0 | 1 => String::new(),
        _ => later_hops(app, hops - 1).await?,
    };
    let (host, us) = (app.name(), started.elapsed().as_micros());
    let comma = if rest.is_empty() { "" } else { "," };
    Ok(routes::json(format!(r#"{{"hops":[{{"host":"{host}","us":{us}}}{comma}{rest}]}}"#)))
}

/// What the next host says of itself and the later ones.
async fn later_hops(app: &Portable, hops: u64) -> Result<String, Error> {
    let address = &app.next().address;
    if address.is_empty() {
        let alone = "this application runs on one host alone, so there is no ring";
        return Err(Error::client(StatusCode::BAD_REQUEST, alone));
    }
    let bad_gateway = |error| Error::new(Fault::Application, StatusCode::BAD_GATEWAY, error);
    let request = Request::get(format!("http://{address}/ring?hops={hops}")).body("")?;
    let response = app.client.send(request).await.map_err(bad_gateway)?;
    let status = response.status();
    let text = Body::new(response.into_body()).collect(ANSWER).await?;
    let text = std::str::from_utf8(&text)?;
    match text.strip_prefix(r#"{"hops":["#).and_then(|text| text.strip_suffix("]}")) {
        Some(hops) if status.is_success() => Ok(hops.to_owned()),
        _ => Err(bad_gateway(format!("the next host answered {status}: {text:?}").into())),
    }
}
