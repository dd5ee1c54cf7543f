//! The lab: key-value stores over HTTP, one with a log and one without, which are crashed for real.
//!
//! ```text
//!   aries lab ──┬─ site: the page, and scripts that are run              port 8000
//!               └─ supervisor ─┬── process: store with the log        port 8001   ┐
//!                              └── process: store without a log       port 8002   ┘ started again when they die
//!
//!   request → http (tokio, axum) → a blocking thread → Store → Db        telemetry looks on: /metrics, spans
//! ```
//!
//! - [`Store`]: what a store does, without HTTP. [`Entry`]: its log as a student reads it; `tape`: as the engine wrote it; `reading` reads it for both.
//! - `http`: its calls, and who may make them. [`serve`] is the process of one store.
//! - [`Recording`]: a script of the command language, run and recorded, event by event; [`one_file`] makes a page of it that needs no server.
//! - [`supervise`]: both of them, and whatever dies begins anew.
//! - [`load`]: many clients at once, for figures, and to see that crashes lose nothing.
//!
//! Invariants:
//! - the engine is synchronous: no engine call is made on a thread that serves other requests;
//! - a store answers a change when it is durable, or, without a log, when it is in memory;
//! - `POST /admin/crash` ends the process by SIGKILL: nothing is unwound, flushed or closed;
//! - a child whose supervisor is gone stops: it would else hold its port for ever;
//! - whatever is refused is answered in JSON, with a status that says whose fault it is.

mod entries;
mod guard;
mod handlers;
mod http;
pub mod load;
mod one_file;
mod reading;
mod recording;
mod refusal;
mod site;
mod store;
mod supervisor;
mod tape;
mod telemetry;
mod told;

pub use entries::Entry;
pub use http::{Listening, serve};
pub use one_file::one_file;
pub use recording::{CrashAt, CrashPlace, Recording};
pub use refusal::Refusal;
pub use site::store_name;
pub use store::{Operation, Store, StoreOptions};
pub use supervisor::{Happened, Kept, Lab, TOKEN_VARIABLE, supervise};
pub use telemetry::{Metrics, Telemetry, Tracing, trace};
