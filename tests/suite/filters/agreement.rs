//! All pairs of some conditions select the same images as a plain list does, in lists and searches;
//! and lists are in the order of a field.

use reqwest::Method;
use serde_json::{Value, json};

use super::{build, ids, send, store, with_query};
use crate::server::TestServer;

const IMAGES: usize = 24;

/// The payload of an image: with numbers, null, arrays and missing members.
fn payload(number: usize) -> Value {
    let mut payload = json!({ "in_stock": number.is_multiple_of(2), "size": { "width": number } });
    match number % 6 {
        0 => {}
        1 => payload["price"] = Value::Null,
        2 => payload["price"] = json!([number, 0.5]),
        _ => payload["price"] = json!(number as f64 * 1.5),
    }
    payload["colour"] = match number % 5 {
        0 => json!(["red", "blue"]),
        1 => json!("Blue"),
        2 => json!("green"),
        3 => json!([]),
        _ => json!(5),
    };
    payload
}

fn id(number: usize) -> String {
    format!("item-{number:02}")
}

/// Returns all values of a member of an image, those of an array one by one.
fn values(number: usize, member: &str) -> Vec<Value> {
    match payload(number).get(member) {
        None => Vec::new(),
        Some(Value::Array(values)) => values.clone(),
        Some(value) => vec![value.clone()],
    }
}

type Condition = (&'static str, fn(usize) -> bool);

fn prices(number: usize) -> impl Iterator<Item = f64> {
    values(number, "price")
        .into_iter()
        .filter_map(|price| price.as_f64())
}

fn cents(price: f64) -> i64 {
    (price * 100.0).round() as i64
}

fn has_colour(number: usize, colours: &[&str]) -> bool {
    let texts = values(number, "colour");
    texts
        .iter()
        .any(|text| colours.iter().any(|colour| text == colour))
}

/// Conditions, and the images that meet them by a plain reading of their payloads.
const CONDITIONS: [Condition; 16] = [
    ("price < 20", |number| {
        prices(number).any(|price| price < 20.0)
    }),
    ("price >= 4.5", |number| {
        prices(number).any(|price| price >= 4.5)
    }),
    ("price = 14", |number| {
        prices(number).any(|price| price == 14.0)
    }),
    ("price != 0.5", |number| {
        !prices(number).any(|price| price == 0.5)
    }),
    ("price IN [4.5, 6, 2]", |number| {
        prices(number).any(|price| [4.5, 6.0, 2.0].contains(&price))
    }),
    ("price EXISTS", |number| {
        payload(number).get("price").is_some()
    }),
    ("price IS NULL", |number| {
        payload(number).get("price") == Some(&Value::Null)
    }),
    ("colour = \"red\"", |number| has_colour(number, &["red"])),
    ("colour NOT IN ('green', 'Blue')", |number| {
        !has_colour(number, &["green", "Blue"])
    }),
    ("colour STARTS WITH 'b'", |number| {
        has_colour(number, &["blue"])
    }),
    ("colour > 'green'", |number| has_colour(number, &["red"])),
    ("colour NOT EXISTS", |_| false),
    ("in_stock = true", |number| number.is_multiple_of(2)),
    ("size.width <= 11", |number| number <= 11),
    ("id STARTS WITH 'item-1'", |number| {
        (10..20).contains(&number)
    }),
    ("labels = 'even'", |number| number.is_multiple_of(2)),
];

async fn gallery() -> TestServer {
    let server = TestServer::start().await;
    // Half of the images are stored before the fields are declared.
    for number in 0..IMAGES / 2 {
        store(&server, &id(number), &payload(number)).await;
    }
    for (path, kind) in [
        ("price", "number"),
        ("colour", "keyword"),
        ("in_stock", "bool"),
        ("size.width", "integer"),
    ] {
        build(&server, path, kind).await;
    }
    for number in IMAGES / 2..IMAGES {
        store(&server, &id(number), &payload(number)).await;
    }
    for number in (0..IMAGES).step_by(2) {
        let url = server.at(&format!("/images/{}", id(number)));
        let labelled = server
            .client
            .patch(url)
            .json(&json!({ "labels": ["even"] }));
        assert_eq!(send(labelled).await.0, 200);
    }
    server
}

#[tokio::test]
async fn filters_select_the_images_of_a_plain_list() {
    let server = gallery().await;
    let mut tried = 0;
    for (first, meets_first) in CONDITIONS {
        for (second, meets_second) in CONDITIONS {
            let forms: [(String, &dyn Fn(usize) -> bool); 3] = [
                (format!("{first} AND {second}"), &|number| {
                    meets_first(number) && meets_second(number)
                }),
                (format!("{first} OR NOT ({second})"), &|number| {
                    meets_first(number) || !meets_second(number)
                }),
                (first.to_owned(), &|number| meets_first(number)),
            ];
            for (filter, meets) in &forms {
                let expected: Vec<String> = (0..IMAGES)
                    .filter(|&number| meets(number))
                    .map(id)
                    .collect();
                let list = [("filter", filter.as_str()), ("limit", "1000")];
                let list = with_query(&server, Method::GET, "/images", &list);
                let (status, page) = send(list).await;
                assert_eq!(status, 200, "{filter}: {page}");
                assert_eq!(ids(&page["images"]), expected, "{filter}");
                assert_eq!(page["total"], expected.len(), "{filter}");
                tried += 1;
                if tried % 8 > 0 {
                    continue;
                }
                let body = json!({ "id": "item-00", "filter": filter });
                let search = server.client.post(server.at("/search?limit=1000"));
                let (status, found) = send(search.json(&body)).await;
                assert_eq!(status, 200, "{filter}: {found}");
                let mut matches = ids(&found["matches"]);
                matches.sort_unstable();
                assert_eq!(matches, expected, "{filter}");
                assert_eq!(found["total"], expected.len(), "{filter}");
            }
        }
    }
}

#[tokio::test]
async fn lists_are_in_the_order_of_a_field_on_all_pages() {
    let server = gallery().await;
    let least = |number| prices(number).reduce(f64::min);
    let greatest = |number| prices(number).reduce(f64::max);
    // Images without a value come last; those of one value are in order of age.
    let ascending = |number: &usize| (least(*number).is_none(), least(*number).map(cents));
    let descending = |number: &usize| {
        (
            greatest(*number).is_none(),
            greatest(*number).map(|price| -cents(price)),
        )
    };
    let mut ordered: Vec<usize> = (0..IMAGES).collect();
    for (order, filter) in [
        ("price", None),
        ("-price", None),
        ("price", Some("in_stock = true")),
    ] {
        ordered.sort_unstable();
        match order {
            "price" => ordered.sort_by_key(ascending),
            _ => ordered.sort_by_key(descending),
        }
        let passing = ordered.iter().copied();
        let passing = passing.filter(|number| filter.is_none() || number.is_multiple_of(2));
        let expected: Vec<String> = passing.map(id).collect();
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let mut parameters = vec![("order_by", order), ("limit", "3")];
            parameters.extend(filter.map(|filter| ("filter", filter)));
            parameters.extend(after.as_deref().map(|after| ("after", after)));
            let request = with_query(&server, Method::GET, "/images", &parameters);
            let (status, page) = send(request).await;
            assert_eq!(status, 200, "{order}: {page}");
            assert_eq!(page["total"], expected.len(), "{order}");
            listed.extend(ids(&page["images"]));
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(listed, expected, "{order} {filter:?}");
    }
}
