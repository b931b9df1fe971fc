//! The probe application on actix-web, HTTP/1.1 and HTTP/2: `probe-actix PORT`.

use actix_web::body::{BodyStream, BoxBody, MessageBody, SizedStream};
use actix_web::error::{ErrorInternalServerError, PayloadError};
use actix_web::http::{StatusCode, Version};
use actix_web::web::{Data, Payload, to};
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer};
use futures_util::{StreamExt, TryStreamExt};
use hyper::body::Frame;
use probes::{Answer, Content, Failure, Head, Probe, address};

async fn serve(
    probe: Data<Probe>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Error> {
    let latin1 = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect();
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| (name.to_string(), latin1(value.as_bytes())));
    // actix-web keeps the order of lines within a name alone.
    let mut fields: Vec<(String, String)> = fields.collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    let head = Head {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        version: match request.version() {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        },
        peer: request.peer_addr().map(|peer| peer.to_string()),
        fields,
    };
    let answer = probe.call(head, payload.map_ok(Frame::data)).await;
    answer.and_then(response).map_err(|failure| match failure {
        Failure::Body(error) => error.into(),
        Failure::Application => ErrorInternalServerError("the application failed"),
    })
}

fn response(answer: Answer) -> Result<HttpResponse, Failure<PayloadError>> {
    let status = StatusCode::from_u16(answer.status).map_err(|_| Failure::Application)?;
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers()? {
        response.append_header((name, value.as_bytes()));
    }
    let body: BoxBody = match answer.body {
        Content::Full(bytes) => bytes.boxed(),
        Content::Pieces(frames) => {
            let pieces = frames.map_ok(|frame| frame.into_data().unwrap_or_default()).boxed();
            match answer.announced {
                Some(announced) => SizedStream::new(announced, pieces).boxed(),
                None => BodyStream::new(pieces).boxed(),
            }
        }
    };
    Ok(response.body(body))
}

fn main() -> std::io::Result<()> {
    let probe = Data::new(Probe::new(" raw-target peer"));
    let app = move || App::new().app_data(probe.clone()).default_service(to(serve));
    let server = HttpServer::new(app).workers(2).bind_auto_h2c(address())?;
    actix_web::rt::System::new().block_on(server.run())
}
