//! Who works on what: a claim is renewed for as long as its holder lives, and goes by itself when that dies.
//! Knows time; not what is claimed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::jetstream::kv;
use bytes::Bytes;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use uuid::Uuid;

use crate::replica::board::{SharedRecords, SharedRecordsError, put};

/// How long a claim stands that is not renewed. Servers that elect a leader meanwhile take up to nine seconds.
pub(crate) const LIFE: Duration = Duration::from_secs(15);
/// How often it is renewed.
const BEAT: Duration = Duration::from_secs(2);
/// After how long without an answer its holder takes it for lost, before another can have it.
const LOST: Duration = Duration::from_secs(12);

/// What nobody else holds, until it is lost or released.
pub struct Claim {
    claims: kv::Store,
    key: String,
    revision: Arc<AtomicU64>,
    lost: watch::Receiver<bool>,
    renewal: JoinHandle<()>,
}

impl SharedRecords {
    /// Claims something; nothing where another holds it.
    ///
    /// # Errors
    /// [`SharedRecordsError::Unavailable`].
    pub async fn claim(&self, key: &str) -> Result<Option<Claim>, SharedRecordsError> {
        let holder = Bytes::from(Uuid::new_v4().to_string());
        let began = Instant::now();
        let revision = match put(&self.claims, key, holder.clone(), 0, Duration::ZERO).await {
            Ok(revision) => Arc::new(AtomicU64::new(revision)),
            Err(SharedRecordsError::Taken { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (tell, lost) = watch::channel(false);
        let (claims, of, now) = (self.claims.clone(), key.to_owned(), revision.clone());
        let renewal = tokio::spawn(async move {
            renew(&claims, &of, &holder, &now, began).await;
            tracing::warn!(claim = of, "what was held here is another's to take");
            tell.send_replace(true);
        });
        Ok(Some(Claim {
            claims: self.claims.clone(),
            key: key.to_owned(),
            revision,
            lost,
            renewal,
        }))
    }
}

/// Returns when the claim is lost.
async fn renew(
    claims: &kv::Store,
    key: &str,
    holder: &Bytes,
    revision: &AtomicU64,
    mut renewed: Instant,
) {
    loop {
        sleep(BEAT).await;
        // A process that was stopped finds out first.
        if renewed.elapsed() > LOST {
            return;
        }
        let began = Instant::now();
        let after = revision.load(Ordering::Acquire);
        match put(claims, key, holder.clone(), after, Duration::ZERO).await {
            Ok(now) => {
                revision.store(now, Ordering::Release);
                renewed = began;
            }
            Err(SharedRecordsError::Taken { .. }) => return,
            Err(error) => tracing::debug!(%error, key, "a claim is not renewed yet"),
        }
    }
}

impl Claim {
    /// Whether another may hold it.
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Returns when another may hold it.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // Nobody renews it any more where the sender is gone.
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Lets another have it at once.
    pub async fn release(&self) {
        self.renewal.abort();
        let revision = self.revision.load(Ordering::Acquire);
        let deleted = self
            .claims
            .delete_expect_revision(&self.key, Some(revision));
        if let Err(error) = deleted.await {
            tracing::debug!(%error, key = self.key, "a claim goes by itself");
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}
