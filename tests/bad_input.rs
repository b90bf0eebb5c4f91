//! What a service must survive: broken, hostile and mistaken requests, each refused in words, and odd pictures that are right.
//! Knows HTTP only; one server meets every case, and has to answer as well after them as before.

mod server;

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{
    Client, RequestBuilder, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const UPRIGHT: &[u8] = include_bytes!("fixtures/upright.jpg");
const LIMIT: usize = 20 << 20;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("fixtures/", $name)).as_slice()
    };
}

/// A request that is wrong, and how the answer has to say so.
struct Case {
    what: &'static str,
    request: RequestBuilder,
    status: u16,
    code: &'static str,
    detail: &'static str,
}

fn case(
    what: &'static str,
    request: RequestBuilder,
    (status, code): (u16, &'static str),
    detail: &'static str,
) -> Case {
    Case {
        what,
        request,
        status,
        code,
        detail,
    }
}

/// Paths on a server, by method.
struct Api<'a> {
    url: &'a str,
    client: &'a Client,
}

impl Api<'_> {
    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    fn put(&self, path: &str) -> RequestBuilder {
        self.client.put(format!("{}{path}", self.url)).body(UPRIGHT)
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    fn search(&self, parameters: &str) -> RequestBuilder {
        self.post(&format!("/search?{parameters}")).body(UPRIGHT)
    }

    fn form(&self, path: &str, field: &'static str) -> RequestBuilder {
        let part = Part::bytes(UPRIGHT).file_name("photo.jpg");
        self.post(path).multipart(Form::new().part(field, part))
    }
}

fn pictures(api: &Api) -> Vec<Case> {
    let search = |bytes| api.post("/search").body(bytes);
    let unsupported = (415, "unsupported_image");
    let malformed = (422, "malformed_image");
    let large = (422, "image_too_large");
    let svg = &b"<svg xmlns='http://www.w3.org/2000/svg'/>"[..];
    let lie = search(svg).header("content-type", "image/png");
    vec![
        case("text", search(b"not an image"), unsupported, "JPEG, PNG"),
        case("SVG as PNG", lie, unsupported, "this content"),
        case(
            "ICO",
            search(b"\0\0\x01\0\x01\0"),
            unsupported,
            "image/x-icon",
        ),
        case(
            "truncated JPEG",
            search(&UPRIGHT[..400]),
            malformed,
            "truncated",
        ),
        case(
            "truncated PNG",
            search(&fixture!("deep.png")[..70]),
            malformed,
            "image/png",
        ),
        case(
            "huge PNG",
            search(fixture!("huge.png")),
            large,
            "50000 × 50000",
        ),
        case(
            "huge BMP",
            search(fixture!("huge.bmp")),
            large,
            "50000 × 50000",
        ),
        case(
            "huge GIF",
            search(fixture!("huge.gif")),
            large,
            "50000 × 50000",
        ),
        case(
            "huge TIFF",
            search(fixture!("huge.tiff")),
            large,
            "50000 × 50000",
        ),
    ]
}

fn bodies(api: &Api) -> Vec<Case> {
    let json = |body: Value| api.post("/search").json(&body);
    let broken = api
        .post("/search")
        .header("content-type", "application/json");
    let no_part = api.post("/search").multipart(Form::new());
    let large = api.post("/search").body(vec![0; LIMIT + 1]);
    let large_part = Form::new().part("image", Part::bytes(vec![0; LIMIT + 1]));
    let invalid = (422, "invalid_json");
    vec![
        case("empty", api.post("/search"), (400, "empty_body"), "empty"),
        case(
            "wrong field",
            api.form("/search", "file"),
            (422, "unknown_field"),
            "`file`; expected `image`",
        ),
        case(
            "wrong field to store",
            api.form("/images", "photo"),
            (422, "unknown_field"),
            "`photo`",
        ),
        case("no field", no_part, (422, "missing_image"), "`image`"),
        case("over the limit", large, (413, "body_too_large"), "larger"),
        case(
            "a part over the limit",
            api.post("/images").multipart(large_part),
            (413, "body_too_large"),
            "larger",
        ),
        case(
            "broken JSON",
            broken.body("{\"image\":"),
            (400, "malformed_request"),
            "EOF",
        ),
        case(
            "unknown member",
            json(json!({"picture": ""})),
            invalid,
            "picture",
        ),
        case(
            "two subjects",
            json(json!({"id": "a", "code": "abcdef"})),
            invalid,
            "exactly one",
        ),
        case("no subject", json(json!({})), invalid, "exactly one"),
        case(
            "broken base64",
            json(json!({"image": "@@@"})),
            (400, "malformed_base64"),
            "base64",
        ),
        case(
            "odd code",
            json(json!({"code": "abcd"})),
            (422, "invalid_code"),
            "6, 8 or 12",
        ),
        case(
            "code of other bits",
            api.post("/search?bits=24")
                .json(&json!({"code": "0123456789ab"})),
            (422, "invalid_code"),
            "48 bits",
        ),
        case(
            "code to encode",
            api.post("/encode").json(&json!({"code": "abcdef"})),
            invalid,
            "already",
        ),
        case(
            "unknown id",
            json(json!({"id": "nobody"})),
            (404, "image_not_found"),
            "nobody",
        ),
    ]
}

fn parameters(api: &Api) -> Vec<Case> {
    let invalid = (422, "invalid_parameter");
    vec![
        case("radius", api.search("radius=49"), invalid, "0 to 48"),
        case(
            "radius of 24",
            api.search("bits=24&radius=25"),
            invalid,
            "0 to 24",
        ),
        case(
            "negative radius",
            api.search("radius=-1"),
            invalid,
            "radius",
        ),
        case("bits", api.search("bits=25"), invalid, "24, 32 and 48"),
        case("limit 0", api.search("limit=0"), invalid, "1 to 1000"),
        case("limit 1001", api.search("limit=1001"), invalid, "1 to 1000"),
        case(
            "list limit",
            api.get("/images?limit=1001"),
            invalid,
            "1 to 1000",
        ),
        case(
            "unknown",
            api.search("threshold=1"),
            invalid,
            "`threshold`, expected one of `bits`",
        ),
        case(
            "unknown on encode",
            api.post("/encode?bits=24").body(UPRIGHT),
            invalid,
            "bits",
        ),
    ]
}

fn names(api: &Api) -> Vec<Case> {
    let id = (422, "invalid_id");
    let label = (422, "invalid_label");
    let long = "x".repeat(10_000);
    let labels = Form::new().text("labels", "x".repeat(101));
    let payload = Form::new()
        .text("payload", "{")
        .part("image", Part::bytes(UPRIGHT));
    let method = api.client.delete(format!("{}/search", api.url));
    vec![
        case(
            "id with a slash",
            api.put("/images/a/b"),
            (404, "route_not_found"),
            "/images/a/b",
        ),
        case("id with a coded slash", api.put("/images/a%2Fb"), id, "'/'"),
        case(
            "id of 10 kB",
            api.put(&format!("/images/{long}")),
            id,
            "10000 characters",
        ),
        case(
            "id that is not text",
            api.put("/images/%ff"),
            (400, "malformed_request"),
            "UTF-8",
        ),
        case("cursor", api.get("/images?after=a%20b"), id, "' '"),
        case(
            "empty label",
            api.put("/images/a?label="),
            label,
            "0 characters",
        ),
        case(
            "many labels",
            api.put(&format!("/images/a?{}", "label=x&".repeat(33))),
            label,
            "33 labels",
        ),
        case(
            "long label",
            api.post("/images")
                .multipart(labels.part("image", Part::bytes(UPRIGHT))),
            label,
            "101",
        ),
        case(
            "payload",
            api.post("/images").multipart(payload),
            (422, "invalid_payload"),
            "not JSON",
        ),
        case(
            "no route",
            api.get("/nowhere"),
            (404, "route_not_found"),
            "/nowhere",
        ),
        case("no method", method, (405, "method_not_allowed"), "DELETE"),
    ]
}

#[tokio::test]
async fn bad_input_is_refused_in_words_and_harms_nothing() {
    let server = server::TestServer::start().await;
    let api = Api {
        url: &server.url,
        client: &server.client,
    };
    let cases = [pictures(&api), bodies(&api), parameters(&api), names(&api)];
    for case in cases.into_iter().flatten() {
        let answer = case.request.send().await.unwrap();
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let id = answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.unwrap();
        let told = (status, problem["code"].as_str().unwrap());
        assert_eq!(told, (case.status, case.code), "{}: {problem}", case.what);
        assert_eq!(kind, "application/problem+json", "{}", case.what);
        assert_eq!(problem["request_id"], id, "{}", case.what);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(case.detail), "{}: {detail}", case.what);
    }
    assert!(
        chunked(&server.url)
            .await
            .contains("\"code\":\"body_too_large\"")
    );

    for bytes in [
        fixture!("one.png"),
        fixture!("grey.jpg"),
        fixture!("alpha.png"),
        fixture!("cmyk.jpg"),
        fixture!("deep.png"),
        fixture!("animated.gif"),
        fixture!("rotated.jpg"),
        fixture!("small.webp"),
        fixture!("small.bmp"),
        fixture!("small.tiff"),
    ] {
        let raw = api.post("/encode").body(bytes).send().await.unwrap();
        assert_eq!(raw.status(), StatusCode::OK);
        let uri = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes));
        let body = json!({ "image": uri });
        let json = api.post("/encode").json(&body).send().await.unwrap();
        let (raw, json): (Value, Value) = (raw.json().await.unwrap(), json.json().await.unwrap());
        assert_eq!(raw["codes"], json["codes"]);
    }
    let last = api.form("/search", "image").send().await.unwrap();
    assert_eq!(last.status(), StatusCode::OK);
}

/// Too much, without saying beforehand how much.
async fn chunked(url: &str) -> String {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = "POST /search HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let chunk = [b"100000\r\n".to_vec(), vec![0; 1 << 20], b"\r\n".to_vec()].concat();
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..=LIMIT >> 20 {
        stream.write_all(&chunk).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
