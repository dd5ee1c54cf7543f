//! The lab's page, and what runs behind it: the files are in the program, and need nothing from anywhere else.
//!
//! A script that is run here runs on a simulated disk of its own, on a thread that may wait.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::guard::{Guard, guarded};
use super::handlers::Body;
use super::{CrashAt, CrashPlace, Recording, Refusal};
use crate::sync::Arc;

/// A script may be as long, in bytes.
const MOST_SCRIPT_BYTES: usize = 64 * 1024;
/// So many scripts run at once; others wait.
const SCRIPTS_AT_ONCE: usize = 2;

/// What the page may load: itself, and what the stores say.
const POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src *; img-src 'self' data:";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("page/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files!(
    "index.html",
    "style.css",
    "acknowledged.js",
    "api.js",
    "app.js",
    "crash-points.js",
    "crash-report.js",
    "curves.js",
    "dom.js",
    "explain.js",
    "live-log.js",
    "one-file.js",
    "pages.js",
    "player.js",
    "record-card.js",
    "replay.js",
    "run.js",
    "scenarios.js",
    "share.js",
    "standalone.js",
    "store.js",
    "stores-view.js",
    "survivors.js",
    "tape.js",
    "terms.js",
);

macro_rules! scenarios {
    ($($folder:literal $name:literal: $title:literal),* $(,)?) => {
        &[$(($name, $title, include_str!(concat!($folder, $name, ".script")))),*]
    };
}

/// Scripts to begin with: name, title, text.
const SCENARIOS: &[(&str, &str, &str)] = scenarios!(
    "lessons/" "three_transactions": "Three transactions, one crash",
    "lessons/" "rollback_before_the_crash": "A rollback, then the crash",
    "../../tests/scripts/" "restart_one_loser": "A winner and a loser",
    "../../tests/scripts/" "restart_three": "By the book: two losers, one sweep",
    "../../tests/scripts/" "redo_exactly": "Redo applies exactly what a page lacks",
    "../../tests/scripts/" "no_selective_redo": "The losers' changes are repeated, too",
    "../../tests/scripts/" "undo_order": "Undo goes backwards through all losers at once",
    "../../tests/scripts/" "undo_skips_compensated": "What is undone already is not undone again",
    "../../tests/scripts/" "crash_in_each_phase": "Crashes inside restart",
    "../../tests/scripts/" "fuzzy_checkpoint_snapshot": "A fuzzy checkpoint",
    "../../tests/scripts/" "nested_top_action_kept": "A nested top action stays",
    "../../tests/scripts/" "torn_page": "A torn page",
    "../../tests/scripts/" "prepared_in_doubt": "In doubt across a crash",
    "../../tests/scripts/" "restart_after_split": "A leaf is split, then the crash",
);

/// What the page's server knows.
#[derive(Clone)]
struct Site {
    stores: Value,
    running: Arc<Semaphore>,
}

/// A store, as the page is told of it.
pub struct Shown {
    /// Whether it keeps a log.
    pub with_log: bool,
    /// Where it is.
    pub url: String,
}

/// What a store is called.
#[must_use]
pub fn store_name(with_log: bool) -> &'static str {
    if with_log { "with the log" } else { "without a log" }
}

/// All calls of the page's server.
pub fn router(stores: &[Shown], guard: Guard) -> Router {
    let stores = stores.iter().map(|store| {
        json!({ "name": store_name(store.with_log), "url": store.url, "log": store.with_log })
    });
    let stores =
        json!({ "version": env!("CARGO_PKG_VERSION"), "stores": stores.collect::<Vec<_>>() });
    let site = Site { stores, running: Arc::new(Semaphore::new(SCRIPTS_AT_ONCE)) };
    Router::new()
        .route("/lab/config", get(|State(site): State<Site>| async { Json(site.stores) }))
        .route("/lab/scenarios", get(scenarios))
        .route("/lab/run", post(run).layer(DefaultBodyLimit::max(2 * MOST_SCRIPT_BYTES)))
        .fallback(file)
        .layer(from_fn_with_state(guard, guarded))
        .with_state(site)
}

/// A file of the page.
///
/// # Panics
/// If there is none of this name.
pub(super) fn page_file(name: &str) -> &'static str {
    let file = FILES.iter().find(|(file, _)| *file == name);
    file.map(|(_, text)| *text).expect("a file of the page")
}

/// Whatever else is asked for: a file of the page, if it is one.
async fn file(State(site): State<Site>, method: Method, uri: Uri) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let urls = site.stores["stores"].as_array().into_iter().flatten();
        let urls: Vec<&str> = urls.filter_map(|store| store["url"].as_str()).collect();
        let message =
            format!("{method}: here is the lab's page; the stores are at {}", urls.join(" and "));
        return Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response();
    }
    let name = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    let Some((_, text)) = FILES.iter().find(|(file, _)| *file == name) else {
        let message = format!("there is nothing at {}", uri.path());
        return Refusal::new(StatusCode::NOT_FOUND, message).into_response();
    };
    let kind = match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "text/html; charset=utf-8",
    };
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, *text).into_response()
}

async fn scenarios() -> Json<Value> {
    let all = SCENARIOS.iter();
    let all = all.map(|(name, title, text)| json!({ "name": name, "title": title, "text": text }));
    Json(all.collect())
}

/// What `POST /lab/run` holds.
#[derive(Deserialize)]
struct Asked {
    script: String,
    /// Where power fails; without it the script is run to its end.
    crash_at: Option<AskedPlace>,
    /// What the disk then keeps of what was not synced: `none`, `all`, `random:SEED` or `chosen:0,2,5`.
    survivors: Option<String>,
}

/// Where power is to fail.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum AskedPlace {
    /// Behind the statement to which this event belongs.
    Event(usize),
    /// Before this call of the engine to its disk.
    Io { io: usize },
}

/// The same in the words of the command language.
fn crash_at(asked: &Asked) -> Result<Option<CrashAt>, Refusal> {
    let place = match asked.crash_at {
        None => return Ok(None),
        Some(AskedPlace::Event(event)) => CrashPlace::Event(event),
        Some(AskedPlace::Io { io }) => CrashPlace::Io(io),
    };
    let survivors = asked.survivors.as_deref().unwrap_or("none");
    let keep = match survivors.split_once(':').unwrap_or((survivors, "")) {
        (kind @ ("none" | "all"), "") => Some(format!("keep={kind}")),
        ("random", seed) => seed.parse::<u64>().ok().map(|seed| format!("keep=random seed={seed}")),
        ("chosen", "") => Some("keep=none".to_owned()),
        ("chosen", numbers) => {
            let numbers =
                numbers.split(',').map(str::parse::<usize>).collect::<Result<Vec<_>, _>>();
            numbers.ok().map(|numbers| {
                let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
                format!("keep={}", numbers.join(","))
            })
        }
        _ => None,
    };
    let wrong = || Refusal::bad_request("survivors are none, all, random:SEED or chosen:0,2,5");
    Ok(Some(CrashAt { place, keep: keep.ok_or_else(wrong)? }))
}

async fn run(State(site): State<Site>, Body(asked): Body<Asked>) -> Result<Json<Value>, Refusal> {
    if asked.script.len() > MOST_SCRIPT_BYTES {
        let message =
            format!("a script of {} bytes: {MOST_SCRIPT_BYTES} at most", asked.script.len());
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let crash = crash_at(&asked)?;
    let turn = site.running.acquire_owned().await;
    let recorded = tokio::task::spawn_blocking(move || {
        let _until_it_is_run = turn; // Even if nobody waits for it any more.
        Recording::of(&asked.script, crash.as_ref())
    });
    let recorded = recorded.await;
    let failed = |error: tokio::task::JoinError| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    recorded.map(Json).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_runs_to_its_end() {
        for (name, _, text) in SCENARIOS {
            let recorded = Recording::of(text, None);
            assert_eq!(recorded["error"], Value::Null, "{name}");
        }
    }

    /// The page loads what its files import, and nothing else.
    #[test]
    fn all_files_of_the_page_are_served() {
        for (file, text) in FILES {
            let imports = text.lines().filter(|line| line.starts_with("import "));
            for import in imports.filter_map(|line| line.split('"').nth(1)) {
                let name = import.trim_start_matches("./");
                assert!(FILES.iter().any(|(file, _)| *file == name), "{file} imports {import}");
            }
            let without_names = text.replace("http://www.w3.org/", ""); // Names of XML, which nobody fetches.
            assert!(!without_names.contains("://"), "{file} leads elsewhere");
        }
    }
}
