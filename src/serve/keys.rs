//! Where a service's keys come from: a TOML file and the environment, one or two of each role.
//! Knows their form, and tells none of them; what they allow is `http`'s to know.

use std::{collections::BTreeMap, env, fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, bail};

use crate::{
    config::Serve,
    http::{Keys, Role},
};

/// Reads them; none where there are none.
///
/// # Errors
/// A file that cannot be read or is not of its form, and keys that protect nothing. No error has a key in it.
pub fn read(config: &Serve) -> anyhow::Result<Keys> {
    let mut keys: BTreeMap<Role, Vec<String>> = BTreeMap::new();
    if let Some(path) = &config.keys_file {
        let name = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let mode = fs::metadata(path).map_or(0, |file| file.permissions().mode());
        // Its group may read it: that is how Kubernetes hands a secret to who runs the service.
        if mode & 0o026 != 0 {
            tracing::warn!(
                "others than its owner and group can read {name}, or change it; chmod 600 {name}"
            );
        }
        // The parser's own message would quote the line, and the key in it.
        let Ok(mut table) = text.parse::<toml::Table>() else {
            bail!("{name} is not TOML; a line of it is for example: write = [\"KEY\"]");
        };
        for role in Role::ALL {
            let Some(value) = table.remove(role.name()) else {
                continue;
            };
            let Ok(of) = value.try_into::<Vec<String>>() else {
                bail!("{name}: `{}` is not a list of texts", role.name());
            };
            keys.entry(role).or_default().extend(of);
        }
        if let Some(other) = table.keys().next() {
            bail!("{name}: `{other}` is no role; there are read, write and admin");
        }
    }
    for role in Role::ALL {
        let name = format!("SCIHCGRL_{}_KEYS", role.name().to_uppercase());
        if let Ok(texts) = env::var(&name) {
            let texts = texts.split(',').map(|text| text.trim().to_owned());
            let texts = texts.filter(|text| !text.is_empty());
            keys.entry(role).or_default().extend(texts);
        }
    }
    Ok(Keys::new(&keys, config.requests_per_second)?)
}
