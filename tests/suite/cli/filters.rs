//! The commands about fields and filters: declaring, searching, changing, deleting.

use std::process::Command;

use reqwest::Method;

use crate::server::{self, TestServer};

/// Runs a command for a service; returns true if it succeeded, and what it printed.
fn run(server: &TestServer, arguments: &[&str]) -> (bool, String) {
    let mut command: Command = server::scihcgrl();
    let output = command.args(arguments).args(["--url", &server.url]);
    let output = output.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_searched_changed_and_deleted_by_a_filter() {
    let server = TestServer::start().await;
    server.store(&["cat", "ship"], 3).await;
    for (arguments, is_well, expected) in [
        (
            &[
                "change",
                "--filter",
                r#"labels = "cat""#,
                "--payload",
                r#"{"price": 5}"#,
            ][..],
            true,
            r#""changed": 3"#,
        ),
        (
            &["fields", "declare", "price", "integer"],
            true,
            r#""field": "price""#,
        ),
        (
            &["fields", "declare", "price", "integer"],
            true,
            "field price is built",
        ),
        (&["fields", "list"], true, "price  integer  built"),
        (&["fields", "show", "price"], true, r#""values": 3"#),
        (
            &["delete", "--filter", "price < 6", "--dry-run"],
            true,
            "3 images pass the filter",
        ),
        (
            &["delete", "--filter", "price < 6", "--expect", "2"],
            false,
            "3 images pass the filter, not 2",
        ),
        (&["delete", "--filter", ""], false, "filter"),
        (
            &["change", "--filter", "price < 6"],
            false,
            "there is nothing to change",
        ),
        (
            &["change", "--filter", "price < 6", "--payload", "{"],
            false,
            "--payload is not JSON",
        ),
        (
            &[
                "change",
                "--filter",
                r#"id = "cat-0""#,
                "--add-label",
                "sale",
                "--remove-label",
                "cat",
            ],
            true,
            r#""changed": 1"#,
        ),
        (
            &[
                "delete",
                "--filter",
                r#"price < 6 AND labels != "sale""#,
                "--expect",
                "2",
            ],
            true,
            r#""deleted": 2"#,
        ),
        (&["fields", "delete", "price"], true, ""),
        (&["fields", "delete", "price"], false, "price"),
    ] {
        let (well, text) = run(&server, arguments);
        assert_eq!(well, is_well, "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
    let (_, page) = server.ask(Method::GET, "/images").await;
    assert_eq!(page["total"], 4, "{page}");
    let photo = server::samples("ship")[0].display().to_string();
    let (well, text) = run(
        &server,
        &["search", &photo, "--filter", r#"labels = "sale""#],
    );
    assert!(
        well && text.contains("cat-0") && !text.contains("ship-0"),
        "{text}"
    );
}
