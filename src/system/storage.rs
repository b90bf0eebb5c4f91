//! A place for files: a local folder, or a bucket of S3, Google Cloud or Azure, by what a user writes for it.
//! Knows URLs and where a bucket's settings come from; not what is kept there.

use std::{
    env, fs,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use object_store::{
    ObjectStore, ObjectStoreScheme, local::LocalFileSystem, parse_url_opts, path::Path,
};
use url::Url;

use crate::system::tls;

/// Of the environment's variables, those with these beginnings are settings of a bucket, as the clouds' own tools read them.
const SETTINGS: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Why a text names no place that can be used.
pub type PlaceError = Box<dyn std::error::Error + Send + Sync>;

/// See the module.
pub struct StorageLocation {
    /// What keeps the files.
    pub objects: Arc<dyn ObjectStore>,
    /// Under which path there.
    pub root: Path,
    /// Where it is a local folder, which.
    pub folder: Option<PathBuf>,
}

impl StorageLocation {
    /// The place that a folder's path or a URL names; a folder is made if it is not there.
    ///
    /// # Errors
    /// [`PlaceError`], of the file system, of the URL or of the bucket's settings.
    pub fn open(place: &str) -> Result<Self, PlaceError> {
        if !place.contains("://") {
            return Self::local(FilePath::new(place));
        }
        let url = Url::parse(place)?;
        match ObjectStoreScheme::parse(&url)?.0 {
            ObjectStoreScheme::Local => {
                let folder = url.to_file_path();
                Self::local(&folder.map_err(|()| "it is not the URL of a folder")?)
            }
            ObjectStoreScheme::AmazonS3
            | ObjectStoreScheme::GoogleCloudStorage
            | ObjectStoreScheme::MicrosoftAzure => {
                let is_setting = |name: &str| SETTINGS.iter().any(|start| name.starts_with(start));
                // What is not UTF-8 is no setting.
                let named = env::vars_os()
                    .filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
                let settings = named
                    .filter(|(name, _)| is_setting(name))
                    .filter_map(|(name, value)| Some((name, value.into_string().ok()?)));
                tls::install();
                let (objects, root) = parse_url_opts(&url, settings)?;
                Ok(StorageLocation {
                    objects: objects.into(),
                    root,
                    folder: None,
                })
            }
            _ => Err("nothing is kept by this kind of URL".into()),
        }
    }

    fn local(folder: &FilePath) -> Result<Self, PlaceError> {
        fs::create_dir_all(folder)?;
        let objects = LocalFileSystem::new_with_prefix(folder)?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(StorageLocation {
            objects: Arc::new(objects),
            root: Path::default(),
            folder: Some(folder.canonicalize()?),
        })
    }
}
