//! A client of a running service: sends, waits where it is told to, and tells a refusal from a service that is not there.
//! Knows HTTP and problems; not what is asked.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::{Method, RequestBuilder, StatusCode, header::RETRY_AFTER};
use serde_json::Value;

/// How often a request is sent again to a service that is busy or starting.
const TRIES: usize = 60;

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
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
}

impl Client {
    pub fn new(service: &Service) -> Self {
        Client {
            http: reqwest::Client::new(),
            url: service.url.trim_end_matches('/').to_owned(),
            key: service.key.clone(),
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

    /// The answer, or in words why the service refuses.
    ///
    /// # Errors
    /// Where there is no such service, or it speaks otherwise than it should.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Result<Value, String>> {
        let mut tries = 0;
        loop {
            tries += 1;
            // A body that is read as it is sent cannot be sent again.
            let (now, again) = match request.try_clone() {
                Some(now) => (now, tries < TRIES),
                None => return self.answer(request.send().await).await,
            };
            let answer = now.send().await;
            let busy = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::SERVICE_UNAVAILABLE,
            ];
            match &answer {
                Ok(answer) if again && busy.contains(&answer.status()) => {
                    let wait = answer
                        .headers()
                        .get(RETRY_AFTER)
                        .and_then(|wait| wait.to_str().ok()?.parse().ok());
                    tokio::time::sleep(Duration::from_secs(wait.unwrap_or(1))).await;
                }
                _ => return self.answer(answer).await,
            }
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
