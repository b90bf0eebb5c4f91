//! The folder of each job, and the handover of its files to other workers through the storage of
//! originals.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tokio::sync::watch;
use uuid::Uuid;

use crate::jobs::{
    context::Context,
    error::{self, JobError, failed},
    service::Jobs,
};

/// The packed files, until they are sent or unpacked.
const PACKED_FILE: &str = "handover.part";

impl Jobs {
    /// Removes the leftovers of a killed service: uploads without a job, and folders of jobs that
    /// have ended.
    pub(crate) fn remove_leftovers(&self) -> Result<(), JobError> {
        let folder = &self.0.config.folder;
        let failed = |source| error::failed(folder, source);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let job = match name.and_then(|name| Uuid::try_parse(name).ok()) {
                Some(id) => self.0.store.get(id)?,
                None => None,
            };
            if job.is_some_and(|job| !job.state.is_over()) {
                continue;
            }
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(failed)?;
        }
        Ok(())
    }

    /// The folder of a job.
    pub(crate) fn folder(&self, id: Uuid) -> PathBuf {
        self.0.config.folder.join(id.to_string())
    }

    /// Returns a new path for an archive that is uploaded before its job is created.
    pub fn upload_path(&self) -> PathBuf {
        self.0
            .config
            .folder
            .join(format!("{}.part", Uuid::new_v4()))
    }

    /// Removes the local files and the handed-over files of a job that has ended.
    pub(crate) async fn clear_all(&self, id: Uuid) {
        self.clear(id).await;
        if self.0.store.is_shared()
            && let Err(error) = self.0.gallery.originals().clear(&id.to_string()).await
        {
            tracing::warn!(%id, %error, "cannot remove the files of a job next to the originals");
        }
    }

    /// Removes the folder of a job.
    pub(crate) async fn clear(&self, id: Uuid) {
        let folder = self.folder(id);
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(folder)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%id, %error, "cannot remove the folder of a job; the next start removes it");
        }
    }
}

impl Context {
    /// Packs the given files and folders of the job's folder, if they exist, and stores them under
    /// a name for the next worker. Does nothing if the service is alone.
    pub async fn hand_over(&self, name: &str, files: &[&'static str]) -> Result<(), JobError> {
        if !self.jobs.0.store.is_shared() {
            return Ok(());
        }
        self.check()?;
        let (folder, files) = (self.folder(), files.to_vec());
        let packed = tokio::task::spawn_blocking(move || {
            let path = folder.join(PACKED_FILE);
            let packed = pack(&folder, &files, &path);
            packed
                .map_err(|source| failed(&path, source))
                .map(|()| path)
        });
        let packed = &packed.await.map_err(|_| JobError::Panicked)??;
        let (originals, name) = (self.gallery().originals(), &self.object_name(name));
        let send = || async move { Ok(originals.send(name, packed).await?) };
        let sent = self.retry_originals(send).await;
        let _ = fs::remove_file(packed);
        sent
    }

    /// Unpacks the files that an earlier worker handed over under a name into the job's folder.
    /// Returns false if there are none.
    pub async fn take_over(&self, name: &str) -> Result<bool, JobError> {
        if !self.jobs.0.store.is_shared() {
            return Ok(false);
        }
        let folder = self.folder();
        fs::create_dir_all(&folder).map_err(|source| failed(&folder, source))?;
        let packed = folder.join(PACKED_FILE);
        let (originals, name, to) = (self.gallery().originals(), &self.object_name(name), &packed);
        let fetch = || async move { Ok(originals.fetch(name, to).await?) };
        if !self.retry_originals(fetch).await? {
            return Ok(false);
        }
        let unpacked = tokio::task::spawn_blocking(move || {
            let mut archive = tar::Archive::new(File::open(&packed)?);
            archive.unpack(&folder)?;
            fs::remove_file(packed)
        });
        let unpacked = unpacked.await.map_err(|_| JobError::Panicked)?;
        unpacked.map_err(|source| failed(&self.folder(), source))?;
        Ok(true)
    }

    /// Hands over the latest files whenever `due` changes. Logs a failure and continues. Never
    /// returns.
    pub async fn hand_over_when_due(
        &self,
        name: &str,
        files: &[&'static str],
        mut due: watch::Receiver<u64>,
    ) {
        while due.changed().await.is_ok() {
            if let Err(error) = self.hand_over(name, files).await {
                tracing::warn!(id = %self.id, %error, "cannot hand over the state of the job; another worker would resume from an earlier state");
            }
        }
        std::future::pending::<()>().await;
    }

    fn object_name(&self, name: &str) -> String {
        format!("{}/{name}", self.id)
    }
}

fn pack(folder: &Path, files: &[&str], to: &Path) -> io::Result<()> {
    // All files are opened before any is read, in this order, because each may be replaced at any
    // time and an earlier one must not be newer than a later one.
    let mut opened = Vec::new();
    for name in files {
        match File::open(folder.join(name)) {
            Ok(object_name) => opened.push((name, object_name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let mut tar = tar::Builder::new(io::BufWriter::new(File::create(to)?));
    for (name, mut object_name) in opened {
        if object_name.metadata()?.is_dir() {
            tar.append_dir_all(name, folder.join(name))?;
        } else {
            tar.append_file(name, &mut object_name)?;
        }
    }
    tar.into_inner()?.into_inner()?.sync_all()
}
