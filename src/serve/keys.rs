//! Reads the API keys of each role from a TOML file and the environment. No error contains a key.

use std::{collections::BTreeMap, env, fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, bail};

use crate::{
    config::Serve,
    http::{Keys, Role},
};

/// Reads the keys. Without a file and without variables, there are none.
///
/// # Errors
/// A file that cannot be read or parsed, and keys that [`Keys::new`] refuses.
pub fn read(config: &Serve) -> anyhow::Result<Keys> {
    let mut keys: BTreeMap<Role, Vec<String>> = BTreeMap::new();
    if let Some(path) = &config.keys_file {
        let name = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let mode = fs::metadata(path).map_or(0, |file| file.permissions().mode());
        // The group may read it, because Kubernetes gives the service's user access to a secret
        // through the group.
        if mode & 0o026 != 0 {
            tracing::warn!(
                "users other than its owner and group can read or change {name}; run chmod 600 {name}"
            );
        }
        // The parser's message would quote the line with the key.
        let Ok(mut table) = text.parse::<toml::Table>() else {
            bail!("{name} is not TOML; a valid line is: write = [\"KEY\"]");
        };
        for role in Role::ALL {
            let Some(value) = table.remove(role.name()) else {
                continue;
            };
            let Ok(of) = value.try_into::<Vec<String>>() else {
                bail!("{name}: `{}` is not a list of strings", role.name());
            };
            keys.entry(role).or_default().extend(of);
        }
        if let Some(other) = table.keys().next() {
            bail!("{name}: `{other}` is not a role; there are read, write and admin");
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
