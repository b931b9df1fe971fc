//! The lifespan: what an app does before its server's first request, and after its last.
//!
//! Hooks are started in the order in which they were given, before anything is accepted, and stopped
//! in the opposite order, when all connections are gone. What a start returns is handed to every
//! request.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use gateway_core::{Error, timeout};
use http::Extensions;

use crate::bounds::Deadline;
use crate::connections::Shared;

/// Puts what the hooks have started into a request's extensions; none, where there is no hook.
pub(crate) type Attach = Option<Arc<dyn Fn(&mut Extensions) + Send + Sync>>;

type Starting = Pin<Box<dyn Future<Output = Result<Started, Error>> + Send>>;
type Stopping = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What one hook has started, and how it is stopped.
struct Started {
    attach: Box<dyn Fn(&mut Extensions) + Send + Sync>,
    stop: Box<dyn FnOnce() -> Stopping + Send>,
}

/// All hooks of a server.
#[derive(Default)]
pub(crate) struct Lifespan {
    hooks: Vec<Box<dyn FnOnce() -> Starting + Send>>,
}

impl Lifespan {
    pub(crate) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    pub(crate) fn add<T, B, E>(
        &mut self,
        start: impl FnOnce() -> B + Send + 'static,
        stop: impl FnOnce(T) -> E + Send + 'static,
    ) where
        T: Clone + Send + Sync + 'static,
        B: Future<Output = Result<T, Error>> + Send + 'static,
        E: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.hooks.push(Box::new(move || {
            Box::pin(async move {
                let value = start().await?;
                let attached = value.clone();
                Ok(Started {
                    attach: Box::new(move |extensions| drop(extensions.insert(attached.clone()))),
                    stop: Box::new(move || Box::pin(stop(value))),
                })
            })
        }));
    }

    /// Starts all of them, each within the deadline.
    ///
    /// # Errors
    ///
    /// The first that fails; those before it are stopped.
    pub(crate) async fn start(self, shared: &Shared) -> io::Result<Running> {
        let mut running = Running { attach: None, stops: Vec::new() };
        let mut attaches = Vec::new();
        for hook in self.hooks {
            let failed = match timeout(shared.deadlines.hook, hook()).await {
                Ok(Ok(started)) => {
                    attaches.push(started.attach);
                    running.stops.push(started.stop);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(elapsed) => {
                    shared.passes(Deadline::Hook);
                    elapsed.to_string()
                }
            };
            running.stop(shared).await;
            return Err(io::Error::other(format!("the application can't start: {failed}")));
        }
        if !attaches.is_empty() {
            running.attach = Some(Arc::new(move |extensions| {
                attaches.iter().for_each(|attach| attach(extensions));
            }));
        }
        Ok(running)
    }
}

/// The hooks that have started.
pub(crate) struct Running {
    pub(crate) attach: Attach,
    stops: Vec<Box<dyn FnOnce() -> Stopping + Send>>,
}

impl Running {
    /// Stops all of them, the last one first, each within the deadline. One that fails is logged, and
    /// holds up no other.
    pub(crate) async fn stop(self, shared: &Shared) {
        for stop in self.stops.into_iter().rev() {
            match timeout(shared.deadlines.hook, stop()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a shutdown hook failed"),
                Err(_) => shared.passes(Deadline::Hook),
            }
        }
    }
}
