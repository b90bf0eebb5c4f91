//! Where jobs keep what they work on: a folder each, which goes when the job is over, however the service ended.
//! Knows names and files; not what is in them.

use std::{fs, io, path::PathBuf};

use uuid::Uuid;

use crate::jobs::{JobError, Jobs, learning::fine_tune};

impl Jobs {
    /// Removes what the service was killed before it could: uploads that no job was made of, and folders of jobs that are over.
    pub(crate) fn tidy(&self) -> Result<(), JobError> {
        let folder = &self.0.config.folder;
        let failed = |source| fine_tune::failed(folder, source);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let job = match name.and_then(|name| Uuid::try_parse(name).ok()) {
                Some(id) => self.0.store.get(id)?,
                None => None,
            };
            let removed = match path.is_dir() {
                _ if job.is_some_and(|job| !job.state.is_over()) => continue,
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.map_err(failed)?;
        }
        Ok(())
    }

    /// Where a job keeps what it needs.
    pub(crate) fn folder(&self, id: Uuid) -> PathBuf {
        self.0.config.folder.join(id.to_string())
    }

    /// Where an archive may be written to before a job is made of it; no other is.
    pub fn upload(&self) -> PathBuf {
        self.0
            .config
            .folder
            .join(format!("{}.part", Uuid::new_v4()))
    }

    /// Removes what a job that is over worked on, here and where other workers would have found it.
    pub(crate) async fn clear_all(&self, id: Uuid) {
        self.clear(id).await;
        if self.0.store.is_shared()
            && let Err(error) = self.0.gallery.originals().clear(&id.to_string()).await
        {
            tracing::warn!(%id, %error, "files of a job are left beside the originals");
        }
    }

    /// Removes what a job worked on here.
    pub(crate) async fn clear(&self, id: Uuid) {
        let folder = self.folder(id);
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(folder)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%id, %error, "the folder of a job is left until the next start");
        }
    }
}
