//! Bodies and errors by themselves: limits, ends, and whose fault it is.

use std::io;

use bytes::Bytes;
use futures_util::future::join;
use futures_util::stream;
use gateway_core::{Body, Error, Fault, Host, spawn};
use gateway_tests::on_every_host;
use http::StatusCode;
use http_body_util::BodyExt;

on_every_host!(2:
    a_body_is_collected_up_to_its_limit,
    a_stream_is_a_body_and_its_error_ends_it,
    a_sender_may_go_on_in_a_task_of_its_own,
    a_sender_hears_that_its_reader_is_gone,
);

fn a_body_is_collected_up_to_its_limit(host: impl Host) {
    host.run(async {
        for body in
            [Body::from("12345"), Body::stream(stream::iter(["12", "345"].map(Ok::<_, Error>)))]
        {
            assert_eq!(body.collect(5).await.unwrap(), "12345");
        }
        for body in
            [Body::from("123456"), Body::stream(stream::iter(["12", "3456"].map(Ok::<_, Error>)))]
        {
            let error = body.collect(5).await.unwrap_err();
            assert_eq!((error.status().as_u16(), error.fault()), (413, Fault::Client));
        }
        assert_eq!(Body::empty().collect(0).await.unwrap(), "");
    });
}

fn a_stream_is_a_body_and_its_error_ends_it(host: impl Host) {
    host.run(async {
        let items = [Ok("a"), Ok("b"), Err(io::Error::other("gone"))];
        let mut body = Body::stream(stream::iter(items));
        for text in ["a", "b"] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), text);
        }
        assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "gone");
    });
}

fn a_sender_may_go_on_in_a_task_of_its_own(host: impl Host) {
    host.run(async {
        let body = Body::coroutine(async |mut out| {
            spawn(async move {
                for n in 0..100 {
                    out.send(format!("{n};")).await.unwrap();
                }
            });
            Ok(())
        });
        let all: String = (0..100).map(|n| format!("{n};")).collect();
        assert_eq!(body.collect(1000).await.unwrap(), all);
    });
}

fn a_sender_hears_that_its_reader_is_gone(host: impl Host) {
    host.run(async {
        let (told, hears) = futures_channel::oneshot::channel();
        let mut body = Body::coroutine(async move |mut out| {
            spawn(async move {
                while out.send("more").await.is_ok() {}
                told.send(()).unwrap();
            });
            Ok(())
        });
        let reading = async {
            body.frame().await.unwrap().unwrap();
            drop(body);
        };
        join(reading, async { hears.await.unwrap() }).await;
    });
}

#[test]
fn a_fault_survives_the_layers_around_it_and_the_outermost_wins() {
    let client = || Error::client(StatusCode::GONE, "it left");
    // Through an `io::Error`, and through another around that.
    let wrapped: Error = io::Error::other(io::Error::other(client())).into();
    assert_eq!((wrapped.fault(), wrapped.status()), (Fault::Client, StatusCode::GONE));
    // What the app says itself stands, also inside further layers.
    let own = Error::new(Fault::Application, StatusCode::BAD_GATEWAY, client());
    let wrapped: Error = io::Error::other(own).into();
    assert_eq!((wrapped.fault(), wrapped.status()), (Fault::Application, StatusCode::BAD_GATEWAY));
    // Anything else is the application's.
    let plain: Error = io::Error::other("plain").into();
    assert_eq!((plain.fault(), plain.status().as_u16()), (Fault::Application, 500));
    assert_eq!(plain.to_string(), "plain");
}

#[test]
fn only_the_clients_own_faults_are_told_to_it() {
    let text = |error: Error| {
        let body = error.response().into_body();
        let host = gateway_tests::hosts::Blocking::new(1).unwrap();
        String::from_utf8(host.run(body.collect(1000)).unwrap().to_vec()).unwrap()
    };
    assert_eq!(text(Error::client(StatusCode::CONFLICT, "twice")), "409 Conflict: twice\n");
    assert_eq!(text(io::Error::other("password").into()), "500 Internal Server Error\n");
}

#[test]
fn what_a_body_is_made_of_is_not_copied() {
    let bytes = Bytes::from(vec![7; 100]);
    let host = gateway_tests::hosts::Blocking::new(1).unwrap();
    let collected = host.run(Body::from(bytes.clone()).collect(100)).unwrap();
    assert_eq!(collected.as_ptr(), bytes.as_ptr());
}
