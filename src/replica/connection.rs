//! The connection to the log of a gallery, and the gallery's manifest, which is in the metadata of
//! the log's stream. The first replica creates the stream.

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use async_nats::{
    ConnectOptions,
    jetstream::{
        Context, ErrorCode,
        context::{ContextBuilder, GetStreamErrorKind},
        object_store::{self, ObjectStore},
        stream::{Compression, Config, Stream},
    },
};
use tokio::{sync::OnceCell, time::sleep};
use uuid::Uuid;

use crate::{code::Length, index::LogOrigin, replica::ReplicaError};

/// How long NATS may take to answer at the start, because its whole cluster may be starting.
pub(crate) const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the log remembers the id of a message, to drop a second message with the same id.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(10);
/// How often the client pings the server. It closes a connection on which nothing arrives for about
/// twice as long.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The properties of a gallery that all its replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GalleryManifest {
    /// The id of its stores, under which its originals are kept.
    pub id: Uuid,
    /// The id of the model that the log begins with.
    pub model: String,
    /// The numeric type that codes are made in.
    pub precision: String,
    /// The lengths of its codes.
    pub lengths: Vec<Length>,
    /// The size of its sketches in bytes, if it has any.
    pub sketch: Option<usize>,
    /// The digest of the store that the log begins with, if a service filled it before.
    pub began_with: Option<String>,
}

/// A connection to a log and to the models of its gallery.
pub struct LogConnection {
    pub(crate) context: Context,
    /// The subject of the log's messages.
    pub(crate) subject: String,
    pub(crate) stream: String,
    models: OnceCell<ObjectStore>,
}

impl LogConnection {
    /// Connects to NATS servers, given as one URL or several separated by commas.
    ///
    /// # Errors
    /// [`ReplicaError::Servers`], [`Credentials`](ReplicaError::Credentials).
    pub async fn connect(
        servers: &str,
        credentials: Option<&PathBuf>,
        gallery: &str,
    ) -> Result<Self, ReplicaError> {
        let shown = without_credentials(servers);
        let refused = |reason: String| ReplicaError::Servers {
            servers: shown.clone(),
            reason,
        };
        let mut options = ConnectOptions::new()
            .name("scihcgrl")
            .ping_interval(PING_INTERVAL)
            .connection_timeout(2 * PING_INTERVAL)
            .reconnect_delay_callback(|tries| Duration::from_millis(50 * tries.min(20) as u64));
        if let Some(path) = credentials {
            let read = options.credentials_file(path).await;
            options = read.map_err(|source| ReplicaError::Credentials { source })?;
        }
        let urls: Result<Vec<async_nats::ServerAddr>, _> =
            servers.split(',').map(|url| url.trim().parse()).collect();
        let urls = urls.map_err(|error: std::io::Error| refused(error.to_string()))?;
        let began = Instant::now();
        let client = loop {
            match options.clone().connect(&urls[..]).await {
                Ok(client) => break client,
                Err(error) if began.elapsed() > START_TIMEOUT => {
                    return Err(refused(error.to_string()));
                }
                Err(error) => {
                    tracing::warn!(%error, servers = shown, "NATS does not answer yet; retrying");
                }
            }
            sleep(RETRY_DELAY).await;
        };
        // A message that is not acknowledged in this time is sent again with the same id, perhaps
        // to another server.
        let context = ContextBuilder::new()
            .timeout(5 * PING_INTERVAL)
            .ack_timeout(PING_INTERVAL);
        Ok(LogConnection {
            context: context.build(client),
            subject: format!("scihcgrl.{gallery}.log"),
            stream: format!("scihcgrl_{gallery}"),
            models: OnceCell::new(),
        })
    }

    /// Returns the manifest of the log's gallery, if there is a log.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`], [`NotALog`](ReplicaError::NotALog).
    pub async fn manifest(&self) -> Result<Option<GalleryManifest>, ReplicaError> {
        let find = async || {
            let found = self.context.get_stream(&self.stream).await;
            match found.map_err(|error| (error.kind(), error)) {
                Ok(stream) => Ok(Some(stream)),
                Err((GetStreamErrorKind::JetStream(error), _))
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                Err((_, error)) => Err(error.to_string()),
            }
        };
        let found = self.retry_until_available(find).await?;
        found.map(|stream| self.read(&stream)).transpose()
    }

    /// Creates the log of a gallery on `replicas` servers and returns its manifest. If several
    /// replicas create it at once, the manifest of the first one applies to all.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`], [`NotALog`](ReplicaError::NotALog).
    pub async fn create(
        &self,
        new: &GalleryManifest,
        replicas: usize,
    ) -> Result<GalleryManifest, ReplicaError> {
        let config = Config {
            name: self.stream.clone(),
            description: Some("The log of a gallery of scihcgrl".to_owned()),
            subjects: vec![self.subject.clone()],
            num_replicas: replicas,
            duplicate_window: DUPLICATE_WINDOW,
            compression: Some(Compression::S2),
            metadata: new.metadata(),
            ..Config::default()
        };
        let make = async || match self.context.get_stream(&self.stream).await {
            Ok(stream) => Ok(stream),
            Err(_) => {
                let made = self.context.create_stream(config.clone()).await;
                made.map_err(|error| error.to_string())
            }
        };
        self.read(&self.retry_until_available(make).await?)
    }

    /// Retries until the attempt succeeds or [`START_TIMEOUT`] has passed.
    async fn retry_until_available<T>(
        &self,
        attempt: impl AsyncFn() -> Result<T, String>,
    ) -> Result<T, ReplicaError> {
        let began = Instant::now();
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(failed) if began.elapsed() > START_TIMEOUT => return Err(self.failed(failed)),
                Err(failed) => {
                    tracing::warn!(
                        stream = self.stream,
                        failed,
                        "cannot open the log yet; retrying"
                    );
                }
            }
            sleep(RETRY_DELAY).await;
        }
    }

    fn read(&self, stream: &Stream) -> Result<GalleryManifest, ReplicaError> {
        GalleryManifest::read(&self.stream, &stream.cached_info().config.metadata)
    }

    /// Returns the stream with its current state.
    pub(crate) async fn stream(&self) -> Result<Stream, ReplicaError> {
        let stream = self.context.get_stream(&self.stream).await;
        stream.map_err(|error| self.failed(error.to_string()))
    }

    /// Returns the last position of the log.
    pub(crate) async fn head(&self) -> Result<u64, ReplicaError> {
        Ok(self.stream().await?.cached_info().state.last_sequence)
    }

    /// Returns the object store of models, which is on as many servers as the log. Creates it if
    /// necessary.
    pub(crate) async fn models(&self) -> Result<&ObjectStore, ReplicaError> {
        let make = async || {
            let config = object_store::Config {
                bucket: format!("{}_models", self.stream),
                num_replicas: self.stream().await?.cached_info().config.num_replicas,
                ..object_store::Config::default()
            };
            let made = match self.context.get_object_store(&config.bucket).await {
                Ok(there) => Ok(there),
                Err(_) => self.context.create_object_store(config).await,
            };
            made.map_err(|error| self.failed(error.to_string()))
        };
        self.models.get_or_try_init(make).await
    }

    /// Deletes the log up to a position, inclusive.
    pub(crate) async fn trim(&self, position: u64) -> Result<(), ReplicaError> {
        let stream = self.stream().await?;
        let purged = stream.purge().sequence(position + 1).await;
        purged.map_err(|error| self.failed(error.to_string()))?;
        Ok(())
    }

    pub(crate) fn failed(&self, reason: String) -> ReplicaError {
        ReplicaError::Stream {
            stream: self.stream.clone(),
            reason,
        }
    }
}

impl GalleryManifest {
    const ID: &str = "scihcgrl.gallery";
    const MODEL: &str = "scihcgrl.model";
    const PRECISION: &str = "scihcgrl.precision";
    const LENGTHS: &str = "scihcgrl.lengths";
    const SKETCH: &str = "scihcgrl.sketch";
    const BEGAN_WITH: &str = "scihcgrl.began-with";

    /// Returns the origin of the log, as the index stores it.
    pub fn log_origin(&self) -> LogOrigin {
        LogOrigin {
            id: self.id,
            began_with: self.began_with.clone(),
        }
    }

    fn metadata(&self) -> HashMap<String, String> {
        let lengths: Vec<String> = self.lengths.iter().map(Length::to_string).collect();
        let members = [
            (Self::ID, Some(self.id.to_string())),
            (Self::MODEL, Some(self.model.clone())),
            (Self::PRECISION, Some(self.precision.clone())),
            (Self::LENGTHS, Some(lengths.join(","))),
            (Self::SKETCH, self.sketch.map(|bytes| bytes.to_string())),
            (Self::BEGAN_WITH, self.began_with.clone()),
        ];
        members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    fn read(stream: &str, metadata: &HashMap<String, String>) -> Result<Self, ReplicaError> {
        let lacks = |member: &'static str| ReplicaError::NotALog {
            stream: stream.to_owned(),
            member,
        };
        let text = |member: &'static str| metadata.get(member).ok_or_else(|| lacks(member));
        let lengths = text(Self::LENGTHS)?.split(',').map(str::parse);
        let sketch = metadata.get(Self::SKETCH).map(|bytes| bytes.parse());
        Ok(GalleryManifest {
            id: text(Self::ID)?.parse().map_err(|_| lacks(Self::ID))?,
            model: text(Self::MODEL)?.clone(),
            precision: text(Self::PRECISION)?.clone(),
            lengths: lengths
                .collect::<Result<_, _>>()
                .map_err(|_| lacks(Self::LENGTHS))?,
            sketch: sketch.transpose().map_err(|_| lacks(Self::SKETCH))?,
            began_with: metadata.get(Self::BEGAN_WITH).cloned(),
        })
    }
}

/// Removes names, passwords and tokens, which come before an `@`, from the URLs of servers.
fn without_credentials(servers: &str) -> String {
    let shown = servers.split(',').map(|url| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        match rest.rsplit_once('@') {
            Some((_, host)) if scheme.is_empty() => host.to_owned(),
            Some((_, host)) => format!("{}://{host}", scheme.trim_start()),
            None => url.to_owned(),
        }
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_urls_are_not_shown() {
        for (servers, shown) in [
            ("nats://a:4222", "nats://a:4222"),
            ("nats://user:secret@a:4222,b", "nats://a:4222,b"),
            ("tls://s3cret@a, nats://u:p@ss@b:1", "tls://a,nats://b:1"),
            ("user:secret@a", "a"),
        ] {
            assert_eq!(without_credentials(servers), shown);
        }
    }

    #[tokio::test]
    async fn servers_that_do_not_answer_are_named_without_credentials() {
        let refused =
            LogConnection::connect("nats://user:secret@not a host", None, "gallery").await;
        let text = refused.err().unwrap().to_string();
        assert!(
            text.contains("not a host") && !text.contains("secret"),
            "{text}"
        );
    }
}
