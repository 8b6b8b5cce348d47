//! The ops listener: `/metrics`, `/livez`, `/readyz`.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};

use super::{bridge::Bridge, device::plain};

/// Whether the gateway is ready, with the report (JSON) that says why or why not.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Every necessary check passed.
    pub ready: bool,
    /// The checks.
    pub report: Vec<u8>,
}

/// What the ops listener shows.
pub struct OpsEdge {
    /// Gives all metrics in the text format of Prometheus.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Runs the checks; may read the store.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// Where the checks run.
    pub bridge: Arc<Bridge>,
}

impl fmt::Debug for OpsEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpsEdge")
    }
}

impl OpsEdge {
    /// Answers one request.
    pub async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET");
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/livez" => plain(StatusCode::OK, "alive"),
            "/readyz" => self.readyz().await,
            "/metrics" => {
                const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
                typed(StatusCode::OK, TEXT_FORMAT, (self.metrics)().into())
            }
            _ => plain(StatusCode::NOT_FOUND, "here are /metrics, /livez and /readyz"),
        }
    }

    async fn readyz(&self) -> Response<Full<Bytes>> {
        let readiness = Arc::clone(&self.readiness);
        match self.bridge.call(move || readiness()).await {
            Ok(Readiness { ready, report }) => {
                let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                typed(status, "application/json", report.into())
            }
            Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }
}

fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer
}
