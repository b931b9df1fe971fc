//! `Client`: whoever waits for the answer of a request, and how a handler hears that it has left.
//!
//! A server has a [`Client`] for each connection, and one more for each stream of HTTP/2. It tells
//! that one what happens, and makes it current while it polls a handler or the body of a response.
//! So the handler needs no argument: [`disconnected`] and [`draining`] find the client as leaves
//! find their trampoline, by who is driving. They remember it from the call on, also in a task.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

/// How a client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It has closed its sending side. It may wait for its answer, or be gone: nobody can tell.
    HalfClosed,
    /// It has reset its connection or its stream, or the connection has ended: no answer arrives.
    Gone,
}

/// Waits until the client of the request in hand has left.
///
/// A handler whose client has reset its connection is dropped, unless its server or its route says
/// otherwise; so this is for those who may go on, and for those who have to stop within a grace time.
///
/// Called where no request is in hand, in a task for example, it waits for ever: there is nobody who
/// could leave. Call it in the handler, and move the future into the task.
///
/// # Cancel safety
///
/// Giving it up loses nothing: who has left stays away.
///
/// ```
/// use gateway_core::{Request, Response, disconnected, spawn};
///
/// async fn handler(_: Request) -> Response {
///     let left = disconnected();
///     spawn(async move {
///         let how = left.await;
///         println!("the client has left: {how:?}");
///     });
///     Response::default()
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(handler);
/// ```
pub fn disconnected() -> impl Future<Output = Departure> + Send + Sync + Unpin + use<> {
    let mut told = Told::new(HALF_CLOSED | GONE);
    std::future::poll_fn(move |cx| {
        told.poll(cx).map(|news| match news & GONE {
            0 => Departure::HalfClosed,
            _ => Departure::Gone,
        })
    })
}

/// Waits until the server of the request in hand drains: what could go on without an end, a stream
/// of events for example, should come to one now.
///
/// Where no request is in hand it waits for ever, as [`disconnected`] does.
///
/// # Cancel safety
///
/// Giving it up loses nothing.
pub fn draining() -> impl Future<Output = ()> + Send + Sync + Unpin + use<> {
    let mut told = Told::new(DRAINING);
    std::future::poll_fn(move |cx| told.poll(cx).map(drop))
}

// What a client's news are made of: bits that are only ever set.
const HALF_CLOSED: u8 = 1;
const GONE: u8 = 2;
const DRAINING: u8 = 4;

/// For servers: the client of a connection, or of one of its streams. Clones are the same client.
#[derive(Clone, Default)]
pub struct Client(Arc<Shared>);

#[derive(Default)]
struct Shared {
    news: AtomicU8,
    waiting: Mutex<Waiting>,
    /// What a stream hears of as well.
    connection: Option<Client>,
    /// What its server knows of it.
    facts: OnceLock<Facts>,
}

/// Whatever type a server has for that.
type Facts = Box<dyn Any + Send + Sync>;

#[derive(Default)]
struct Waiting {
    /// The last number given out.
    last: u64,
    wakers: Vec<(u64, Waker)>,
}

impl Client {
    /// One stream of this connection: it hears what the connection does, and may leave by itself.
    #[must_use]
    pub fn stream(&self) -> Client {
        Client(Arc::new(Shared { connection: Some(self.clone()), ..Shared::default() }))
    }

    /// Tells those who wait that it has left.
    pub fn leaves(&self, departure: Departure) {
        self.tell(match departure {
            Departure::HalfClosed => HALF_CLOSED,
            Departure::Gone => GONE,
        });
    }

    /// Tells those who wait that the server drains.
    pub fn drains(&self) {
        self.tell(DRAINING);
    }

    /// Says what is known of it, once and for all: its address, for example.
    pub fn introduce(&self, facts: impl Any + Send + Sync) {
        // Whoever comes second has nothing to say.
        let _ = self.0.facts.set(Box::new(facts));
    }

    /// What is known of the client of the request in hand, if it is of this type.
    #[must_use]
    pub fn facts<T: Any + Clone>() -> Option<T> {
        let client = current()?;
        let connection = client.0.connection.as_ref().unwrap_or(&client);
        connection.0.facts.get()?.downcast_ref::<T>().cloned()
    }

    /// Makes it the current client, for as long as what this returns lives: it changes places with
    /// whoever was current before, and back.
    #[inline]
    #[must_use = "it is the current client only as long as this lives"]
    pub fn attend(home: &mut Option<Client>) -> Attended<'_> {
        swap(home);
        Attended(home)
    }

    fn tell(&self, news: u8) {
        if self.0.news.fetch_or(news, Ordering::AcqRel) & news == news {
            return;
        }
        let wakers = std::mem::take(&mut self.lock().wakers);
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    fn news(&self) -> u8 {
        self.0.news.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("news", &self.news()).finish_non_exhaustive()
    }
}

thread_local! {
    /// Without a destructor, as the scope of a coroutine: where nothing is polled, it is nobody.
    static CURRENT: Cell<ManuallyDrop<Option<Client>>> =
        const { Cell::new(ManuallyDrop::new(None)) };
}

/// What [`Client::attend`] returns.
#[derive(Debug)]
pub struct Attended<'a>(&'a mut Option<Client>);

impl Drop for Attended<'_> {
    #[inline]
    fn drop(&mut self) {
        swap(self.0);
    }
}

#[inline]
fn swap(home: &mut Option<Client>) {
    *home = ManuallyDrop::into_inner(CURRENT.replace(ManuallyDrop::new(home.take())));
}

/// The client of the request in hand.
fn current() -> Option<Client> {
    let client = CURRENT.take();
    let current = (*client).clone();
    CURRENT.set(client);
    current
}

pin_project! {
    /// A future whose client is the current one while it is polled.
    pub(crate) struct Inherited<F> {
        client: Option<Client>,
        #[pin]
        future: F,
    }
}

impl<F> Inherited<F> {
    /// Under the client that is current now.
    pub(crate) fn new(future: F) -> Inherited<F> {
        Inherited { client: current(), future }
    }
}

impl<F: Future> Future for Inherited<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _attended = Client::attend(this.client);
        this.future.poll(cx)
    }
}

/// A wait for news of the client that was current when it began.
struct Told {
    wanted: u8,
    /// Of the stream and its connection, or of the connection alone.
    places: [Option<Place>; 2],
}

impl Told {
    fn new(wanted: u8) -> Told {
        let client = current();
        let connection = client.as_ref().and_then(|client| client.0.connection.clone());
        Told { wanted, places: [client, connection].map(|client| client.map(Place::new)) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<u8> {
        let mut heard = 0;
        for place in self.places.iter_mut().flatten() {
            heard |= place.poll(self.wanted, cx);
        }
        if heard == 0 { Poll::Pending } else { Poll::Ready(heard) }
    }
}

/// A place among those who wait for a client's news. Dropping it gives it up.
struct Place {
    client: Client,
    number: u64,
}

impl Place {
    fn new(client: Client) -> Place {
        let mut waiting = client.lock();
        waiting.last += 1;
        let number = waiting.last;
        drop(waiting);
        Place { client, number }
    }

    fn poll(&mut self, wanted: u8, cx: &mut Context<'_>) -> u8 {
        let mut waiting = self.client.lock();
        // Under the lock: whoever tells takes the wakers after it has set the news.
        let heard = self.client.news() & wanted;
        if heard != 0 {
            return heard;
        }
        let mut waker = cx.waker().clone();
        match waiting.wakers.iter_mut().find(|(number, _)| *number == self.number) {
            Some((_, registered)) => std::mem::swap(registered, &mut waker),
            None => {
                waiting.wakers.push((self.number, waker));
                return 0;
            }
        }
        // Without the lock: what is dropped may do anything.
        drop(waiting);
        drop(waker);
        0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.client.lock();
        let found = waiting.wakers.iter().position(|(number, _)| *number == self.number);
        let waker = found.map(|at| waiting.wakers.swap_remove(at));
        drop(waiting);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn under<T>(home: &mut Option<Client>, work: impl FnOnce() -> T) -> T {
        let _attended = Client::attend(home);
        work()
    }

    #[test]
    fn whoever_waits_hears_once_the_client_has_left() {
        let mut home = Some(Client::default());
        let client = home.clone().unwrap();
        let (mut left, mut drains) = under(&mut home, || (disconnected(), draining()));
        assert!(home.is_some(), "it is back home");
        assert_eq!(poll(&mut left), Poll::Pending);
        client.leaves(Departure::HalfClosed);
        assert_eq!(poll(&mut left), Poll::Ready(Departure::HalfClosed));
        client.leaves(Departure::Gone);
        assert_eq!(poll(&mut left), Poll::Ready(Departure::Gone));
        assert_eq!(poll(&mut drains), Poll::Pending);
        client.drains();
        assert_eq!(poll(&mut drains), Poll::Ready(()));
    }

    #[test]
    fn a_stream_hears_of_its_connection_and_leaves_alone() {
        let connection = Client::default();
        let mut streams = [Some(connection.stream()), Some(connection.stream())];
        let [mut one, mut other] = streams.each_mut().map(|home| under(home, disconnected));
        streams[0].as_ref().unwrap().leaves(Departure::Gone);
        assert_eq!(
            (poll(&mut one), poll(&mut other)),
            (Poll::Ready(Departure::Gone), Poll::Pending)
        );
        connection.leaves(Departure::HalfClosed);
        assert_eq!(poll(&mut other), Poll::Ready(Departure::HalfClosed));
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_nothing_behind() {
        let mut home = Some(Client::default());
        let mut left = under(&mut home, disconnected);
        assert_eq!((poll(&mut left), poll(&mut left)), (Poll::Pending, Poll::Pending));
        assert_eq!(home.as_ref().unwrap().lock().wakers.len(), 1, "once, however often polled");
        drop(left);
        assert_eq!(home.unwrap().lock().wakers.len(), 0);
    }

    #[test]
    fn what_is_known_of_a_connection_is_known_of_its_streams() {
        let connection = Client::default();
        connection.introduce("an address");
        connection.introduce("another one");
        for client in [connection.stream(), connection] {
            let facts = under(&mut Some(client), || (Client::facts(), Client::facts::<u8>()));
            assert_eq!(facts, (Some("an address"), None));
        }
    }

    #[test]
    fn without_a_request_nobody_leaves() {
        assert_eq!(poll(&mut disconnected()), Poll::Pending);
        assert_eq!(Client::facts::<&str>(), None);
    }
}
