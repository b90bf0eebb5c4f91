//! Where the log of a gallery is, and what the gallery is: the stream, made by the first replica, and its metadata.
//! Knows NATS; not what is done with the log.

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

/// How long servers may take to be there, since all of a cluster may be starting.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(60);
/// For how long a message that is sent again is known to be the same.
const DUPLICATES: Duration = Duration::from_secs(600);
/// A connection on which nothing is heard for about twice as long is given up.
const PING: Duration = Duration::from_secs(1);

/// A gallery that replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GalleryManifest {
    /// The id of its stores, under which originals are.
    pub id: Uuid,
    /// The model that the log begins with.
    pub model: String,
    /// The numeric type that codes are made in.
    pub precision: String,
    /// The lengths of its codes.
    pub lengths: Vec<Length>,
    /// How many bytes its sketches have, if it makes any.
    pub sketch: Option<usize>,
    /// The digest of the store that the log begins with, where a service filled that alone.
    pub began_with: Option<String>,
}

/// Where a log is, and beside it the models of its gallery.
pub struct LogConnection {
    /// What speaks to it.
    pub(crate) context: Context,
    /// Under which messages are appended.
    pub(crate) subject: String,
    pub(crate) stream: String,
    models: OnceCell<ObjectStore>,
}

impl LogConnection {
    /// Connects to servers, one URL or several with commas between.
    ///
    /// # Errors
    /// [`ReplicaError::Servers`], [`Credentials`](ReplicaError::Credentials).
    pub async fn connect(
        servers: &str,
        credentials: Option<&PathBuf>,
        gallery: &str,
    ) -> Result<Self, ReplicaError> {
        let named = without_credentials(servers);
        let refused = |reason: String| ReplicaError::Servers {
            servers: named.clone(),
            reason,
        };
        let mut options = ConnectOptions::new()
            .name("scihcgrl")
            .ping_interval(PING)
            .connection_timeout(2 * PING)
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
                Err(error) => tracing::warn!(%error, servers = named, "NATS does not answer yet"),
            }
            sleep(PING).await;
        };
        // What is not acknowledged by then is sent again under the same id, perhaps to another server.
        let context = ContextBuilder::new().timeout(5 * PING).ack_timeout(PING);
        Ok(LogConnection {
            context: context.build(client),
            subject: format!("scihcgrl.{gallery}.log"),
            stream: format!("scihcgrl_{gallery}"),
            models: OnceCell::new(),
        })
    }

    /// The gallery of the log, if there is one.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`], [`NoGallery`](ReplicaError::NoGallery).
    pub async fn gallery(&self) -> Result<Option<GalleryManifest>, ReplicaError> {
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
        let found = self.patiently(find).await?;
        found.map(|stream| self.read(&stream)).transpose()
    }

    /// Begins the log of a gallery, which so many servers keep. Of several that do so at once the first one's stands, and is told.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`], [`NoGallery`](ReplicaError::NoGallery).
    pub async fn begin(
        &self,
        new: &GalleryManifest,
        replicas: usize,
    ) -> Result<GalleryManifest, ReplicaError> {
        let config = Config {
            name: self.stream.clone(),
            description: Some("The log of a gallery of scihcgrl".to_owned()),
            subjects: vec![self.subject.clone()],
            num_replicas: replicas,
            duplicate_window: DUPLICATES,
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
        self.read(&self.patiently(make).await?)
    }

    /// What becomes of it, tried for as long as servers may take to be there.
    async fn patiently<T>(
        &self,
        attempt: impl AsyncFn() -> Result<T, String>,
    ) -> Result<T, ReplicaError> {
        let began = Instant::now();
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(failed) if began.elapsed() > START_TIMEOUT => return Err(self.failed(failed)),
                Err(failed) => {
                    tracing::warn!(stream = self.stream, failed, "the log is not there yet");
                }
            }
            sleep(PING).await;
        }
    }

    fn read(&self, stream: &Stream) -> Result<GalleryManifest, ReplicaError> {
        GalleryManifest::read(&self.stream, &stream.cached_info().config.metadata)
    }

    /// The stream with its present state.
    pub(crate) async fn stream(&self) -> Result<Stream, ReplicaError> {
        let stream = self.context.get_stream(&self.stream).await;
        stream.map_err(|error| self.failed(error.to_string()))
    }

    /// The last position that the log has.
    pub(crate) async fn head(&self) -> Result<u64, ReplicaError> {
        Ok(self.stream().await?.cached_info().state.last_sequence)
    }

    /// The models that replicas have from each other, kept by as many servers as the log.
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

    /// Removes what the log has up to a position.
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

    /// As an index knows it.
    pub fn followed(&self) -> LogOrigin {
        LogOrigin {
            id: self.id,
            began_with: self.began_with.clone(),
        }
    }

    fn metadata(&self) -> HashMap<String, String> {
        let lengths: Vec<String> = self.lengths.iter().map(Length::to_string).collect();
        let of = [
            (Self::ID, Some(self.id.to_string())),
            (Self::MODEL, Some(self.model.clone())),
            (Self::PRECISION, Some(self.precision.clone())),
            (Self::LENGTHS, Some(lengths.join(","))),
            (Self::SKETCH, self.sketch.map(|bytes| bytes.to_string())),
            (Self::BEGAN_WITH, self.began_with.clone()),
        ];
        let named = of.into_iter();
        named
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    fn read(stream: &str, metadata: &HashMap<String, String>) -> Result<Self, ReplicaError> {
        let lacks = |member: &'static str| ReplicaError::NoGallery {
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

/// Servers as they may be told: without the names, passwords and tokens that stand before an `@`.
fn without_credentials(servers: &str) -> String {
    let told = servers.split(',').map(|url| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        match rest.rsplit_once('@') {
            Some((_, host)) if scheme.is_empty() => host.to_owned(),
            Some((_, host)) => format!("{}://{host}", scheme.trim_start()),
            None => url.to_owned(),
        }
    });
    told.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_urls_are_not_told() {
        for (servers, told) in [
            ("nats://a:4222", "nats://a:4222"),
            ("nats://user:secret@a:4222,b", "nats://a:4222,b"),
            ("tls://s3cret@a, nats://u:p@ss@b:1", "tls://a,nats://b:1"),
            ("user:secret@a", "a"),
        ] {
            assert_eq!(without_credentials(servers), told);
        }
    }

    #[tokio::test]
    async fn servers_that_do_not_answer_are_named_without_credentials() {
        let refused =
            LogConnection::connect("nats://user:secret@not a host", None, "gallery").await;
        let told = refused.err().unwrap().to_string();
        assert!(
            told.contains("not a host") && !told.contains("secret"),
            "{told}"
        );
    }
}
