//! Tests of the messages about wrong filters.

use super::*;

/// Filters that are wrong, each followed by the message and an empty line.
const MESSAGES: &str = include_str!("errors.txt");

#[test]
fn an_error_says_where_it_is_and_what_would_be_right() {
    let found: Vec<String> = MESSAGES
        .split("\n\n")
        .map(|entry| {
            let text = entry.lines().next().unwrap_or_default();
            match resolve(text) {
                Ok(condition) => format!("{text}\n{condition:?}\n"),
                Err(error) => format!("{text}\n{error}\n"),
            }
        })
        .collect();
    assert!(found.join("\n") == MESSAGES, "{}", found.join("\n"));
}

#[test]
fn a_caller_can_distinguish_errors() {
    assert_eq!(resolve(""), Err(FilterError::Empty));
    assert_eq!(resolve(" \n"), Err(FilterError::Empty));
    assert!(matches!(
        resolve("sold = false AND colour = 1"),
        Err(FilterError::Undeclared { column: 18, path, .. }) if path.to_string() == "colour"
    ));
    assert!(matches!(
        resolve("weight = 1"),
        Err(FilterError::NotBuilt { column: 1, path }) if path.to_string() == "weight"
    ));
    let error = resolve("sold = 1").unwrap_err();
    assert!(matches!(error, FilterError::Wrong { .. }));
    assert_eq!(error.column(), 8);
}
