//! The probe application on trillium and tokio: `probe-trillium PORT`.

use bytes::Bytes;
use futures_util::stream::try_unfold;
use futures_util::{AsyncReadExt, TryStreamExt};
use hyper::body::Frame;
use probes::{Answer, Content, Failure, Head, Probe, address};
use trillium::{Body, Conn, HeaderName, Status, Version};

async fn serve(mut conn: Conn) -> Conn {
    let probe = conn.shared_state::<Probe>().expect("the application's state").clone();
    let latin1 = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect::<String>();
    let lines = |(name, values): (HeaderName<'_>, &trillium::HeaderValues)| {
        let name = name.to_string().to_lowercase();
        values.iter().map(|value| (name.clone(), latin1(value.as_ref()))).collect::<Vec<_>>()
    };
    // trillium keeps the order of lines within a name alone.
    let mut fields: Vec<(String, String)> = conn.request_headers().iter().flat_map(lines).collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    let head = Head {
        method: conn.method().to_string(),
        target: conn.path_and_query().to_owned(),
        version: match conn.http_version() {
            Version::Http1_0 => "1.0",
            Version::Http2 => "2",
            _ => "1.1",
        },
        peer: conn.peer_ip().map(|peer| peer.to_string()),
        fields,
    };
    let body = try_unfold(conn.request_body(), |mut body| async move {
        let mut buf = vec![0; 8192];
        let read = body.read(&mut buf).await?;
        buf.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then(|| (Frame::data(Bytes::from(buf)), body)))
    });
    match probe.call(head, Box::pin(body)).await {
        Ok(answer) => respond(conn, answer),
        Err(Failure::Body(_)) => conn.with_status(Status::BadRequest),
        Err(Failure::Application) => conn.with_status(Status::InternalServerError),
    }
}

fn respond(mut conn: Conn, answer: Answer) -> Conn {
    let Ok(status) = Status::try_from(answer.status) else {
        return conn.with_status(Status::InternalServerError);
    };
    for (name, value) in answer.fields {
        conn.response_headers_mut().append(name, value);
    }
    let body = match answer.body {
        Content::Full(bytes) => Body::from(bytes.to_vec()),
        Content::Pieces(frames) => {
            let pieces = frames.map_ok(|frame| frame.into_data().unwrap_or_default());
            Body::new_streaming(pieces.into_async_read(), answer.announced)
        }
    };
    conn.with_status(status).with_body(body).halt()
}

fn main() {
    let (host, port) = address();
    trillium_tokio::config()
        .with_host(host)
        .with_port(port)
        .with_nodelay()
        .with_shared_state(Probe::new(" raw-target peer"))
        .run(serve);
}
