//! API keys: who may do what, and how often. A key is known here by its SHA-256 alone and is never written anywhere.
//! Knows roles and routes by their paths; not where keys come from, nor what a route does.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::http::Method;
use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::http::error::ApiError;

/// How many wrong keys a second an address may try before it has to wait: ten.
const TRIES: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// How long each one past that waits for its refusal.
const SLOWED: Duration = Duration::from_secs(1);
/// How many addresses with wrong keys are remembered before those that tried none of late are forgotten.
const ADDRESSES: usize = 10_000;

/// What a key allows; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Search, encode, and read what is stored.
    Read,
    /// Store, change and remove images.
    Write,
    /// Jobs, models and snapshots.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Role; 3] = [Role::Read, Role::Write, Role::Admin];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Write => "write",
            Role::Admin => "admin",
        }
    }

    /// What a request needs; none where it needs no key.
    pub(crate) fn needed(method: &Method, path: &str) -> Option<Role> {
        let open = ["/", "/livez", "/readyz", "/openapi.yaml", "/docs"];
        let pages = ["/docs/", "/web/"];
        let is_open = open.contains(&path) || pages.iter().any(|page| path.starts_with(page));
        if is_open || method == Method::OPTIONS {
            return None;
        }
        Some(match path {
            _ if path == "/admin" || path.starts_with("/admin/") => Role::Admin,
            "/search" | "/encode" => Role::Read,
            _ if method == Method::GET || method == Method::HEAD => Role::Read,
            _ => Role::Write,
        })
    }
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// More than a rotation needs.
    #[error("there are {found} keys of the role {}; there may be two, the old one and the new", role.name())]
    TooMany {
        /// Of which role.
        role: Role,
        /// How many.
        found: usize,
    },
    /// One that is easily guessed, or that no header carries.
    #[error("a key of the role {} is not 16 to 256 visible ASCII characters", role.name())]
    Form {
        /// Of which role.
        role: Role,
    },
    /// The same twice for one role, which is no rotation.
    #[error("the two keys of the role {} are the same", role.name())]
    Same {
        /// Of which role.
        role: Role,
    },
    /// The same for two roles, which would make the lesser one worth the greater.
    #[error("a key of the role {} is that of another role too", role.name())]
    Twice {
        /// The second role.
        role: Role,
    },
}

/// The keys of a service. Without any, every request may do everything.
#[derive(Clone)]
pub struct Keys {
    known: Arc<[Key]>,
    /// Wrong keys by the address that tried them.
    wrong: Arc<DefaultKeyedRateLimiter<IpAddr>>,
}

/// The address that a request comes from: the caller's, or that of the last proxy before this service.
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
            known: Arc::default(),
            wrong: Arc::new(RateLimiter::keyed(Quota::per_second(TRIES))),
        }
    }
}

impl Keys {
    /// The most keys of one role, so that a new one is known before the old one goes.
    const MOST: usize = 2;

    /// From texts, each good for at most so many requests a second.
    ///
    /// # Errors
    /// [`KeyError`], which names roles and no keys.
    pub fn new(
        keys: &BTreeMap<Role, Vec<String>>,
        per_second: Option<NonZeroU32>,
    ) -> Result<Self, KeyError> {
        let mut all: Vec<Key> = Vec::new();
        for (&role, texts) in keys {
            if texts.len() > Self::MOST {
                let found = texts.len();
                return Err(KeyError::TooMany { role, found });
            }
            for text in texts {
                let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
                if !visible || !(16..=256).contains(&text.len()) {
                    return Err(KeyError::Form { role });
                }
                let digest = Sha256::digest(text).into();
                match all.iter().find(|other| other.digest == digest) {
                    Some(other) if other.role == role => return Err(KeyError::Same { role }),
                    Some(_) => return Err(KeyError::Twice { role }),
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
            known: all.into(),
            ..Keys::default()
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The error for a wrong key. If its address tried many, it comes a second later and says so.
    pub(crate) async fn refuse(&self, peer: Option<Peer>) -> ApiError {
        if self.wrong.len() > ADDRESSES {
            self.wrong.retain_recent();
        }
        let is_crowded = self.wrong.len() > ADDRESSES;
        let network = peer.map(|Peer(address)| match address.to_canonical() {
            // Half of such an address is whatever its owner likes.
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address => address,
        });
        match network.map(|network| is_crowded || self.wrong.check_key(&network).is_err()) {
            Some(true) => {
                tokio::time::sleep(SLOWED).await;
                ApiError::WrongKeys
            }
            _ => ApiError::NoKey { given: true },
        }
    }

    /// The key that a request carries. All are compared, so that time tells nothing of which is like it.
    pub(crate) fn find(&self, text: &str) -> Option<&Key> {
        let digest = Sha256::digest(text);
        let mut found = None;
        for key in self.known.iter() {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(key);
            }
        }
        found
    }
}

impl Key {
    pub(crate) fn take(&self) -> Result<(), ApiError> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        limiter.check().map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            // Whole seconds, as Retry-After has them.
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
    fn requests_need_the_least_role_that_fits() {
        let needed = |method: &str, path| Role::needed(&method.parse().unwrap(), path);
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
            ("GET", "/admin/jobs", Some(Role::Admin)),
        ] {
            assert_eq!(needed(method, path), role, "{method} {path}");
        }
    }

    #[test]
    fn two_keys_of_a_role_are_found_and_no_others() {
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
    fn keys_that_protect_nothing_are_refused_without_being_told() {
        let said = |of: &[(Role, &[&str])]| keys(of).err().unwrap().to_string();
        let good = "0123456789abcdef";
        assert!(said(&[(Role::Read, &["short"])]).contains("16 to 256"));
        assert!(said(&[(Role::Read, &["with a space in between"])]).contains("visible"));
        let same = said(&[(Role::Read, &[good, good])]);
        assert_eq!(same, "the two keys of the role read are the same");
        let twice = said(&[(Role::Read, &[good]), (Role::Admin, &[good])]);
        assert_eq!(twice, "a key of the role admin is that of another role too");
        let three = [
            "0123456789abcdef0",
            "0123456789abcdef1",
            "0123456789abcdef2",
        ];
        assert!(said(&[(Role::Read, &three)]).contains("there are 3 keys"));
        assert!(!said(&[(Role::Read, &[good, good])]).contains(good));
    }
}
