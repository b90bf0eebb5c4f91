//! API keys, their roles and rates, and the role that each route needs. Keeps only the SHA-256 of a
//! key. `serve::keys` reads the keys.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::FromRequestParts,
    http::{Method, request},
};
use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::http::error::ApiError;

/// Wrong keys that an address may try a second before its refusals are delayed: ten.
const WRONG_KEYS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// The delay of each further refusal.
const WRONG_KEY_DELAY: Duration = Duration::from_secs(1);
/// Maximum number of addresses whose wrong keys are counted. If there are more, those that tried
/// none recently are removed.
const MAX_ADDRESSES: usize = 10_000;

/// Bytes of a key's SHA-256 that identify its caller.
const CALLER_BYTES: usize = 8;

/// What a key may do. Each role includes the roles before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Search, encode, and read what is stored.
    Read,
    /// Store, change and remove images, one by one or by a filter.
    Write,
    /// Jobs, models, snapshots and fields.
    Admin,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Role; 3] = [Role::Read, Role::Write, Role::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Write => "write",
            Role::Admin => "admin",
        }
    }

    /// Returns the role that a request needs, or none if it needs no key.
    pub(crate) fn required(method: &Method, path: &str) -> Option<Role> {
        let open = ["/", "/livez", "/readyz", "/openapi.yaml", "/docs"];
        let pages = ["/docs/", "/web/"];
        let is_open = open.contains(&path) || pages.iter().any(|page| path.starts_with(page));
        if is_open || method == Method::OPTIONS {
            return None;
        }
        Some(match path {
            // The handlers show callers without the role admin their own jobs only.
            _ if is_of_one_job(method, path) => Role::Write,
            _ if path == "/admin" || path.starts_with("/admin/") => Role::Admin,
            "/search" | "/encode" => Role::Read,
            _ if method == Method::GET || method == Method::HEAD => Role::Read,
            _ => Role::Write,
        })
    }
}

/// Returns true if a request reads, follows or cancels one job.
fn is_of_one_job(method: &Method, path: &str) -> bool {
    let Some(job) = path.strip_prefix("/admin/jobs/") else {
        return false;
    };
    let part = job.split_once('/').map(|(_, part)| part);
    match part {
        None | Some("events") => method == Method::GET || method == Method::HEAD,
        Some(part) => part == "cancel" && method == Method::POST,
    }
}

/// The sender of a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    role: Role,
    /// Identifies the key, without being enough to use or guess it. None if the service has no
    /// keys.
    key: Option<String>,
}

impl Caller {
    /// Any caller of a service without keys.
    pub(crate) const ANYONE: Caller = Caller {
        role: Role::Admin,
        key: None,
    };

    /// Returns the owner of the jobs that the caller creates. Those of the role admin have none.
    pub(crate) fn owner(&self) -> Option<String> {
        self.key.clone().filter(|_| self.role < Role::Admin)
    }

    /// Returns true if the caller may see and cancel the jobs of an owner.
    pub(crate) fn can_access_jobs_of(&self, owner: Option<&str>) -> bool {
        self.role == Role::Admin || owner.is_some() && owner == self.key.as_deref()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get().cloned();
        caller.ok_or_else(|| ApiError::internal("a route without access control needs a caller"))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("there are {found} keys of the role {}; at most two are allowed, an old and a new one", role.name())]
    TooMany { role: Role, found: usize },
    /// Easily guessed, or not possible in a header.
    #[error("a key of the role {} is not 16 to 256 visible ASCII characters", role.name())]
    Malformed { role: Role },
    #[error("the two keys of the role {} are the same", role.name())]
    Repeated { role: Role },
    /// One key of two roles would give the lesser role what the greater one may do. `role` is the
    /// second.
    #[error("a key of the role {} is also a key of another role", role.name())]
    Shared { role: Role },
}

/// The keys of a service. Without any, every request may do everything.
#[derive(Clone)]
pub struct Keys {
    keys: Arc<[Key]>,
    /// Counts wrong keys by the address that sent them.
    wrong_keys: Arc<DefaultKeyedRateLimiter<IpAddr>>,
}

/// The address that a request comes from: the client's, or that of the last proxy before this
/// service.
#[derive(Clone, Copy)]
pub struct Peer(pub IpAddr);

pub(crate) struct Key {
    pub(crate) role: Role,
    digest: [u8; 32],
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Default for Keys {
    fn default() -> Self {
        Keys {
            keys: Arc::default(),
            wrong_keys: Arc::new(RateLimiter::keyed(Quota::per_second(WRONG_KEYS_PER_SECOND))),
        }
    }
}

impl Keys {
    /// Maximum number of keys of one role: a new one is added before the old one is removed.
    const MAX_PER_ROLE: usize = 2;

    /// Checks keys and hashes them. Each may send at most `per_second` requests a second.
    ///
    /// # Errors
    /// [`KeyError`]; it names roles, never keys.
    pub fn new(
        keys: &BTreeMap<Role, Vec<String>>,
        per_second: Option<NonZeroU32>,
    ) -> Result<Self, KeyError> {
        let mut all: Vec<Key> = Vec::new();
        for (&role, texts) in keys {
            if texts.len() > Self::MAX_PER_ROLE {
                let found = texts.len();
                return Err(KeyError::TooMany { role, found });
            }
            for text in texts {
                let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
                if !visible || !(16..=256).contains(&text.len()) {
                    return Err(KeyError::Malformed { role });
                }
                let digest = Sha256::digest(text).into();
                match all.iter().find(|other| other.digest == digest) {
                    Some(other) if other.role == role => return Err(KeyError::Repeated { role }),
                    Some(_) => return Err(KeyError::Shared { role }),
                    None => {}
                }
                all.push(Key {
                    role,
                    digest,
                    limiter: per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
                });
            }
        }
        Ok(Keys {
            keys: all.into(),
            ..Keys::default()
        })
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the error for a wrong key, delayed if its address has sent many.
    pub(crate) async fn refuse_wrong(&self, peer: Option<Peer>) -> ApiError {
        if self.wrong_keys.len() > MAX_ADDRESSES {
            self.wrong_keys.retain_recent();
        }
        let is_table_full = self.wrong_keys.len() > MAX_ADDRESSES;
        let network = peer.map(|Peer(address)| match address.to_canonical() {
            // The owner of a network chooses the lower half of an IPv6 address freely.
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from(network))
            }
            IpAddr::V4(address) => IpAddr::V4(address),
        });
        match network.map(|network| is_table_full || self.wrong_keys.check_key(&network).is_err()) {
            Some(true) => {
                tokio::time::sleep(WRONG_KEY_DELAY).await;
                ApiError::WrongKeys
            }
            _ => ApiError::NoKey { was_sent: true },
        }
    }

    /// Returns the key with this text. Compares all keys, so that the time taken does not depend on
    /// which one matches.
    pub(crate) fn find(&self, text: &str) -> Option<&Key> {
        let digest = Sha256::digest(text);
        let mut found = None;
        for key in self.keys.iter() {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(key);
            }
        }
        found
    }
}

impl Key {
    /// Returns the caller who sent the key.
    pub(crate) fn caller(&self) -> Caller {
        let digest = self.digest.iter().take(CALLER_BYTES);
        Caller {
            role: self.role,
            key: Some(digest.map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    /// Counts a request against the key's rate.
    pub(crate) fn check_rate(&self) -> Result<(), ApiError> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        limiter.check().map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            // Retry-After is in whole seconds.
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            ApiError::RateLimited(Duration::from_secs_f64(seconds))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(of: &[(Role, &[&str])]) -> Result<Keys, KeyError> {
        let texts = |texts: &&[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let map = of.iter().map(|(role, of)| (*role, texts(of))).collect();
        Keys::new(&map, None)
    }

    #[test]
    fn each_request_needs_the_role_of_its_route() {
        let required = |method: &str, path| Role::required(&method.parse().unwrap(), path);
        for (method, path, role) in [
            ("GET", "/livez", None),
            ("GET", "/docs/index.css", None),
            ("GET", "/web/main.js", None),
            ("OPTIONS", "/images/1", None),
            ("POST", "/search", Some(Role::Read)),
            ("GET", "/images/1/content", Some(Role::Read)),
            ("GET", "/metrics", Some(Role::Read)),
            ("PUT", "/images/1", Some(Role::Write)),
            ("POST", "/nowhere", Some(Role::Write)),
            ("DELETE", "/images", Some(Role::Write)),
            ("GET", "/fields", Some(Role::Read)),
            ("PUT", "/admin/fields/price", Some(Role::Admin)),
            ("GET", "/admin/jobs", Some(Role::Admin)),
            ("POST", "/admin/jobs", Some(Role::Admin)),
            ("GET", "/admin/jobs/1", Some(Role::Write)),
            ("HEAD", "/admin/jobs/1/events", Some(Role::Write)),
            ("POST", "/admin/jobs/1/cancel", Some(Role::Write)),
            ("DELETE", "/admin/jobs/1", Some(Role::Admin)),
            ("GET", "/admin/jobs/1/cancel", Some(Role::Admin)),
            ("GET", "/admin/jobs/1/2/events", Some(Role::Admin)),
        ] {
            assert_eq!(required(method, path), role, "{method} {path}");
        }
    }

    #[test]
    fn only_an_admin_sees_the_jobs_of_others() {
        let (one, other, admin) = (
            "0123456789abcdef0",
            "0123456789abcdef1",
            "0123456789abcdef2",
        );
        let known = keys(&[(Role::Write, &[one, other]), (Role::Admin, &[admin])]).unwrap();
        let [one, other, admin] = [one, other, admin].map(|key| known.find(key).unwrap().caller());
        let owner = one.owner();
        assert!(one.can_access_jobs_of(owner.as_deref()));
        assert!(!other.can_access_jobs_of(owner.as_deref()));
        for owner in [owner.as_deref(), None] {
            assert!(admin.can_access_jobs_of(owner) && admin.owner().is_none());
            assert!(Caller::ANYONE.can_access_jobs_of(owner));
        }
        assert!(!one.can_access_jobs_of(None));
    }

    #[test]
    fn only_the_two_keys_of_a_role_are_found() {
        let (old, new) = ("an-old-key-of-some-length", "a-new-key-of-some-length");
        let known = keys(&[(Role::Write, &[old, new])]).unwrap();
        for key in [old, new] {
            assert_eq!(known.find(key).unwrap().role, Role::Write);
        }
        for other in ["", "an-old-key-of-some-lengt", "an-old-key-of-some-length "] {
            assert!(known.find(other).is_none());
        }
    }

    #[test]
    fn unsafe_keys_are_refused_without_being_shown() {
        let refusal = |of: &[(Role, &[&str])]| keys(of).err().unwrap().to_string();
        let good = "0123456789abcdef";
        assert!(refusal(&[(Role::Read, &["short"])]).contains("16 to 256"));
        assert!(refusal(&[(Role::Read, &["with a space in between"])]).contains("visible"));
        let same = refusal(&[(Role::Read, &[good, good])]);
        assert_eq!(same, "the two keys of the role read are the same");
        let twice = refusal(&[(Role::Read, &[good]), (Role::Admin, &[good])]);
        assert_eq!(
            twice,
            "a key of the role admin is also a key of another role"
        );
        let three = [
            "0123456789abcdef0",
            "0123456789abcdef1",
            "0123456789abcdef2",
        ];
        assert!(refusal(&[(Role::Read, &three)]).contains("there are 3 keys"));
        assert!(!refusal(&[(Role::Read, &[good, good])]).contains(good));
    }
}
