//! A store over HTTP: its calls, and the process that answers them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::guard::{Guard, guarded};
use super::telemetry::observed;
use super::{Refusal, Store, StoreOptions, handlers};
use crate::sync::Arc;

/// A request may be as long, in bytes.
const MOST_BODY_BYTES: usize = 8 * 1024 * 1024;
/// When it is told to stop, requests that are under way have so long to be answered.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// How often it is looked whether the engine works.
const LOOKING: Duration = Duration::from_secs(1);
/// How often what was measured is sorted away.
const TIDYING: Duration = Duration::from_secs(5);

/// Where a store listens, and to whom.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The address; port 0 is any that is free.
    pub address: SocketAddr,
    /// What the admin calls need, if this machine is not alone.
    pub token: Option<String>,
    /// Whether to stop when standard input ends: whoever started this process is gone then.
    pub until_input_ends: bool,
}

/// Opens a store and answers requests until it is told to stop: by SIGINT, by SIGTERM, or, if asked for, by the end of standard input. Then it is closed
/// cleanly. `announce` is called as soon as requests are answered.
///
/// # Errors
/// Those of listening and of opening the store.
pub fn serve(
    options: StoreOptions,
    listening: &Listening,
    announce: impl FnOnce(&Store),
) -> anyhow::Result<()> {
    let guard = Guard::new(listening.address, listening.token.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    allow_many_files();
    let listener = runtime.block_on(listen(listening.address))?;
    let store = Arc::new(Store::open(options)?);
    announce(&store);
    let router = router(&store, guard);
    let until_input_ends = listening.until_input_ends;
    runtime.spawn(tidy_up(Arc::clone(&store)));
    runtime.block_on(async {
        let stopped = stopped(until_input_ends)?;
        let (tell, told) = oneshot::channel();
        let stopping = async {
            stopped.await;
            let _ = tell.send(()); // Somebody waits, unless it has stopped by itself.
        };
        tokio::select! {
            served = axum::serve(listener, router).with_graceful_shutdown(stopping).into_future() => served,
            () = too_long(told) => Ok(()),
            () = engine_stopped(&store) => Err(io::Error::other("the engine has stopped")),
        }
    })?;
    drop(runtime);
    Ok(store.db().clone().close()?)
}

/// Ends some time after it was told to stop: whoever has sent half a request by then is not waited for.
async fn too_long(told: oneshot::Receiver<()>) {
    match told.await {
        Ok(()) => sleep(LAST_REQUESTS).await,
        Err(_) => std::future::pending().await,
    }
}

/// Ends when the engine works no more: then this process is of no use, and the next one recovers what there is.
async fn engine_stopped(store: &Store) {
    while store.db().is_healthy() {
        sleep(LOOKING).await;
    }
    sleep(LOOKING).await; // Whoever asks meanwhile is told.
}

async fn tidy_up(store: Arc<Store>) {
    loop {
        sleep(TIDYING).await;
        store.telemetry().metrics().tidy_up();
    }
}

/// Each connection is an open file: as many as the system allows this process, for the log needs files, too.
pub fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where that cannot be, there may be fewer connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Listens there.
///
/// # Errors
/// Those of the operating system, with the address.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; is another lab running? --port takes other ports",
            _ => "",
        };
        anyhow::anyhow!("listening on {address}: {error}{hint}")
    })
}

/// Ends when the process is told to stop.
///
/// # Errors
/// Those of the operating system.
pub fn stopped(until_input_ends: bool) -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (mut hang_up, mut quit) = (signal(SignalKind::hangup())?, signal(SignalKind::quit())?);
    let (ends, ended) = oneshot::channel();
    if until_input_ends {
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = ends.send(()); // Nobody waits any more if it has stopped already.
        });
    } else {
        std::mem::forget(ends);
    }
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
            _ = quit.recv() => {}
            _ = ended => {}
        }
    })
}

/// All calls of a store.
fn router(store: &Arc<Store>, guard: Guard) -> Router {
    Router::new()
        .route("/kv", get(handlers::list).post(handlers::put))
        .route("/kv/batch", post(handlers::transaction).get(get_batch).delete(delete_batch))
        .route("/kv/{key}", get(handlers::get).delete(handlers::delete))
        .route("/txn", post(handlers::transaction))
        .route("/admin/wal", get(handlers::wal))
        .route("/admin/log", get(handlers::log))
        .route("/admin/log/{lsn}", get(handlers::log_record))
        .route("/admin/pool", get(handlers::pool))
        .route("/admin/stats", get(handlers::stats))
        .route("/admin/checkpoint", post(handlers::checkpoint))
        .route("/admin/clear", post(handlers::clear))
        .route("/admin/flush", post(handlers::flush))
        .route("/admin/crash", post(handlers::crash))
        .route("/health", get(handlers::health))
        .route("/metrics", get(handlers::metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .layer(from_fn(not_too_long))
        .layer(from_fn_with_state(guard, guarded))
        .layer(from_fn_with_state(Arc::clone(store.telemetry()), observed))
        .with_state(Arc::clone(store))
}

/// A key like any other.
const BATCH: &str = "batch";

async fn get_batch(store: State<Arc<Store>>) -> handlers::Answer {
    handlers::get(store, handlers::InPath(BATCH.to_owned())).await
}

async fn delete_batch(store: State<Arc<Store>>) -> handlers::Answer {
    handlers::delete(store, handlers::InPath(BATCH.to_owned())).await
}

/// Refuses at once what says itself that it is too long: nobody has to wait for it.
async fn not_too_long(request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    match length.and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if length > MOST_BODY_BYTES => {
            let message = format!("a body of {length} bytes: {MOST_BODY_BYTES} at most");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message).into_response()
        }
        _ => next.run(request).await,
    }
}

async fn unknown(uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {}; GET /kv lists all keys", uri.path()),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let message = format!("{} cannot be asked by {method}", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)
}
