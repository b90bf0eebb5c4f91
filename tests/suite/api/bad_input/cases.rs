//! The wrong requests, by group, with the expected responses.

use reqwest::{
    Client, RequestBuilder,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::{LIMIT, UPRIGHT};

/// A wrong request and its response: the status, the problem's code, and a part of its detail.
pub struct Case {
    pub what: &'static str,
    pub request: RequestBuilder,
    pub status: u16,
    pub code: &'static str,
    pub detail: &'static str,
}

/// Builds requests to a server.
pub struct Api<'a> {
    pub url: &'a str,
    pub client: &'a Client,
}

impl Api<'_> {
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    pub fn form(&self, path: &str, field: &'static str) -> RequestBuilder {
        self.post(path)
            .multipart(Form::new().part(field, Part::bytes(UPRIGHT)))
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
}

macro_rules! cases {
    ($($what:literal: $request:expr => $status:literal $code:literal $detail:literal;)+) => {
        vec![$(Case {
            what: $what,
            request: $request,
            status: $status,
            code: $code,
            detail: $detail,
        }),+]
    };
}

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../fixtures/", $name)).as_slice()
    };
}

pub fn pictures(api: &Api) -> Vec<Case> {
    let search = |bytes| api.post("/search").body(bytes);
    let svg = &b"<svg xmlns='http://www.w3.org/2000/svg'/>"[..];
    let lie = search(svg).header("content-type", "image/png");
    let ico = &b"\0\0\x01\0\x01\0"[..];
    cases! {
        "text": search(b"not an image") => 415 "unsupported_image" "JPEG, PNG";
        "text as a curl form": search(b"a=b").header("content-type", "application/x-www-form-urlencoded")
            => 415 "unsupported_image" "JPEG, PNG";
        "SVG as PNG": lie => 415 "unsupported_image" "an SVG drawing";
        "ICO": search(ico) => 415 "unsupported_image" "image/x-icon";
        "truncated JPEG": search(&UPRIGHT[..400]) => 422 "malformed_image" "truncated";
        "truncated PNG": search(&fixture!("deep.png")[..70]) => 422 "malformed_image" "image/png";
        "huge PNG": search(fixture!("huge.png")) => 422 "image_too_large" "50000 × 50000";
        "huge BMP": search(fixture!("huge.bmp")) => 422 "image_too_large" "50000 × 50000";
        "huge GIF": search(fixture!("huge.gif")) => 422 "image_too_large" "50000 × 50000";
        "huge TIFF": search(fixture!("huge.tiff")) => 422 "image_too_large" "50000 × 50000";
    }
}

pub fn bodies(api: &Api) -> Vec<Case> {
    let json = |body: Value| api.post("/search").json(&body);
    let broken = api
        .post("/search")
        .header("content-type", "application/json");
    let unfinished = api
        .post("/search")
        .header("content-type", "multipart/form-data; boundary=x");
    let large = api.post("/search").body(vec![0; LIMIT + 1]);
    let part = |name, bytes: Vec<u8>| Form::new().part(name, Part::bytes(bytes));
    let latin = || Part::bytes(b"na\xefve".as_slice());
    let latin_label = Form::new()
        .part("labels", latin())
        .part("image", Part::bytes(UPRIGHT));
    let latin_in_batch = Form::new()
        .part("labels", latin())
        .part("image", Part::bytes(UPRIGHT));
    let json_as_form = api
        .post("/search")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(r#"{"id":"a"}"#);
    let large_part = api
        .post("/images")
        .multipart(part("image", vec![0; LIMIT + 1]));
    let empty_part = api.post("/search").multipart(part("image", vec![]));
    let twice = part("image", vec![0]).part("image", Part::bytes(UPRIGHT));
    let labels = Form::new().text("labels", "lonely");
    let short = api.post("/search?bits=24");
    cases! {
        "JSON that says it is a form": json_as_form => 415 "unsupported_media_type" "Content-Type: application/json";
        "a label that is not UTF-8": api.post("/images").multipart(latin_label) => 422 "invalid_form" "UTF-8";
        "such a label in a batch": api.post("/images/batch").multipart(latin_in_batch) => 422 "invalid_form" "UTF-8";
        "empty": api.post("/search") => 400 "empty_body" "empty";
        "wrong field": api.form("/search", "file") => 422 "unknown_field" "`file`; expected `image`";
        "wrong field to store": api.form("/images", "photo") => 422 "unknown_field" "`photo`";
        "no field image": api.post("/images").multipart(labels) => 422 "missing_image" "`image`";
        "empty field image": empty_part => 422 "missing_image" "no bytes";
        "two images": api.post("/images").multipart(twice) => 422 "invalid_form" "twice";
        "unfinished form": unfinished.body("--x\r\n") => 400 "malformed_request" "multipart";
        "over the limit": large => 413 "body_too_large" "larger";
        "a part over the limit": large_part => 413 "body_too_large" "larger";
        "broken JSON": broken.body("{\"image\":") => 400 "malformed_request" "EOF";
        "unknown member": json(json!({"picture": ""})) => 422 "invalid_json" "picture";
        "two subjects": json(json!({"id": "a", "code": "abcdef"})) => 422 "invalid_json" "exactly one";
        "no subject": json(json!({})) => 422 "invalid_json" "exactly one";
        "broken base64": json(json!({"image": "@@@"})) => 400 "malformed_base64" "base64";
        "an array of members": json(json!([null, "a", null])) => 422 "invalid_json" "an object";
        "null for a text": json(json!({"id": "a", "image": null})) => 422 "invalid_json" "null";
        "a batch that is no form": api.post("/images/batch") => 400 "malformed_request" "boundary";
        "odd code": json(json!({"code": "abcd"})) => 422 "invalid_code" "6, 8 or 12";
        "code of other bits": short.json(&json!({"code": "0123456789ab"})) => 422 "invalid_code" "48 bits";
        "code to encode": api.post("/encode").json(&json!({"code": "abcdef"})) => 422 "invalid_json" "already";
        "unknown id": json(json!({"id": "nobody"})) => 404 "image_not_found" "nobody";
    }
}

pub fn parameters(api: &Api) -> Vec<Case> {
    cases! {
        "bits with a point": api.search("bits=48.0") => 422 "invalid_parameter" "'48.0' is not a whole number";
        "bits twice": api.search("bits=48&bits=32") => 422 "invalid_parameter" "bits comes twice";
        "an empty label": api.search("label=") => 422 "invalid_label" "0 characters";
        "an empty label to list": api.get("/images?label=") => 422 "invalid_label" "0 characters";
        "a query that is not UTF-8": api.search("label=na%EFf") => 422 "invalid_parameter" "not UTF-8";
        "radius": api.search("radius=49") => 422 "invalid_parameter" "0 to 48";
        "radius of 24": api.search("bits=24&radius=25") => 422 "invalid_parameter" "0 to 24";
        "negative radius": api.search("radius=-1") => 422 "invalid_parameter" "'-1' is not a whole number";
        "radius in words": api.search("radius=near") => 422 "invalid_parameter" "radius";
        "bits": api.search("bits=25") => 422 "invalid_parameter" "24, 32 or 48";
        "no bits": api.search("bits=") => 422 "invalid_parameter" "bits";
        "limit 0": api.search("limit=0") => 422 "invalid_parameter" "1 to 1000";
        "limit 1001": api.search("limit=1001") => 422 "invalid_parameter" "1 to 1000";
        "list limit": api.get("/images?limit=1001") => 422 "invalid_parameter" "1 to 1000";
        "unknown": api.search("near=1") => 422 "invalid_parameter" "`near`, expected one of `bits`";
        "on encode": api.post("/encode?bits=24").body(UPRIGHT) => 422 "invalid_parameter" "`bits`";
    }
}

pub fn boxes(api: &Api) -> Vec<Case> {
    let to_search = |body: Value| api.post("/search?box=0,0,1,1").json(&body);
    let to_encode = |body: Value| api.post("/encode?box=0,0,1,1").json(&body);
    cases! {
        "a box in words": api.search("box=left") => 422 "invalid_box" "'left' is not four numbers";
        "an empty box": api.search("box=") => 422 "invalid_box" "four numbers";
        "a box of three numbers": api.search("box=0,0,1") => 422 "invalid_box" "four numbers";
        "a box that begins outside": api.search("box=-0.5,0,1,1") => 422 "invalid_box" "x of the box is -0.5; it must be 0 to 1";
        "a box that ends outside": api.search("box=0,0.5,1,0.6") => 422 "invalid_box" "lower edge: y 0.5 and height 0.6";
        "a box without an area": api.search("box=0,0,0,1") => 422 "invalid_box" "width of the box is 0.0; it must be above 0";
        "a box that is no number": api.search("box=NaN,0,1,1") => 422 "invalid_box" "x of the box is NaN";
        "an endless box": api.search("box=0,0,1,inf") => 422 "invalid_box" "height of the box is inf";
        "a box within a pixel": api.search("box=0.5,0.5,0.001,0.001") => 422 "invalid_box" "48 × 32 pixels; make it larger";
        "a box in a form": api.form("/encode?box=0,0,2,1", "image") => 422 "invalid_box" "width of the box is 2.0";
        "a box of a code": to_search(json!({"code": "abcdef"})) => 422 "invalid_box" "a code has no picture; send the picture itself";
        "a box of a stored image": to_search(json!({"id": "a"})) => 422 "invalid_box" "`id` names a stored image";
        "the same to encode": to_encode(json!({"id": "a"})) => 422 "invalid_box" "`id` names a stored image";
    }
}

pub fn names(api: &Api) -> Vec<Case> {
    let long = api.put(&format!("/images/{}", "x".repeat(10_000)));
    let many = api.put(&format!("/images/a?{}", "label=x&".repeat(33)));
    let form = |form: Form| {
        api.post("/images")
            .multipart(form.part("image", Part::bytes(UPRIGHT)))
    };
    let label = form(Form::new().text("labels", "x".repeat(256)));
    let payload = form(Form::new().text("payload", "{"));
    let wide = form(Form::new().text("payload", "[99999999999999999999]"));
    let heavy = form(Form::new().text("payload", format!("\"{}\"", "x".repeat(17_000))));
    let patch = || api.client.patch(format!("{}/images/a", api.url));
    let wide_patch = patch()
        .header("content-type", "application/json")
        .body(r#"{"payload": -99999999999999999999}"#);
    let array = patch().json(&json!([null, null]));
    let delete = api.client.delete(format!("{}/search", api.url));
    cases! {
        "id with a slash": api.put("/images/a/b") => 404 "route_not_found" "/images/a/b";
        "id with a coded slash": api.put("/images/a%2Fb") => 422 "invalid_id" "'/'";
        "id with a line break": api.put("/images/a%0Ab") => 422 "invalid_id" "'\\n'";
        "id of 10 kB": long => 422 "invalid_id" "10000 bytes";
        "id that is not text": api.put("/images/%ff") => 400 "malformed_request" "UTF-8";
        "cursor": api.get("/images?after=a%20b") => 422 "invalid_parameter" "is not a position in a listing";
        "empty cursor": api.get("/images?after=") => 422 "invalid_parameter" "is not a position in a listing";
        "empty label": api.put("/images/a?label=") => 422 "invalid_label" "0 characters";
        "many labels": many => 422 "invalid_label" "33 labels";
        "long label": label => 422 "invalid_label" "256";
        "payload": payload => 422 "invalid_payload" "not JSON";
        "wide integer": wide => 422 "invalid_payload" "send it as a string";
        "wide integer in a change": wide_patch => 422 "invalid_payload" "send it as a string";
        "heavy payload": heavy => 422 "invalid_payload" "16384";
        "patch of text": patch().body("{}") => 415 "unsupported_media_type" "application/json";
        "patch of an array": array => 422 "invalid_json" "an object";
        "no route": api.get("/nowhere") => 404 "route_not_found" "/nowhere";
        "no method": delete => 405 "method_not_allowed" "DELETE";
    }
}

pub fn filters(api: &Api) -> Vec<Case> {
    let list = |filter: &str| {
        let mut url = reqwest::Url::parse(&format!("{}/images", api.url)).unwrap();
        url.query_pairs_mut().append_pair("filter", filter);
        api.client.get(url)
    };
    let search = |filter: String| {
        let body = json!({"code": "abcdef", "filter": filter});
        api.post("/search").json(&body)
    };
    let form = |path: &str, filter: String| {
        let form = Form::new().text("filter", filter);
        api.post(path)
            .multipart(form.part("image", Part::bytes(UPRIGHT)))
    };
    let many = |values: usize| format!("id IN [{}]", vec!["'a'"; values].join(","));
    let deep = format!("{}id EXISTS{}", "(".repeat(100), ")".repeat(100));
    let both = api.post("/search?filter=id%20EXISTS");
    let both = both.json(&json!({"code": "abcdef", "filter": "id EXISTS"}));
    let delete = |query: &str| api.client.delete(format!("{}/images{query}", api.url));
    let field = |path: &str, kind: Value| {
        let put = api.client.put(format!("{}/admin/fields/{path}", api.url));
        put.json(&json!({ "type": kind }))
    };
    let get_field = api.get("/admin/fields/nothing");
    let encoding = json!({"id": "a", "filter": "id EXISTS"});
    cases! {
        "an unclosed quote": list("id = 'a") => 400 "invalid_filter" "column 6: the text that starts here is not closed";
        "an unclosed quote in JSON": search("id = \"a".to_owned()) => 400 "invalid_filter" "not closed";
        "an undeclared field": list("price < 5") => 400 "undeclared_field" "PUT /admin/fields/price";
        "an undeclared field to order by": api.get("/images?order_by=-price") => 422 "invalid_parameter" "'price' is not a declared field";
        "a position of another order": api.get("/images?after=5.2") => 422 "invalid_parameter" "give the `next` of the previous page";
        "a number for a text": list("id = 5") => 400 "invalid_filter" "not with the number 5";
        "a text for a time": list("created_at_ms > 'today'") => 400 "invalid_filter" "not with the text \"today\"";
        "a filter without an operator": list("price") => 400 "invalid_filter" "an operator after the field";
        "an empty filter": api.get("/images?filter=") => 400 "invalid_filter" "the filter is empty";
        "a filter twice": api.get("/images?filter=id%20EXISTS&filter=id%20EXISTS") => 422 "invalid_parameter" "twice";
        "an empty filter in JSON": search(String::new()) => 400 "invalid_filter" "the filter is empty";
        "an empty filter in a form": form("/search", String::new()) => 400 "invalid_filter" "the filter is empty";
        "10,001 values": search(many(10_001)) => 400 "invalid_filter" "more than 10000 values";
        "a filter 100 deep": list(&deep) => 400 "invalid_filter" "the maximum is 32";
        "a filter of 100 kB": search(many(25_000)) => 400 "invalid_filter" "the maximum is 65536";
        "a form's filter of 100 kB": form("/search", many(25_000)) => 422 "invalid_form" "more than 65536 bytes";
        "a query's filter of 9 kB": list(&many(2_250)) => 400 "invalid_filter" "the maximum in a query is 8192";
        "a filter in the query and the body": both => 400 "invalid_filter" "the query and the body both";
        "a filter that is no text": api.post("/search").json(&json!({"code": "abcdef", "filter": 5})) => 422 "invalid_json" "string";
        "a filter to encode": api.post("/encode").json(&encoding) => 422 "invalid_json" "POST /search";
        "a form's filter to encode": form("/encode", "id EXISTS".to_owned()) => 422 "unknown_field" "`filter`; expected `image`";
        "a deletion without a filter": delete("") => 400 "missing_filter" "filter=id EXISTS";
        "a deletion by an empty filter": delete("?filter=") => 400 "missing_filter" "missing or empty";
        "a deletion by an undeclared field": delete("?filter=price%3C5") => 400 "undeclared_field" "price";
        "a deletion with a count in words": delete("?filter=id%20EXISTS&expect=all") => 422 "invalid_parameter" "'all' is not a whole number";
        "a change without a body": api.client.patch(format!("{}/images?filter=id%20EXISTS", api.url)) => 415 "unsupported_media_type" "application/json";
        "an unknown field": get_field => 404 "field_not_found" "'nothing' is not a declared field";
        "a field without a type": api.client.put(format!("{}/admin/fields/a", api.url)).json(&json!({})) => 422 "invalid_json" "missing field `type`";
        "a field of an unknown type": field("a", json!("text")) => 422 "invalid_json" "expected one of `keyword`";
        "a field without a name": field("a..b", json!("bool")) => 422 "invalid_field" "a name in it is empty";
        "a field with a space": field("a%20b", json!("bool")) => 422 "invalid_field" "double quotes";
        "a field of every image": field("labels", json!("keyword")) => 422 "invalid_field" "cannot be a field";
    }
}
