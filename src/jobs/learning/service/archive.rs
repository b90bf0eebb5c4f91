//! An archive of class folders that was uploaded with a job: it is unpacked and checked before the
//! job is created, and then kept in the job's folder.

use std::{
    fs::{self, File},
    io::{BufReader, ErrorKind, Read, Write},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use crate::{
    jobs::error::JobError,
    system::disk,
    train::{
        TrainError,
        data::{self, Collection},
    },
};

/// Its name in the job's folder.
pub(crate) const ARCHIVE: &str = "archive.tar";
/// Maximum size of an archive in bytes, both packed and unpacked.
pub const MAX_BYTES: u64 = 16 << 30;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const CHUNK_BYTES: usize = 1 << 20;

/// Lists the images of an unpacked archive by class.
///
/// # Errors
/// [`JobError::Archive`].
pub(crate) fn list(archive: &Path) -> Result<Collection, JobError> {
    let listed = data::list(archive).map_err(|error| match error {
        TrainError::Data { reason, .. } => JobError::Archive { reason },
        other => JobError::Archive {
            reason: other.to_string(),
        },
    })?;
    if listed.classes.is_empty() {
        Err(JobError::Archive {
            reason: "it has no folder with images; a folder is a class".to_owned(),
        })
    } else {
        Ok(listed)
    }
}

/// Moves an uploaded archive into a job's folder, durably; unpacks it if it is gzipped. Checks that
/// it has a folder for each of the labels.
pub(crate) fn take_upload(upload: &Path, folder: &Path, labels: &[String]) -> Result<(), JobError> {
    let failed = |source| JobError::File {
        path: folder.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let archive = folder.join(ARCHIVE);
    let mut first = Vec::new();
    let mut file = File::open(upload).map_err(failed)?;
    (&mut file)
        .take(2)
        .read_to_end(&mut first)
        .map_err(failed)?;
    if first == GZIP_MAGIC {
        unpack(upload, folder)?;
    } else {
        fs::rename(upload, &archive).map_err(failed)?;
    }
    let listed = list(&archive)?;
    if let Some(label) = labels.iter().find(|label| !listed.classes.contains(label)) {
        let classes = listed.classes.join("', '");
        return Err(JobError::Archive {
            reason: format!("it has no folder '{label}'; it has '{classes}'"),
        });
    }
    let durable = File::open(&archive).and_then(|file| file.sync_all());
    let durable = durable.and_then(|()| File::open(folder)?.sync_all());
    durable.map_err(failed)
}

fn unpack(packed: &Path, folder: &Path) -> Result<(), JobError> {
    let path = folder.join(ARCHIVE);
    let failed = |source| JobError::File {
        path: path.clone(),
        source,
    };
    let packed = File::open(packed).map_err(failed)?;
    let mut unpacked = MultiGzDecoder::new(BufReader::new(packed));
    let mut file = File::create(&path).map_err(failed)?;
    let (mut chunk, mut bytes) = (vec![0; CHUNK_BYTES], 0);
    loop {
        let read = match unpacked.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(JobError::Archive {
                    reason: format!("it cannot be unpacked: {error}"),
                });
            }
        };
        bytes += read as u64;
        if bytes > MAX_BYTES {
            return Err(JobError::Archive {
                reason: format!("it has more than {MAX_BYTES} bytes when unpacked"),
            });
        }
        disk::check_free_space(folder, read as u64)?;
        file.write_all(&chunk[..read]).map_err(failed)?;
    }
}
