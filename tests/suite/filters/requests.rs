//! A filter in the query, in JSON and in a form selects the same images; labels add to it.

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::json;

use super::{UPRIGHT, build, ids, send, store, with_query};
use crate::server::TestServer;

#[tokio::test]
async fn a_filter_may_be_in_the_query_the_json_or_the_form() {
    let server = TestServer::start().await;
    build(&server, "price", "number").await;
    for price in 1..=6 {
        store(&server, &format!("at-{price}"), &json!({ "price": price })).await;
    }
    let url = server.at("/images/at-2");
    let label = server
        .client
        .patch(url)
        .json(&json!({ "labels": ["sale"] }));
    assert_eq!(send(label).await.0, 200);

    let filter = "price <= 3";
    let search =
        |parameters: &[(&str, &str)]| with_query(&server, Method::POST, "/search", parameters);
    let form = || {
        let image = Part::bytes(UPRIGHT);
        Form::new().text("filter", filter).part("image", image)
    };
    // The maximum number of values, and longer than the filter of a query may be.
    let long = format!("{filter} OR id IN [{}]", ["'a'"; 10_000].join(","));
    let labels = [("label", "sale"), ("label", "none")];
    for (request, expected) in [
        (search(&[("filter", filter)]).body(UPRIGHT), 3),
        (
            search(&[("filter", filter)]).json(&json!({ "id": "at-6" })),
            3,
        ),
        (
            search(&[]).json(&json!({ "id": "at-6", "filter": filter })),
            3,
        ),
        (
            search(&[]).json(&json!({ "id": "at-6", "filter": long })),
            3,
        ),
        (search(&[]).multipart(form()), 3),
        (search(&labels).multipart(form()), 1),
        (search(&labels).json(&json!({ "id": "at-6" })), 1),
        (search(&[("filter", "price > 100")]).body(UPRIGHT), 0),
        (
            search(&[("filter", filter), ("limit", "1")]).body(UPRIGHT),
            3,
        ),
    ] {
        let (status, found) = send(request).await;
        assert_eq!(status, 200, "{found}");
        assert_eq!(found["total"], expected, "{found}");
    }
    let (_, page) = send(with_query(
        &server,
        Method::GET,
        "/images",
        &[("filter", "price > 1"), ("label", "sale")],
    ))
    .await;
    assert_eq!(ids(&page["images"]), ["at-2"]);
}
