//! Portable sockets: TCP and Unix streams and listeners that work on every host.
//!
//! Each operation goes through [`gateway_core::poll_io`], so whoever drives the coroutine decides
//! how to wait. A [`Stream`] implements the three trait families in use, so clients and protocols
//! that take "anything that reads and writes" run on it unchanged:
//!
//! | family | used by, for example |
//! |---|---|
//! | [`futures_io`] | async-tungstenite, redis |
//! | [`tokio::io`] (traits alone, no runtime) | tokio-postgres, tokio-rustls |
//! | [`hyper::rt`] | hyper's server and client |
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use gateway_net::{TcpListener, TcpStream};
//!
//! let mut listener = TcpListener::bind("127.0.0.1:0")?;
//! let client = TcpStream::connect(&listener.local_addr()?.to_string()).await?;
//! let (server, peer) = listener.accept().await?;
//! assert_eq!(client.local_addr()?, peer);
//! # Ok(())
//! # }
//! ```

#[allow(unsafe_code, reason = "hyper's read cursor has no safe way to be filled without zeroing")]
mod cursor;
mod families;
mod listener;
mod stream;

pub use families::Portable;
pub use listener::{TcpListener, UnixListener};
pub use stream::{Any, Family, Stream, Tcp, TcpStream, Unix, UnixStream};
