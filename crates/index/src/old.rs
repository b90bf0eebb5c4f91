//! Stores of schema 1 and 2, which cannot be turned into one of today in place: read image by image, in order of age, to be stored anew.
//! Knows their keys and values as migrations/ describes them; writes nothing, and knows nothing of where images are stored then.

mod first;
mod second;

use std::path::Path;

use super::{
    damage::Damage,
    error::IndexError,
    generation::Generation,
    key::Key,
    migrate::{self, Schema},
    open,
    record::{ImageId, Times, WholeImage},
    replace,
};

/// A store of an earlier schema.
pub struct Old {
    db: sled::Db,
    schema: u32,
    generation: Generation,
}

impl Old {
    /// The old store in a folder; none where there is no store, or one that is opened as it is.
    ///
    /// # Errors
    /// As opening an index.
    pub fn open(folder: &Path, cache_bytes: u64) -> Result<Option<Self>, IndexError> {
        replace::finish(folder)?;
        if !folder.join("db").exists() {
            return Ok(None);
        }
        let db = open::open(folder, cache_bytes)?;
        let Schema::Old(schema) = migrate::find(&db)? else {
            return Ok(None);
        };
        let value = db.get(Key::Generation.to_bytes())?;
        let corrupt = |why: String| Damage {
            what: "the active generation".to_owned(),
            why,
        };
        let value = value.ok_or_else(|| corrupt("it is missing".to_owned()))?;
        let generation: Generation =
            serde_json::from_slice(&value).map_err(|error| corrupt(error.to_string()))?;
        Ok(Some(Old {
            db,
            schema,
            generation,
        }))
    }

    /// The version of its layout.
    pub fn schema(&self) -> u32 {
        self.schema
    }

    /// Which model made its codes, and how.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The images of the first page from a number on, and the page to go on from; none where there is none.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where any of it is damaged: what is stored anew has to be whole. [`IndexError::Store`].
    pub fn page(&self, from: u64) -> Result<Option<(Vec<WholeImage>, u64)>, IndexError> {
        match self.schema {
            1 => first::page(&self.db, &self.generation, from),
            _ => second::page(&self.db, &self.generation, from),
        }
    }
}

fn corrupt(what: String, why: impl ToString) -> IndexError {
    let why = why.to_string();
    Damage { what, why }.into()
}
