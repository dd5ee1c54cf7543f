//! What a store answers to each call. The engine works on threads that may wait; here everything is only handed on.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::Span;

use super::refusal::Told;
use super::store::Operation;
use super::{Refusal, Store, tape};
use crate::ids::Lsn;
use crate::sync::Arc;

/// Where a list says nothing else, so many.
const PAGE: usize = 1000;
const MOST_PAGE: usize = 10_000;
/// So long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is answered.
pub type Answer = Result<Told, Refusal>;
type Of = State<Arc<Store>>;

/// A request's body, or why it is none.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Ok(body) = timeout(PATIENCE, Json::from_request(request, state)).await else {
            let message = format!("the body did not come within {} seconds", PATIENCE.as_secs());
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message));
        };
        Ok(Self(body?.0))
    }
}

/// What stands behind the question mark.
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(Refusal))]
pub struct Asked<T>(T);

/// What stands in the path.
#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(Refusal))]
pub struct InPath<T>(pub T);

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        let mut message = rejection.body_text();
        if matches!(rejection, JsonRejection::JsonSyntaxError(_)) {
            message += " (in JSON, names and texts stand in double quotes)";
        }
        Self::new(rejection.status(), message)
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

/// Does it on a thread that may wait.
async fn blocking<T: Send + 'static>(
    store: Arc<Store>,
    work: impl FnOnce(&Store) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let request = Span::current();
    let done = tokio::task::spawn_blocking(move || request.in_scope(|| work(&store))).await;
    done.unwrap_or_else(|error| {
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    })
}

/// `?from=KEY&limit=N`, or of the log `?from=LSN`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part<F> {
    from: Option<F>,
    limit: Option<usize>,
}

impl<F> Part<F> {
    fn most(&self) -> Result<usize, Refusal> {
        let limit = self.limit.unwrap_or(PAGE);
        match (1..=MOST_PAGE).contains(&limit) {
            true => Ok(limit),
            false => Err(Refusal::bad_request(format!("limit is 1 to {MOST_PAGE}"))),
        }
    }
}

/// `GET /kv`
pub async fn list(State(store): Of, Asked(part): Asked<Part<String>>) -> Answer {
    let most = part.most()?;
    let listed = blocking(store, move |store| store.list(part.from.as_deref(), most)).await?;
    let items = listed.items.into_iter().map(|(key, value)| json!({ "key": key, "value": value }));
    let items: Vec<Value> = items.collect();
    Ok(Told(json!({ "items": items, "count": listed.count, "next": listed.next })))
}

/// What `POST /kv` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    key: String,
    value: Value,
}

/// `POST /kv`
pub async fn put(State(store): Of, Body(pair): Body<Pair>) -> Answer {
    let Pair { key, value } = pair;
    let answer = json!({ "key": key, "durable": store.options().with_log });
    blocking(store, move |store| store.apply(&[Operation::Set { key, value }])).await?;
    Ok(Told(answer))
}

fn not_found(key: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no key {key:?}"))
}

/// `GET /kv/{key}`
pub async fn get(State(store): Of, InPath(key): InPath<String>) -> Answer {
    let asked = Operation::Get { key: key.clone() };
    let found = blocking(store, move |store| store.apply(&[asked])).await?.remove(0);
    match found["found"] == true {
        true => Ok(Told(json!({ "key": key, "value": found["value"] }))),
        false => Err(not_found(&key)),
    }
}

/// `DELETE /kv/{key}`
pub async fn delete(State(store): Of, InPath(key): InPath<String>) -> Answer {
    let asked = Operation::Delete { key: key.clone() };
    let found = blocking(store, move |store| store.apply(&[asked])).await?.remove(0);
    match found["deleted"] == true {
        true => Ok(Told(found)),
        false => Err(not_found(&key)),
    }
}

/// What `POST /txn` and `POST /kv/batch` hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    operations: Vec<Operation>,
}

/// `POST /txn`, `POST /kv/batch`: all of it or nothing.
pub async fn transaction(State(store): Of, Body(txn): Body<Transaction>) -> Answer {
    let durable = store.options().with_log;
    let results = blocking(store, move |store| store.apply(&txn.operations)).await?;
    Ok(Told(json!({ "applied": results.len(), "results": results, "durable": durable })))
}

/// `GET /admin/wal`
pub async fn wal(State(store): Of, Asked(part): Asked<Part<u64>>) -> Answer {
    let most = part.most()?;
    let entries = blocking(store, |store| store.entries()).await?;
    let (count, from) = (entries.len(), part.from.unwrap_or(0));
    let mut wanted = entries.into_iter().filter(|entry| entry.sequence >= from);
    let page: Vec<_> = wanted.by_ref().take(most).collect();
    let next = wanted.next().map(|entry| entry.sequence);
    Ok(Told(json!({ "entries": page, "count": count, "next": next })))
}

/// `GET /admin/log`: the latest records.
pub async fn log(State(store): Of, Asked(part): Asked<Part<u64>>) -> Answer {
    let most = part.most()?;
    let from = part.from.and_then(Lsn::new);
    Ok(Told(blocking(store, move |store| tape::latest(store, from, most)).await?))
}

/// `GET /admin/log/{lsn}`
pub async fn log_record(State(store): Of, InPath(lsn): InPath<u64>) -> Answer {
    let lsn = Lsn::new(lsn).ok_or_else(|| Refusal::bad_request("an LSN is a number above 0"))?;
    Ok(Told(blocking(store, move |store| tape::one(store, lsn)).await?))
}

/// `GET /admin/pool`
pub async fn pool(State(store): Of) -> Answer {
    Ok(Told(blocking(store, tape::pool).await?))
}

/// `GET /admin/stats`
pub async fn stats(State(store): Of) -> Answer {
    Ok(Told(blocking(store, Store::stats).await?))
}

/// `POST /admin/checkpoint`
pub async fn checkpoint(State(store): Of) -> Answer {
    blocking(store, Store::checkpoint).await?;
    Ok(Told(json!({ "checkpoint": true })))
}

/// `POST /admin/clear`
pub async fn clear(State(store): Of) -> Answer {
    blocking(store, Store::clear).await?;
    Ok(Told(json!({ "cleared": true })))
}

/// `POST /admin/flush`
pub async fn flush(State(store): Of) -> Answer {
    blocking(store, Store::flush).await?;
    Ok(Told(json!({ "flushed": true })))
}

/// `POST /admin/crash`: there is no answer, the process is gone.
pub async fn crash() -> Answer {
    let killed =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("still alive: {killed:?}")))
}

/// `GET /metrics`: as Prometheus reads it.
pub async fn metrics(State(store): Of) -> Result<impl IntoResponse, Refusal> {
    let text = blocking(store, |store| Ok(store.metrics())).await?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

/// `GET /health`
pub async fn health(State(store): Of) -> Answer {
    let healthy = store.db().is_healthy();
    let status = json!({ "healthy": healthy, "log": store.options().with_log });
    match healthy {
        true => Ok(Told(status)),
        false => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine has stopped: start the process again",
        )),
    }
}
