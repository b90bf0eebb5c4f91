//! Claims on work: a claim is renewed for as long as its holder lives, and expires by itself when
//! the holder dies.

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

use crate::replica::shared_records::{SharedRecords, SharedRecordsError, put};

/// A claim expires if it is not renewed for this time. NATS takes up to nine seconds to elect a
/// leader.
pub(crate) const CLAIM_LIFETIME: Duration = Duration::from_secs(15);
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);
/// The holder considers a claim lost if it cannot renew it for this time, which is shorter than the
/// claim's lifetime.
const LOST_AFTER: Duration = Duration::from_secs(12);

/// A claim that nobody else holds, until it is lost or released.
pub struct Claim {
    claims: kv::Store,
    key: String,
    revision: Arc<AtomicU64>,
    lost: watch::Receiver<bool>,
    renewal: JoinHandle<()>,
}

impl SharedRecords {
    /// Claims a key. Returns none if another worker holds it.
    ///
    /// # Errors
    /// [`SharedRecordsError::Unavailable`].
    pub async fn claim(&self, key: &str) -> Result<Option<Claim>, SharedRecordsError> {
        let holder = Bytes::from(Uuid::new_v4().to_string());
        let began = Instant::now();
        let revision = match put(&self.claims, key, holder.clone(), 0, Duration::ZERO).await {
            Ok(revision) => Arc::new(AtomicU64::new(revision)),
            Err(SharedRecordsError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (lost_sender, lost) = watch::channel(false);
        let (claims, of, now) = (self.claims.clone(), key.to_owned(), revision.clone());
        let renewal = tokio::spawn(async move {
            renew(&claims, &of, &holder, &now, began).await;
            tracing::warn!(claim = of, "lost the claim");
            lost_sender.send_replace(true);
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
        sleep(RENEWAL_INTERVAL).await;
        // A process that was suspended notices the loss here, before it renews anything.
        if renewed.elapsed() > LOST_AFTER {
            return;
        }
        let began = Instant::now();
        let after = revision.load(Ordering::Acquire);
        match put(claims, key, holder.clone(), after, Duration::ZERO).await {
            Ok(now) => {
                revision.store(now, Ordering::Release);
                renewed = began;
            }
            Err(SharedRecordsError::Conflict { .. }) => return,
            Err(error) => {
                tracing::debug!(%error, key, "cannot renew the claim; retrying soon");
            }
        }
    }
}

impl Claim {
    /// Returns true if another worker may hold the claim.
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Waits until another worker may hold the claim.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // If the sender is gone, nothing renews the claim.
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Releases the claim, so that another worker can claim the key at once.
    pub async fn release(&self) {
        self.renewal.abort();
        let revision = self.revision.load(Ordering::Acquire);
        let deleted = self
            .claims
            .delete_expect_revision(&self.key, Some(revision));
        if let Err(error) = deleted.await {
            tracing::debug!(%error, key = self.key, "cannot release the claim; it expires by itself");
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}
