//! A client of a running service: it sends, retries if the service asks for it, and distinguishes a refusal from a service that does not answer.
//! Knows HTTP and problems; not what is asked.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Method, RequestBuilder, StatusCode, header::RETRY_AFTER};
use serde_json::Value;

/// How often a request is sent again to a service that is busy or starting.
const TRIES: usize = 60;
/// How often it is said that the service cannot do it just now.
const REMIND: Duration = Duration::from_secs(60);

/// Which service is spoken to.
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
    /// A key of the service, where it has any. Better given as the variable, for flags are seen by every user of a machine.
    #[arg(long, global = true, env = "SCIHCGRL_KEY", hide_env_values = true)]
    key: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
    /// When it was last said that the service cannot do it just now.
    said: Arc<Mutex<Option<Instant>>>,
}

impl Client {
    pub fn new(service: &Service) -> Self {
        Client {
            http: reqwest::Client::new(),
            url: service.url.trim_end_matches('/').to_owned(),
            key: service.key.clone(),
            said: Arc::default(),
        }
    }

    /// A request to a path of the service.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// The answer, or in words why the service refuses. Waits for a service that is busy, and for one that cannot do it just now: one that is
    /// starting, whose disk is full, or whose originals are away.
    ///
    /// # Errors
    /// If there is no such service, it speaks otherwise than it should, or it could not do it for too long.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Result<Value, String>> {
        let mut tries = 0;
        loop {
            tries += 1;
            // A body that is read as it is sent cannot be sent again.
            let Some(now) = request.try_clone() else {
                return self.answer(request.send().await).await;
            };
            let answer = now.send().await;
            let status = answer
                .as_ref()
                .map_or(StatusCode::OK, |answer| answer.status());
            let busy = status == StatusCode::TOO_MANY_REQUESTS && tries < TRIES;
            let unable = [
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::INSUFFICIENT_STORAGE,
            ]
            .contains(&status);
            let answer = match answer {
                Ok(answer) if busy || unable => answer,
                answer => return self.answer(answer).await,
            };
            let wait = answer.headers().get(RETRY_AFTER);
            let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
            if unable {
                let problem: Value = answer.json().await.unwrap_or_default();
                let detail = problem["detail"].as_str().unwrap_or(status.as_str());
                if tries >= TRIES {
                    bail!("{} was asked {tries} times, and says: {detail}", self.url);
                }
                self.say(detail);
            }
            tokio::time::sleep(Duration::from_secs(wait.unwrap_or(1))).await;
        }
    }

    /// Says why it waits, once and then once a minute, however many requests wait.
    fn say(&self, detail: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= REMIND) {
            tracing::warn!("{} says: {detail}; waiting for it", self.url);
            *said = Some(Instant::now());
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
            _ => anyhow::bail!("{} answers {status}, not as this service does", self.url),
        }
    }
}
