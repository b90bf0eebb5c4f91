//! Searching and encoding with a part of a picture: the result is that of the cut-out part, in
//! every body format and on the command line. `api::bad_input` has invalid parts.

use std::{fs, io::Cursor};

use base64::{Engine, prelude::BASE64_STANDARD};
use image::{ImageFormat, imageops::crop_imm};
use proptest::{
    collection, num, prop_oneof,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use reqwest::{
    RequestBuilder,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::server::{self, TestServer};

/// 48 × 32 pixels. Upright only after the EXIF orientation is applied.
const TURNED: &[u8] = include_bytes!("../../fixtures/rotated.jpg");
/// A part of it, as fractions and in pixels.
const BOX: &str = "0.25,0.5,0.5,0.25";
const PIXELS: [u32; 4] = [12, 16, 24, 8];

/// Returns the part as a PNG file.
fn cut_out() -> Vec<u8> {
    let whole = scihcgrl::image::decode_rgb(TURNED).unwrap();
    let [x, y, width, height] = PIXELS;
    let part = crop_imm(&whole, x, y, width, height).to_image();
    let mut file = Cursor::new(Vec::new());
    part.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

async fn answer(request: RequestBuilder) -> Value {
    let answer = request.send().await.unwrap();
    answer.error_for_status().unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_part_gives_the_same_result_as_the_cut_out_picture() {
    let server = TestServer::start().await;
    server.store(&["cat"], 4).await;
    let post = |path: &str| server.client.post(server.at(path));
    let whole = answer(post("/encode").body(TURNED)).await;
    let alone = answer(post("/encode").body(cut_out())).await;
    assert_ne!(whole["sketch"], alone["sketch"]);

    let path = format!("/encode?box={BOX}");
    let form = Form::new().part("image", Part::bytes(TURNED));
    let text = json!({ "image": BASE64_STANDARD.encode(TURNED) });
    for request in [
        post(&path).body(TURNED),
        post(&path).multipart(form),
        post(&path).json(&text),
        post("/encode?box=0,0,1,1").body(cut_out()),
    ] {
        let part = answer(request).await;
        assert_eq!(
            (&part["codes"], &part["sketch"]),
            (&alone["codes"], &alone["sketch"])
        );
    }
    let found = answer(post(&format!("/search?box={BOX}")).body(TURNED)).await;
    let mut expected = answer(post("/search").body(cut_out())).await;
    assert_eq!(expected["query"]["box"], Value::Null);
    expected["query"]["box"] = json!([0.25, 0.5, 0.5, 0.25]);
    assert_eq!(found["query"], expected["query"]);
    assert_eq!(found["matches"], expected["matches"]);

    let photo = server.folder.path().join("turned.jpg");
    fs::write(&photo, TURNED).unwrap();
    let search = |part: &str| {
        let mut program = server::scihcgrl();
        program.args(["search", "--json", "--url", &server.url, "--box", part]);
        program.arg(&photo).output().unwrap()
    };
    let found_by_command: Value = serde_json::from_slice(&search(BOX).stdout).unwrap();
    assert_eq!(found_by_command["matches"], expected["matches"]);
    let refused = search("-1,0,1,1");
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && stderr.contains("x of the box is -1.0"),
        "{stderr}"
    );
}

#[tokio::test]
async fn any_four_numbers_are_accepted_or_refused_with_a_reason() {
    let server = TestServer::start().await;
    let share = prop_oneof![4 => 0.0..0.6, 1 => 0.0..1e-2, 1 => num::f64::ANY];
    let four = collection::vec(share, 4);
    let mut runner = TestRunner::deterministic();
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..server::times(150, 3000) {
        let numbers = four.new_tree(&mut runner).unwrap().current();
        let text: Vec<String> = numbers.iter().map(f64::to_string).collect();
        let path = server.at(&format!("/encode?box={}", text.join(",")));
        let answer = server.client.post(path).body(TURNED).send().await.unwrap();
        let status = answer.status().as_u16();
        let found_by_command: Value = answer.json().await.unwrap();
        match status {
            200 => answered += 1,
            _ => {
                refused += 1;
                assert_eq!(
                    (status, &found_by_command["code"]),
                    (422, &json!("invalid_box")),
                    "{text:?} {found_by_command}"
                );
            }
        }
    }
    assert!(
        answered > 0 && refused > 0,
        "{answered} answered, {refused} refused"
    );
}
