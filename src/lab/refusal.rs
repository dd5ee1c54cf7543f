//! What a store says: JSON, a line of it, so that a terminal shows each answer by itself; and when it does not do what it was asked, a status and
//! a sentence.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::Error;

/// An answer.
pub struct Told(pub Value);

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], format!("{}\n", self.0)).into_response()
    }
}

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// Why.
    pub message: String,
}

impl Refusal {
    /// One with this status.
    #[must_use]
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::InvalidInput(_) => StatusCode::BAD_REQUEST,
            Error::DiskFull { .. } => StatusCode::INSUFFICIENT_STORAGE,
            Error::LockTimeout { .. } | Error::Deadlock { .. } => StatusCode::CONFLICT,
            Error::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Told(json!({ "error": self.message }))).into_response()
    }
}
