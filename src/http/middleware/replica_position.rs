//! Lets a client read its own writes from any replica: a request can wait for a position of the
//! replication log, and each answer has the replica's position.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::{
    http::{error::ApiError, state::AppState},
    replica::LogStatus,
};

/// Response header of a replica: the position up to which it has applied the log.
pub(crate) const POSITION_HEADER: &str = "scihcgrl-position";
/// Response header of a replica: the number of writes that it is known to be behind.
pub(crate) const LAG_HEADER: &str = "scihcgrl-lag";
/// Request header: the position that a replica must have applied before it answers.
pub(crate) const AFTER_HEADER: &str = "scihcgrl-after";
/// Maximum time that a request waits for the position that it names.
const POSITION_TIMEOUT: Duration = Duration::from_secs(5);

/// Delays a request until this replica has applied the position that the caller asks for, and adds
/// the replica's position and lag to the answer.
pub(crate) async fn wait_for_position(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(replica) = &state.parts().replica else {
        return Ok(next.run(request).await);
    };
    if let Some(after) = request.headers().get(AFTER_HEADER) {
        let position = after.to_str().ok().and_then(|text| text.parse().ok());
        let position = position.ok_or_else(|| {
            let detail = format!(
                "{AFTER_HEADER} is not a position; send the number that {POSITION_HEADER} had"
            );
            ApiError::Invalid("invalid_parameter", detail)
        })?;
        if !replica.wait_for_position(position, POSITION_TIMEOUT).await {
            let position_here = replica.log_status().position;
            return Err(ApiError::ReplicaBehind {
                position,
                position_here,
            });
        }
    }
    let before = replica.generation_epoch();
    let mut answer = next.run(request).await;
    let LogStatus { position, lag, .. } = replica.log_status();
    // An answer made during a change of models may be of either model, and so has no position.
    if before == replica.generation_epoch() && before.is_multiple_of(2) {
        answer
            .headers_mut()
            .insert(POSITION_HEADER, position.into());
    }
    answer.headers_mut().insert(LAG_HEADER, lag.into());
    Ok(answer)
}
