//! Portable sockets: three trait families, many coroutines, every ending.

use std::future::poll_fn;
use std::io;

use futures_util::future::{join, join_all};
use futures_util::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use gateway_core::{Host, spawn, timeout};
use gateway_net::{TcpListener, TcpStream, UnixListener, UnixStream};
use gateway_tests::{PATIENCE, on_every_host};
use hyper::rt::{Read as _, Write as _};

on_every_host!(2:
    a_stream_moves_between_coroutines_of_its_host,
    all_three_families_carry_every_byte,
    a_closed_half_is_the_end_and_stays_so,
    a_name_is_resolved_and_a_refused_address_is_an_error,
    unix_sockets_carry_every_byte,
    large_transfers_both_ways_at_once_lose_nothing,
    readiness_arms_again_for_every_byte,
    a_read_that_is_given_up_loses_nothing,
    a_read_with_a_look_takes_what_the_look_says,
    many_buffers_go_out_in_order,
    a_peer_that_resets_is_an_error_not_an_end,
    a_thousand_connections_come_and_go,
);

async fn pair() -> (TcpStream, TcpStream) {
    let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = join(TcpStream::connect_to(address), listener.accept()).await;
    let (client, (server, peer)) = (client.unwrap(), accepted.unwrap());
    assert_eq!(client.local_addr().unwrap(), peer);
    assert_eq!(client.peer_addr().unwrap(), address);
    (client, server)
}

fn a_stream_moves_between_coroutines_of_its_host(host: impl Host) {
    host.run(async {
        let (mut client, mut server) = pair().await;
        spawn(async move {
            let mut byte = [0];
            while server.read(&mut byte).await.unwrap() == 1 {
                server.write_all(&byte).await.unwrap();
            }
        });
        // Registered under the first coroutine, used under ten others, one after the other.
        for n in 0..10 {
            client = spawn(async move {
                client.write_all(&[n]).await.unwrap();
                let mut byte = [0];
                client.read_exact(&mut byte).await.unwrap();
                assert_eq!(byte, [n]);
                client
            })
            .await
            .unwrap();
        }
    });
}

fn all_three_families_carry_every_byte(host: impl Host) {
    host.run(async {
        let (mut client, mut server) = pair().await;
        let text = b"the quick brown fox";
        let mut came = [0; 19];

        futures_util::AsyncWriteExt::write_all(&mut client, text).await.unwrap();
        ::tokio::io::AsyncReadExt::read_exact(&mut server, &mut came).await.unwrap();
        assert_eq!(&came, text);

        ::tokio::io::AsyncWriteExt::write_all(&mut server, text).await.unwrap();
        let mut buf = hyper::rt::ReadBuf::new(&mut came);
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut client).poll_read(cx, buf.unfilled()))
            .await
            .unwrap();
        assert_eq!(buf.filled(), text);

        let sent = std::future::poll_fn(|cx| std::pin::Pin::new(&mut client).poll_write(cx, text));
        assert_eq!(sent.await.unwrap(), text.len());
        futures_util::AsyncReadExt::read_exact(&mut server, &mut came).await.unwrap();
        assert_eq!(&came, text);
    });
}

fn a_closed_half_is_the_end_and_stays_so(host: impl Host) {
    host.run(async {
        let (mut client, mut server) = pair().await;
        client.write_all(b"last words").await.unwrap();
        client.close().await.unwrap();
        let mut words = Vec::new();
        server.read_to_end(&mut words).await.unwrap();
        assert_eq!(words, b"last words");
        for _ in 0..3 {
            assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
        }
        // The other half is open still.
        server.write_all(b"answer").await.unwrap();
        drop(server);
        words.clear();
        client.read_to_end(&mut words).await.unwrap();
        assert_eq!(words, b"answer");
        assert_eq!(client.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    });
}

fn a_name_is_resolved_and_a_refused_address_is_an_error(host: impl Host) {
    host.run(async {
        let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let by_name = format!("localhost:{port}");
        let (client, accepted) = join(TcpStream::connect(&by_name), listener.accept()).await;
        assert!(client.is_ok() && accepted.is_ok(), "{client:?}");
        drop(listener);
        let refused = TcpStream::connect(&format!("127.0.0.1:{port}")).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(TcpStream::connect("no-such-host.invalid:80").await.is_err());
        assert!(TcpStream::connect("no port").await.is_err());
    });
}

fn unix_sockets_carry_every_byte(host: impl Host) {
    let directory = std::env::temp_dir().join(format!("gateway-{:?}", std::thread::current().id()));
    let directory = directory.with_extension(std::process::id().to_string());
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    host.run(async {
        let mut listener = UnixListener::bind(&path).unwrap();
        let (client, server) = join(UnixStream::connect(&path), listener.accept()).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        client.write_all(b"hello").await.unwrap();
        let mut came = [0; 5];
        server.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"hello");
        let nobody = UnixStream::connect(directory.join("nobody")).await.unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::NotFound);
    });
    std::fs::remove_dir_all(&directory).unwrap();
}

fn large_transfers_both_ways_at_once_lose_nothing(host: impl Host) {
    const BYTES: usize = 8 << 20;
    let pattern = |n: usize| (n * 31 + n / 251) as u8;
    host.run(async move {
        let (client, server) = pair().await;
        let transfers = [client, server].map(|stream| {
            spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let writing = async move {
                    let bytes: Vec<u8> = (0..BYTES).map(pattern).collect();
                    writer.write_all(&bytes).await.unwrap();
                    writer.close().await.unwrap();
                };
                let reading = async move {
                    let (mut piece, mut count) = (vec![0; 64 * 1024], 0);
                    loop {
                        let read = reader.read(&mut piece).await.unwrap();
                        let right = (count..).zip(&piece[..read]).all(|(n, &b)| b == pattern(n));
                        assert!(right, "wrong after {count} bytes");
                        count += read;
                        if read == 0 {
                            break assert_eq!(count, BYTES);
                        }
                    }
                };
                join(writing, reading).await;
            })
        });
        for transfer in join_all(transfers).await {
            transfer.unwrap();
        }
    });
}

fn readiness_arms_again_for_every_byte(host: impl Host) {
    host.run(async {
        let (mut client, mut server) = pair().await;
        client.set_nodelay(true).unwrap();
        let echo = spawn(async move {
            // One byte at a time into a large buffer: every read drains the socket.
            let mut buf = [0; 4096];
            loop {
                match server.read(&mut buf).await.unwrap() {
                    0 => return,
                    n => server.write_all(&buf[..n]).await.unwrap(),
                }
            }
        });
        for n in 0..2000_u32 {
            client.write_all(&n.to_be_bytes()).await.unwrap();
            let mut came = [0; 4];
            let read = timeout(PATIENCE, client.read_exact(&mut came)).await;
            read.expect("a wake-up was lost").unwrap();
            assert_eq!(u32::from_be_bytes(came), n);
        }
        drop(client);
        echo.await.unwrap();
    });
}

fn a_read_that_is_given_up_loses_nothing(host: impl Host) {
    host.run(async {
        let (mut client, mut server) = pair().await;
        for n in 0..100_u8 {
            let mut byte = [0];
            // Nothing has been sent, so it waits, with a waker that wakes nobody, and is given up.
            assert!(server.read(&mut byte).now_or_never().is_none(), "a byte out of nowhere");
            let reading = timeout(PATIENCE, server.read(&mut byte));
            let (read, sent) = join(reading, client.write_all(&[n])).await;
            sent.unwrap();
            assert_eq!(read.expect("a wake-up was lost").unwrap(), 1);
            assert_eq!(byte, [n]);
        }
    });
}

fn a_read_with_a_look_takes_what_the_look_says(host: impl Host) {
    host.run(async {
        let (mut client, mut server) = pair().await;
        let mut look = async |take: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>| {
            let mut space = [0; 8];
            let mut buf = hyper::rt::ReadBuf::new(&mut space);
            poll_fn(|cx| server.poll_read_some(cx, buf.unfilled(), &mut *take)).await?;
            io::Result::Ok(buf.filled().to_vec())
        };
        client.write_all(b"taken").await.unwrap();
        let mut change = |came: &mut [u8]| {
            came.make_ascii_uppercase();
            Ok(came.len() - 1)
        };
        assert_eq!(look(&mut change).await.unwrap(), b"TAKE");
        // Its errors are never taken for the system's, which would wait, or read once more.
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted] {
            client.write_all(b"!").await.unwrap();
            let refused = look(&mut |_| Err(kind.into())).await;
            assert_eq!(refused.unwrap_err().kind(), kind);
        }
        client.close().await.unwrap();
        assert_eq!(look(&mut |came| Ok(came.len() + 9)).await.unwrap(), b"", "the end");
    });
}

fn many_buffers_go_out_in_order(host: impl Host) {
    host.run(async {
        let (mut client, mut server) = pair().await;
        let parts: Vec<[u8; 3]> = (0..5000_u16).map(|n| [b'<', n as u8, b'>']).collect();
        let mut slices: Vec<_> = parts.iter().map(|part| io::IoSlice::new(part)).collect();
        let sending = async {
            let mut left = &mut slices[..];
            while !left.is_empty() {
                let sent = client.write_vectored(left).await.unwrap();
                io::IoSlice::advance_slices(&mut left, sent);
            }
            client.close().await.unwrap();
        };
        let mut came = Vec::new();
        let (_, read) = join(sending, server.read_to_end(&mut came)).await;
        read.unwrap();
        assert_eq!(came, parts.concat());
    });
}

fn a_peer_that_resets_is_an_error_not_an_end(host: impl Host) {
    host.run(async {
        let (mut client, server) = pair().await;
        client.write_all(b"unread").await.unwrap();
        // Closing with unread bytes resets the connection.
        let mut peek = [0; 1];
        let mut server = server;
        server.read_exact(&mut peek).await.unwrap();
        drop(server);
        let mut rest = Vec::new();
        let error = client.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

fn a_thousand_connections_come_and_go(host: impl Host) {
    host.run(async {
        let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(async move {
            for _ in 0..1000 {
                let (mut stream, _) = listener.accept().await.unwrap();
                spawn(async move {
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).await.unwrap();
                    stream.write_all(&bytes).await.unwrap();
                });
            }
        });
        let mut clients = futures_util::stream::iter(0..1000_u32)
            .map(|n| async move {
                let mut stream = TcpStream::connect_to(address).await.unwrap();
                stream.write_all(&n.to_be_bytes()).await.unwrap();
                stream.close().await.unwrap();
                let mut came = Vec::new();
                stream.read_to_end(&mut came).await.unwrap();
                assert_eq!(came, n.to_be_bytes());
            })
            .buffer_unordered(50);
        while clients.next().await.is_some() {}
        server.await.unwrap();
    });
}
