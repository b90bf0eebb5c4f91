//! Filters of requests: in the query, in the body, and as labels.

use crate::{
    gallery::check_each_label,
    http::error::ApiError,
    index::{Filter, IndexError},
};

/// Maximum number of bytes of a filter in a query. A body may have a longer one.
const MAX_QUERY_BYTES: usize = 8 << 10;

/// Parses the filter of a request from its query or its body. The images that pass it also have any
/// of the labels, if there are labels.
pub(crate) fn parse_filter(
    in_query: Option<&str>,
    in_body: Option<&str>,
    labels: &[String],
) -> Result<Option<Filter>, ApiError> {
    check_each_label(labels)?;
    let text = match (in_query, in_body) {
        (Some(_), Some(_)) => {
            let detail = "the query and the body both have a `filter`; give it once, and join conditions by AND";
            return Err(ApiError::Filter(detail.to_owned()));
        }
        (Some(text), None) if text.len() > MAX_QUERY_BYTES => {
            let detail = format!(
                "the filter has {} bytes; the maximum in a query is {MAX_QUERY_BYTES}",
                text.len()
            );
            return Err(ApiError::Filter(detail));
        }
        (text, None) | (None, text) => text,
    };
    let filter = text.map(str::parse::<Filter>).transpose();
    let filter = filter.map_err(IndexError::from)?;
    Ok(match (filter, Filter::any_label(labels.to_owned())) {
        (Some(filter), Some(any_label)) => Some(filter.and(any_label)),
        (filter, any_label) => filter.or(any_label),
    })
}
