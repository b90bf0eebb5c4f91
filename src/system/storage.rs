//! A storage location as users name it: a local folder, or the URL of a bucket of S3, Google Cloud
//! or Azure. A bucket's settings come from the environment.

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

/// Environment variables with these prefixes are settings of a bucket, as the clouds' own tools
/// read them.
const SETTING_PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// The reason why a location cannot be used.
pub type LocationError = Box<dyn std::error::Error + Send + Sync>;

pub struct StorageLocation {
    pub objects: Arc<dyn ObjectStore>,
    /// The path of the location in `objects`.
    pub root: Path,
    /// The folder, if the location is a local one.
    pub folder: Option<PathBuf>,
}

impl StorageLocation {
    /// Opens a location by a folder's path or a URL. Creates a folder that does not exist.
    ///
    /// # Errors
    /// [`LocationError`] of the file system, of the URL or of the bucket's settings.
    pub fn open(location: &str) -> Result<Self, LocationError> {
        if !location.contains("://") {
            return Self::local(FilePath::new(location));
        }
        let url = Url::parse(location)?;
        match ObjectStoreScheme::parse(&url)?.0 {
            ObjectStoreScheme::Local => {
                let folder = url.to_file_path();
                Self::local(&folder.map_err(|()| "the URL does not name a folder")?)
            }
            ObjectStoreScheme::AmazonS3
            | ObjectStoreScheme::GoogleCloudStorage
            | ObjectStoreScheme::MicrosoftAzure => {
                let is_setting =
                    |name: &str| SETTING_PREFIXES.iter().any(|start| name.starts_with(start));
                // No setting has a name or value that is not UTF-8.
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
            _ => Err("this scheme is not supported; use s3, gs, az or file".into()),
        }
    }

    fn local(folder: &FilePath) -> Result<Self, LocationError> {
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
