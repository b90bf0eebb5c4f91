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
        Context,
        context::ContextBuilder,
        object_store::{self, ObjectStore},
        stream::{Compression, Config, Stream},
    },
};
use tokio::{sync::OnceCell, time::sleep};
use uuid::Uuid;

use super::ReplicaError;
use crate::code::Length;

/// How long servers may take to be there, since all of a cluster may be starting.
const START: Duration = Duration::from_secs(60);
/// For how long a message that is sent again is known to be the same.
const DUPLICATES: Duration = Duration::from_secs(600);
/// A connection on which nothing is heard for about twice as long is given up.
const PING: Duration = Duration::from_secs(1);

/// A gallery that replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gallery {
    /// The id of its stores, under which originals are.
    pub id: Uuid,
    /// The model that the log begins with.
    pub model: String,
    /// The numeric type that codes are made in.
    pub precision: String,
    /// The lengths of its codes.
    pub lengths: Vec<Length>,
}

/// Where a log is, and beside it the models of its gallery.
pub struct Place {
    /// What speaks to it.
    pub(super) context: Context,
    /// Under which messages are appended.
    pub(super) subject: String,
    stream: String,
    models: OnceCell<ObjectStore>,
}

impl Place {
    /// Connects to servers, one URL or several with commas between.
    ///
    /// # Errors
    /// [`ReplicaError::Servers`], [`Credentials`](ReplicaError::Credentials).
    pub async fn connect(
        servers: &str,
        credentials: Option<&PathBuf>,
        gallery: &str,
    ) -> Result<Self, ReplicaError> {
        let refused = |reason: String| ReplicaError::Servers {
            servers: servers.to_owned(),
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
                Err(error) if began.elapsed() > START => return Err(refused(error.to_string())),
                Err(error) => tracing::warn!(%error, servers, "NATS does not answer yet"),
            }
            sleep(PING).await;
        };
        // What is not acknowledged by then is sent again under the same id, perhaps to another server.
        let context = ContextBuilder::new().timeout(5 * PING).ack_timeout(PING);
        Ok(Place {
            context: context.build(client),
            subject: format!("scihcgrl.{gallery}.log"),
            stream: format!("scihcgrl_{gallery}"),
            models: OnceCell::new(),
        })
    }

    /// The gallery of the log; where there is none yet, the one that is given, whose log is kept by so many servers.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`], [`NoGallery`](ReplicaError::NoGallery).
    pub async fn gallery(&self, new: &Gallery, replicas: usize) -> Result<Gallery, ReplicaError> {
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
        let began = Instant::now();
        loop {
            // Of several that make it at once the first one's stands.
            let made = match self.context.get_stream(&self.stream).await {
                Ok(stream) => Ok(stream),
                Err(_) => self.context.create_stream(config.clone()).await,
            };
            let failed = match made {
                Ok(mut stream) => match stream.info().await {
                    Ok(info) => return Gallery::read(&self.stream, &info.config.metadata),
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            if began.elapsed() > START {
                return Err(self.failed(failed));
            }
            tracing::warn!(stream = self.stream, failed, "the log is not there yet");
            sleep(PING).await;
        }
    }

    /// The stream with its present state.
    pub(super) async fn stream(&self) -> Result<Stream, ReplicaError> {
        let stream = self.context.get_stream(&self.stream).await;
        stream.map_err(|error| self.failed(error.to_string()))
    }

    /// The last position that the log has.
    pub(super) async fn head(&self) -> Result<u64, ReplicaError> {
        Ok(self.stream().await?.cached_info().state.last_sequence)
    }

    /// The models that replicas have from each other, kept by as many servers as the log.
    pub(super) async fn models(&self) -> Result<&ObjectStore, ReplicaError> {
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
    pub(super) async fn trim(&self, position: u64) -> Result<(), ReplicaError> {
        let stream = self.stream().await?;
        let purged = stream.purge().sequence(position + 1).await;
        purged.map_err(|error| self.failed(error.to_string()))?;
        Ok(())
    }

    pub(super) fn failed(&self, reason: String) -> ReplicaError {
        ReplicaError::Stream {
            stream: self.stream.clone(),
            reason,
        }
    }
}

impl Gallery {
    const ID: &str = "scihcgrl.gallery";
    const MODEL: &str = "scihcgrl.model";
    const PRECISION: &str = "scihcgrl.precision";
    const LENGTHS: &str = "scihcgrl.lengths";

    fn metadata(&self) -> HashMap<String, String> {
        let lengths: Vec<String> = self.lengths.iter().map(Length::to_string).collect();
        let of = [
            (Self::ID, self.id.to_string()),
            (Self::MODEL, self.model.clone()),
            (Self::PRECISION, self.precision.clone()),
            (Self::LENGTHS, lengths.join(",")),
        ];
        of.map(|(name, value)| (name.to_owned(), value)).into()
    }

    fn read(stream: &str, metadata: &HashMap<String, String>) -> Result<Self, ReplicaError> {
        let lacks = |member: &'static str| ReplicaError::NoGallery {
            stream: stream.to_owned(),
            member,
        };
        let text = |member: &'static str| metadata.get(member).ok_or_else(|| lacks(member));
        let lengths = text(Self::LENGTHS)?.split(',').map(str::parse);
        Ok(Gallery {
            id: text(Self::ID)?.parse().map_err(|_| lacks(Self::ID))?,
            model: text(Self::MODEL)?.clone(),
            precision: text(Self::PRECISION)?.clone(),
            lengths: lengths
                .collect::<Result<_, _>>()
                .map_err(|_| lacks(Self::LENGTHS))?,
        })
    }
}
