//! What jobs work on: a folder each, and what a worker leaves for the next one.

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

/// The packed files while they are written and sent.
const PACKED: &str = "handover.part";

impl Jobs {
    /// Removes what the service was killed before it could: uploads that no job was made of, and folders of jobs that are over.
    pub(crate) fn tidy(&self) -> Result<(), JobError> {
        let folder = &self.0.config.folder;
        let failed = |source| error::failed(folder, source);
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

impl Context {
    /// Lays files and folders of the job's folder where the next worker finds them, those that are there, in place of what lay there by this
    /// name. A service alone has no other worker.
    pub async fn hand_over(&self, name: &str, files: &[&'static str]) -> Result<(), JobError> {
        if !self.jobs.0.store.is_shared() {
            return Ok(());
        }
        self.check()?;
        let (folder, files) = (self.folder(), files.to_vec());
        let packed = tokio::task::spawn_blocking(move || {
            let to = folder.join(PACKED);
            let packed = pack(&folder, &files, &to);
            packed.map_err(|source| failed(&to, source)).map(|()| to)
        });
        let packed = &packed.await.map_err(|_| JobError::Panicked)??;
        let (originals, name) = (self.gallery().originals(), &self.file(name));
        let send = || async move { Ok(originals.send(name, packed).await?) };
        let sent = self.retry_originals(send).await;
        let _ = fs::remove_file(packed);
        sent
    }

    /// Unpacks what an earlier worker left by a name into the job's folder, and tells whether there is any.
    pub async fn take_over(&self, name: &str) -> Result<bool, JobError> {
        if !self.jobs.0.store.is_shared() {
            return Ok(false);
        }
        let folder = self.folder();
        fs::create_dir_all(&folder).map_err(|source| failed(&folder, source))?;
        let packed = folder.join(PACKED);
        let (originals, name, to) = (self.gallery().originals(), &self.file(name), &packed);
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

    /// Hands files over whenever it is told to, the latest of them; what fails is tried with the next. It never ends by itself.
    pub async fn keep_handing_over(
        &self,
        name: &str,
        files: &[&'static str],
        mut due: watch::Receiver<u64>,
    ) {
        while due.changed().await.is_ok() {
            if let Err(error) = self.hand_over(name, files).await {
                tracing::warn!(id = %self.id, %error, "the next worker would go on from an earlier state");
            }
        }
        std::future::pending().await
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.id)
    }
}

fn pack(folder: &Path, files: &[&str], to: &Path) -> io::Result<()> {
    // All are opened before any is read: each may be replaced at any time, and the first is never newer than those behind it.
    let mut opened = Vec::new();
    for name in files {
        match File::open(folder.join(name)) {
            Ok(file) => opened.push((name, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let mut tar = tar::Builder::new(io::BufWriter::new(File::create(to)?));
    for (name, mut file) in opened {
        match file.metadata()?.is_dir() {
            true => tar.append_dir_all(name, folder.join(name))?,
            false => tar.append_file(name, &mut file)?,
        }
    }
    tar.into_inner()?.into_inner()?.sync_all()
}
