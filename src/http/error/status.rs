//! The table of statuses: what a client gets for each kind of error. `classify` says of which kind
//! an error is.

use axum::http::StatusCode as S;

/// A kind of error, as clients see it. Status and code are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub status: S,
    /// The problem's code.
    pub code: &'static str,
    /// The seconds after which a retry may succeed.
    pub retry_after: Option<u64>,
}

impl Kind {
    // 400
    pub const MALFORMED: Kind = kind(S::BAD_REQUEST, "malformed_request", None);
    pub const EMPTY_BODY: Kind = kind(S::BAD_REQUEST, "empty_body", None);
    pub const MALFORMED_BASE64: Kind = kind(S::BAD_REQUEST, "malformed_base64", None);
    pub const INVALID_FILTER: Kind = kind(S::BAD_REQUEST, "invalid_filter", None);
    pub const MISSING_FILTER: Kind = kind(S::BAD_REQUEST, "missing_filter", None);
    pub const UNDECLARED_FIELD: Kind = kind(S::BAD_REQUEST, "undeclared_field", None);
    pub const MANY_KEYWORDS: Kind = kind(S::BAD_REQUEST, "too_many_keywords", None);
    // 401
    pub const NO_KEY: Kind = kind(S::UNAUTHORIZED, "no_key", None);
    // 403
    pub const WRONG_ROLE: Kind = kind(S::FORBIDDEN, "wrong_role", None);
    pub const FOREIGN_PAGE: Kind = kind(S::FORBIDDEN, "foreign_page", None);
    pub const FOREIGN_HOST: Kind = kind(S::FORBIDDEN, "foreign_host", None);
    // 404
    pub const NO_IMAGE: Kind = kind(S::NOT_FOUND, "image_not_found", None);
    pub const NO_MODEL: Kind = kind(S::NOT_FOUND, "model_not_found", None);
    pub const NO_FIELD: Kind = kind(S::NOT_FOUND, "field_not_found", None);
    pub const NO_JOB: Kind = kind(S::NOT_FOUND, "job_not_found", None);
    pub const NO_GROUPS: Kind = kind(S::NOT_FOUND, "duplicates_not_found", None);
    pub const NO_GROUP: Kind = kind(S::NOT_FOUND, "group_not_found", None);
    pub const NO_SNAPSHOT: Kind = kind(S::NOT_FOUND, "snapshot_not_found", None);
    pub const NO_ROUTE: Kind = kind(S::NOT_FOUND, "route_not_found", None);
    // 405
    pub const METHOD: Kind = kind(S::METHOD_NOT_ALLOWED, "method_not_allowed", None);
    // 408
    pub const BODY_TOO_SLOW: Kind = kind(S::REQUEST_TIMEOUT, "body_too_slow", None);
    // 409
    pub const MODEL_IN_USE: Kind = kind(S::CONFLICT, "model_in_use", None);
    pub const FIELD_NOT_BUILT: Kind = kind(S::CONFLICT, "field_not_built", None);
    pub const FIELD_CONFLICT: Kind = kind(S::CONFLICT, "field_conflict", None);
    pub const NO_THRESHOLDS: Kind = kind(S::CONFLICT, "no_thresholds", None);
    pub const SNAPSHOT_IN_PROGRESS: Kind = kind(S::CONFLICT, "snapshot_in_progress", None);
    pub const JOB_NOT_OVER: Kind = kind(S::CONFLICT, "job_not_over", None);
    pub const KEY_REUSED: Kind = kind(S::CONFLICT, "idempotency_key_reused", None);
    // 412
    pub const PRECONDITION: Kind = kind(S::PRECONDITION_FAILED, "precondition_failed", None);
    pub const COUNT: Kind = kind(S::PRECONDITION_FAILED, "unexpected_count", None);
    // 413
    pub const BODY_TOO_LARGE: Kind = kind(S::PAYLOAD_TOO_LARGE, "body_too_large", None);
    // 415
    pub const MEDIA_TYPE: Kind = kind(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", None);
    pub const IMAGE_FORMAT: Kind = kind(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_image", None);

    /// 422, for a well-formed but wrong part of a request. The code names the part.
    pub const fn invalid(code: &'static str) -> Kind {
        kind(S::UNPROCESSABLE_ENTITY, code, None)
    }

    /// 429, for a key or an address.
    pub const fn rate_limited(seconds: u64) -> Kind {
        kind(S::TOO_MANY_REQUESTS, "rate_limited", Some(seconds))
    }

    // 429, for the whole service
    pub const MEMORY_FULL: Kind = kind(S::TOO_MANY_REQUESTS, "memory_full", Some(1));
    pub const QUEUE_FULL: Kind = kind(S::TOO_MANY_REQUESTS, "queue_full", Some(1));
    // 500
    pub const INTERNAL: Kind = kind(S::INTERNAL_SERVER_ERROR, "internal", None);
    // 503
    pub const TOO_LATE: Kind = kind(S::SERVICE_UNAVAILABLE, "too_late", Some(1));
    pub const BEHIND: Kind = kind(S::SERVICE_UNAVAILABLE, "behind", Some(1));
    pub const NO_LOG: Kind = kind(S::SERVICE_UNAVAILABLE, "log_unavailable", Some(1));
    pub const NO_ORIGINALS: Kind = kind(S::SERVICE_UNAVAILABLE, "originals_unavailable", Some(5));
    pub const UNAVAILABLE: Kind = kind(S::SERVICE_UNAVAILABLE, "unavailable", Some(5));
    // 507
    pub const DISK_FULL: Kind = kind(S::INSUFFICIENT_STORAGE, "disk_full", Some(5));
}

const fn kind(status: S, code: &'static str, retry_after: Option<u64>) -> Kind {
    Kind {
        status,
        code,
        retry_after,
    }
}
