//! As much of an HTTP client as the test takes: one connection that is kept, and made again when it broke.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::sync::Arc;

/// So long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(5);

/// A connection to a store.
pub struct Connection {
    address: SocketAddr,
    token: Option<Arc<str>>,
    /// For how long it tries to connect.
    patience: Duration,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// What was answered.
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
    /// From when the request was sent until all of it was here.
    pub took: Duration,
}

impl Answer {
    /// The body.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).context("the answer is no JSON")
    }
}

impl Connection {
    /// To a store, which may be away for a while.
    pub fn to(address: SocketAddr, token: Option<Arc<str>>) -> Self {
        Self { address, token, patience: PATIENCE, sender: None }
    }

    /// To where somebody should answer now.
    pub fn at_once(address: SocketAddr) -> Self {
        Self { address, token: None, patience: Duration::ZERO, sender: None }
    }

    /// Asks; gives nothing if the connection broke: nobody knows then what became of the request.
    ///
    /// # Errors
    /// If the request is refused (404 is an answer), or if nobody answers for long.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Option<Answer>> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(&method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::from(body))?;
        let mut sender = self.connected().await?;
        let answer = timeout(PATIENCE, exchange(&mut sender, request)).await;
        let Ok(answer) = answer else {
            bail!("{} did not answer {method} {path} within {PATIENCE:?}", self.address);
        };
        let Ok(answer) = answer else { return Ok(None) };
        if !answer.status.is_success() && answer.status != StatusCode::NOT_FOUND {
            let (status, words) = (answer.status, String::from_utf8_lossy(&answer.body));
            bail!("{} refused {method} {path}: {status}: {words}", self.address);
        }
        self.sender = Some(sender);
        Ok(Some(answer))
    }

    /// The connection, if it still stands, or a new one.
    async fn connected(&mut self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let began = Instant::now();
        loop {
            match connect(self.address).await {
                Ok(sender) => return Ok(sender),
                Err(error) if began.elapsed() >= self.patience => {
                    bail!("nobody answers at {}: {error}", self.address)
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection); // It ends with the connection; whoever waits for an answer hears of it.
    Ok(sender)
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Answer> {
    let began = Instant::now();
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(Answer { status, body, took: began.elapsed() })
}
