//! The HTTP client of the subcommands: sends requests, retries while the service is busy, and
//! distinguishes a refusal from a missing answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use parking_lot::Mutex;
use reqwest::{Method, RequestBuilder, StatusCode, header::RETRY_AFTER};
use serde_json::Value;

const MAX_TRIES: usize = 60;
/// Minimum time between two warnings that the service is unavailable.
const WARN_INTERVAL: Duration = Duration::from_mins(1);

/// The options that name a service.
#[derive(Args, Clone)]
pub struct Service {
    /// The service's address.
    #[arg(
        long,
        global = true,
        env = "SCIHCGRL_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: String,
    /// A key of the service, if it needs one. Prefer the variable: every user of a machine can see
    /// flags.
    #[arg(long, global = true, env = "SCIHCGRL_KEY", hide_env_values = true)]
    key: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
    last_warning: Arc<Mutex<Option<Instant>>>,
}

impl Client {
    pub fn new(service: &Service) -> Self {
        Client {
            http: reqwest::Client::new(),
            url: service.url.trim_end_matches('/').to_owned(),
            key: service.key.clone(),
            last_warning: Arc::default(),
        }
    }

    /// Begins a request to a path of the service.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request. Returns the answer, or the detail of a refusal. Retries while the service
    /// is busy, is starting, or cannot write.
    ///
    /// # Errors
    /// If there is no answer, the answer is not from this service, or all attempts failed.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Result<Value, String>> {
        let mut tries = 0;
        loop {
            tries += 1;
            // A streamed body cannot be sent twice.
            let Some(attempt) = request.try_clone() else {
                return self.answer(request.send().await).await;
            };
            let answer = attempt.send().await;
            let status = answer
                .as_ref()
                .map_or(StatusCode::OK, reqwest::Response::status);
            let busy = status == StatusCode::TOO_MANY_REQUESTS && tries < MAX_TRIES;
            let unavailable = [
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::INSUFFICIENT_STORAGE,
            ]
            .contains(&status);
            let answer = match answer {
                Ok(answer) if busy || unavailable => answer,
                answer => return self.answer(answer).await,
            };
            let wait = answer.headers().get(RETRY_AFTER);
            let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
            if unavailable {
                let problem: Value = answer.json().await.unwrap_or_default();
                let detail = problem["detail"].as_str().unwrap_or(status.as_str());
                if tries >= MAX_TRIES {
                    bail!("gave up on {} after {tries} tries: {detail}", self.url);
                }
                self.warn(detail);
            }
            tokio::time::sleep(Duration::from_secs(wait.unwrap_or(1))).await;
        }
    }

    /// Logs why requests wait, at most once per [`WARN_INTERVAL`] for all requests.
    fn warn(&self, detail: &str) {
        let mut last = self.last_warning.lock();
        if last.is_none_or(|last| last.elapsed() >= WARN_INTERVAL) {
            tracing::warn!("waiting for {}: {detail}", self.url);
            *last = Some(Instant::now());
        }
    }

    async fn answer(
        &self,
        answer: reqwest::Result<reqwest::Response>,
    ) -> anyhow::Result<Result<Value, String>> {
        let answer = answer.with_context(|| {
            format!("no answer from {}; is `scihcgrl serve` running?", self.url)
        })?;
        let status = answer.status();
        let body: Result<Value, _> = answer.json().await;
        match body {
            Ok(body) if status.is_success() => Ok(Ok(body)),
            Ok(problem) if problem["detail"].is_string() => Ok(Err(problem["detail"]
                .as_str()
                .unwrap_or_default()
                .to_owned())),
            _ if status == StatusCode::NO_CONTENT => Ok(Ok(Value::Null)),
            _ => anyhow::bail!(
                "{} answered {status} without a problem in JSON; is it a scihcgrl service?",
                self.url
            ),
        }
    }
}
