//! Ids in any script are the same at every replica.

use std::fs;

use reqwest::{Method, StatusCode};

use super::{
    harness::cluster::Cluster,
    server::{eventually, samples},
};

#[tokio::test]
async fn ids_of_any_script_are_the_same_at_every_replica() {
    let cluster = Cluster::empty();
    let [first, second] = [0, 1].map(|_| cluster.one_more("serve", &[]));
    let picture = fs::read(&samples("cat")[0]).unwrap();
    // The last two are one id, in Unicode's forms NFC and NFD.
    for (path, status) in [
        (
            "/images/%E5%86%99%E7%9C%9F%20100%25%3F%23",
            StatusCode::CREATED,
        ),
        ("/images/caf%C3%A9", StatusCode::CREATED),
        ("/images/cafe%CC%81", StatusCode::OK),
    ] {
        let put = first.client.put(first.at(path)).body(picture.clone());
        let put = put.send().await.unwrap();
        assert_eq!(put.status(), status, "{path}");
        let location = put.headers().get("location");
        let location = location.map(|location| location.to_str().unwrap().to_owned());
        let path = location.unwrap_or_else(|| "/images/caf%C3%A9".to_owned());
        let (status, image) = first.ask(Method::GET, &path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        let there = eventually("the image at the other replica", async || {
            let (status, there) = second.ask(Method::GET, &path).await;
            (status == StatusCode::OK && there == image).then_some(there)
        });
        let content = there.await["content_url"].as_str().unwrap().to_owned();
        let content = second.client.get(second.at(&content)).send().await.unwrap();
        assert_eq!(content.bytes().await.unwrap(), picture);
        // Its tag is valid at both.
        let tag = first.client.get(first.at(&path)).send().await.unwrap();
        let tag = tag.headers()["etag"].clone();
        let again = second
            .client
            .get(second.at(&path))
            .header("if-none-match", tag);
        let again = again.send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
    let (_, listed) = second.ask(Method::GET, "/images").await;
    let ids = listed["images"].as_array().unwrap().iter();
    let ids: Vec<&str> = ids.map(|image| image["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["写真 100%?#", "caf\u{e9}"], "in order of age");
}
