//! Fine-tuning separates classes: the codes of their images come near their hash centres.

use reqwest::Method;
use serde_json::{Value, json};

use super::{create, gallery, quick, server::TestServer};

/// Counts the images of these classes whose code is nearer to their own hash centre than to the
/// others.
async fn nearest_to_own_centre(
    server: &TestServer,
    model: &Value,
    classes: &[&str],
    each: usize,
) -> usize {
    let bits = |code: &Value| u64::from_str_radix(code.as_str().unwrap(), 16).unwrap();
    let (_, model) = server
        .ask(
            Method::GET,
            &format!("/admin/models/{}", model.as_str().unwrap()),
        )
        .await;
    let names = model["card"]["classes"].as_array().unwrap();
    let centre = |class: &str| {
        let place = names.iter().position(|name| name == class).unwrap();
        bits(&model["card"]["centers"]["48"][place])
    };
    let mut right = 0;
    for &class in classes {
        for number in 0..each {
            let path = format!("/images/{class}-{number}");
            let (_, image) = server.ask(Method::GET, &path).await;
            let code = bits(&image["codes"]["48"]);
            let nearest = classes
                .iter()
                .min_by_key(|of| (code ^ centre(of)).count_ones());
            right += usize::from(nearest == Some(&class));
        }
    }
    right
}

/// The model has random weights, so any separation was learned.
#[tokio::test]
async fn a_job_learns_to_separate_its_classes() {
    let classes = ["cat", "ship"];
    let server = gallery(&classes, 12).await;
    let body = quick(json!({
        "labels": classes, "warm_up_epochs": 60, "train_backbone": false, "replay": 0, "activate": "always", "augment": 0,
    }));
    let job = create(&server, &body).await;
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let activation = server.wait_for_end(&job["result"]["activation"]).await;
    assert_eq!(activation["state"], "succeeded", "{activation}");
    let right = nearest_to_own_centre(&server, &job["result"]["model"], &classes, 12).await;
    assert!(right >= 18, "{right} of 24");
}
