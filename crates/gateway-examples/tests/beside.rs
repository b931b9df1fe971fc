//! Inside a runtime that is running already, a server works beside what knows that runtime alone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use gateway_async_std::OnAsyncStd;
use gateway_core::{App, Body, Coroutine, Response};
use gateway_http::{Bound, Server};
use gateway_smol::OnSmol;
use gateway_tests::PATIENCE;
use gateway_tokio::OnTokio;

/// What the handlers wait for, each with the timer of its runtime.
const WAIT: Duration = Duration::from_millis(10);

/// A request after which the connection is over.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_runs_inside_tokio_beside_its_timer_and_reqwest() {
    let bound = bind(async |_| {
        tokio::time::sleep(WAIT).await;
        Response::new(Body::from("beside tokio"))
    });
    let url = bound.listener().to_string();
    let (stop, stopped) = oneshot::channel();
    let trampoline = Arc::new(OnTokio(tokio::runtime::Handle::current()));
    let server = tokio::spawn(Coroutine::new(trampoline, bound.serve(until(stopped))));

    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
    for _ in 0..3 {
        let response = client.get(&url).send().await.expect("an answer");
        assert_eq!(response.text().await.expect("a body"), "beside tokio");
    }

    drop(client);
    drop(stop);
    let ended = tokio::time::timeout(PATIENCE, server).await.expect("it drains");
    ended.expect("no panic").expect("no error");
}

#[test]
fn a_server_runs_inside_smol_beside_its_timer_and_sockets() {
    use smol::io::{AsyncReadExt, AsyncWriteExt};

    let executor = Arc::new(smol::Executor::new());
    smol::block_on(executor.run(async {
        let bound = bind(async |_| {
            smol::Timer::after(WAIT).await;
            Response::new(Body::from("beside smol"))
        });
        let address = bound.listener().local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let trampoline = Arc::new(OnSmol(Arc::downgrade(&executor)));
        let server = executor.spawn(Coroutine::new(trampoline, bound.serve(until(stopped))));

        for _ in 0..3 {
            let mut stream = smol::net::TcpStream::connect(address).await.expect("a connection");
            stream.write_all(REQUEST).await.expect("the server takes it");
            let mut answer = String::new();
            within_patience(stream.read_to_string(&mut answer)).await.expect("an answer");
            assert!(answer.ends_with("\r\n\r\nbeside smol"), "{answer}");
        }

        drop(stop);
        within_patience(server).await.expect("no error");
    }));
}

#[test]
fn a_server_runs_inside_async_std_beside_its_timer_and_sockets() {
    use async_std::io::{ReadExt, WriteExt};

    async_std::task::block_on(async {
        let bound = bind(async |_| {
            async_std::task::sleep(WAIT).await;
            Response::new(Body::from("beside async-std"))
        });
        let address = bound.listener().local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let serve = Coroutine::new(Arc::new(OnAsyncStd), bound.serve(until(stopped)));
        let server = async_std::task::spawn(serve);

        for _ in 0..3 {
            let connected = async_std::net::TcpStream::connect(address).await;
            let mut stream = connected.expect("a connection");
            stream.write_all(REQUEST).await.expect("the server takes it");
            let mut answer = String::new();
            within_patience(stream.read_to_string(&mut answer)).await.expect("an answer");
            assert!(answer.ends_with("\r\n\r\nbeside async-std"), "{answer}");
        }

        drop(stop);
        within_patience(server).await.expect("no error");
    });
}

fn bind<A: App>(app: A) -> Bound<A> {
    Server::new(app).bind("127.0.0.1:0").expect("a free port")
}

/// Over when the other end is dropped.
async fn until(dropped: oneshot::Receiver<()>) {
    dropped.await.unwrap_or_default();
}

/// Whatever comes first, the work's end or that of the patience: by async-io's timer, on which both
/// smol and async-std are built.
async fn within_patience<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    smol::future::or(work, async {
        smol::Timer::after(PATIENCE).await;
        Err(io::ErrorKind::TimedOut.into())
    })
    .await
}
