//! The registry: checkpoints in a folder, each under its id. A checkpoint appears only when it is
//! complete and checked.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::UNIX_EPOCH,
};

use uuid::Uuid;

use crate::model::{Card, ModelError, checkpoint};

const ID_DIGITS: usize = 12;

/// Why the registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The folder cannot be read or written.
    #[error("the folder of models {}: {source}", path.display())]
    Folder {
        /// The folder or a file in it.
        path: PathBuf,
        source: io::Error,
    },
    #[error("reading the model panicked")]
    Panicked,
    /// The file is not a checkpoint.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// A folder of checkpoints.
#[derive(Clone, Debug)]
pub struct Registry {
    folder: PathBuf,
}

/// A checkpoint of the registry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The first 12 hexadecimal digits of its file's SHA-256.
    pub id: String,
    pub card: Card,
    /// The size of its file.
    pub bytes: u64,
    /// When it was added here, in milliseconds since 1970.
    pub created_at_ms: u64,
    pub path: PathBuf,
}

impl Registry {
    /// Opens the registry in a folder, which is created if it does not exist.
    ///
    /// # Errors
    /// [`RegistryError::Folder`].
    pub fn open(folder: PathBuf) -> Result<Self, RegistryError> {
        let failed = |source| RegistryError::Folder {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        for file in fs::read_dir(&folder).map_err(failed)? {
            let path = file.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "part")
            {
                // A killed process left it.
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        Ok(Registry { folder })
    }

    /// Adds a file if it is a checkpoint that can be loaded. A checkpoint that is already here
    /// stays as it is.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn add(&self, file: &Path) -> Result<Entry, RegistryError> {
        let (_, id) = describe(file)?;
        self.add_with_id(file, id)
    }

    /// Adds the file of a checkpoint that is known to have this id. Copies the file. The copy is
    /// complete and durable before it gets its name.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn add_with_id(&self, file: &Path, id: String) -> Result<Entry, RegistryError> {
        let path = self.path(&id);
        if !path.exists() {
            let temp_path = self.temp_path();
            // Not `fs::copy`, which also copies the file's permissions.
            let copied = File::create(&temp_path)
                .and_then(|mut to| {
                    io::copy(&mut File::open(file)?, &mut to)?;
                    to.sync_all()
                })
                .and_then(|()| fs::rename(&temp_path, &path))
                .and_then(|()| File::open(&self.folder)?.sync_all());
            copied.map_err(|source| {
                let _ = fs::remove_file(&temp_path);
                RegistryError::Folder {
                    path: path.clone(),
                    source,
                }
            })?;
        }
        entry(id, path)
    }

    /// Returns a new path in the folder, to write a checkpoint to before it is [added](Self::add).
    pub fn temp_path(&self) -> PathBuf {
        self.folder.join(format!("{}.part", Uuid::new_v4()))
    }

    /// Returns the checkpoint with an id, if there is one.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn get(&self, id: &str) -> Result<Option<Entry>, RegistryError> {
        let path = self.path(id);
        if is_id(id) && path.exists() {
            entry(id.to_owned(), path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Returns all checkpoints, oldest first. Skips files that are not checkpoints.
    ///
    /// # Errors
    /// [`RegistryError::Folder`].
    pub fn list(&self) -> Result<Vec<Entry>, RegistryError> {
        let failed = |source| RegistryError::Folder {
            path: self.folder.clone(),
            source,
        };
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.folder).map_err(failed)? {
            let path = file.map_err(failed)?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str());
            let Some(id) = id.filter(|id| is_id(id) && self.path(id) == path) else {
                continue;
            };
            match entry(id.to_owned(), path.clone()) {
                Ok(entry) => entries.push(entry),
                Err(error) => tracing::error!(%error, "skipping a file in the folder of models"),
            }
        }
        entries.sort_by(|a, b| (a.created_at_ms, &a.id).cmp(&(b.created_at_ms, &b.id)));
        Ok(entries)
    }

    /// Removes the checkpoint with an id. Returns false if there was none.
    ///
    /// # Errors
    /// [`RegistryError::Folder`].
    pub fn remove(&self, id: &str) -> Result<bool, RegistryError> {
        if !is_id(id) {
            return Ok(false);
        }
        let path = self.path(id);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(RegistryError::Folder { path, source }),
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.safetensors"))
    }
}

/// Loads a checkpoint and returns its card and id. Runs on a separate thread, because the OpenMP
/// threads that loading starts end with that thread.
///
/// # Errors
/// [`RegistryError::Model`], and [`RegistryError::Panicked`].
pub fn describe(file: &Path) -> Result<(Card, String), RegistryError> {
    let described = thread::scope(|scope| scope.spawn(|| checkpoint::describe(file)).join());
    Ok(described.map_err(|_| RegistryError::Panicked)??)
}

/// Returns true if a text has the form of an id. Such a text can only name a file in the folder.
pub fn is_id(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == ID_DIGITS && text.bytes().all(digit)
}

fn entry(id: String, path: PathBuf) -> Result<Entry, RegistryError> {
    let card = checkpoint::read_card(&path)?;
    let failed = |source| RegistryError::Folder {
        path: path.clone(),
        source,
    };
    let metadata = fs::metadata(&path).map_err(failed)?;
    let modified = metadata.modified().map_err(failed)?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Entry {
        id,
        card,
        bytes: metadata.len(),
        created_at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_a_checkpoint_leaves_the_temporary_file_of_another_alone() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path().join("models")).unwrap();
        let other = registry.folder.join("0123456789ab.part");
        fs::write(&other, "half of it").unwrap();
        let model = Path::new(crate::config::DEFAULT_MODEL);
        let entry = registry
            .add_with_id(model, "0123456789ab".to_owned())
            .unwrap();
        assert_eq!(entry.bytes, fs::metadata(model).unwrap().len());
        assert_eq!(fs::read(other).unwrap(), b"half of it");
    }
}
