//! `scihcgrl fields`: lists, declares and deletes the fields of a running service.

use clap::Subcommand;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{client::Client, jobs};

#[derive(Subcommand, Clone)]
pub enum Fields {
    /// List the declared fields, which filters can test.
    List,
    /// Print a field as JSON, with numbers about its values.
    Show {
        /// The path of the member in payloads, such as `price` or `size.width`.
        path: String,
    },
    /// Declare a field, and follow the job that reads its values of the images already stored.
    Declare {
        /// The path of the member in payloads, such as `price` or `size.width`. A name with other
        /// characters than letters, digits, _, -, $ and @ stands in double quotes.
        path: String,
        /// The type of its values: text, whole numbers, numbers in double precision, true or false,
        /// or times as in RFC 3339.
        #[arg(value_name = "TYPE", value_parser = ["keyword", "integer", "number", "bool", "time"])]
        kind: String,
        /// Print the job's id instead of following it.
        #[arg(long)]
        detach: bool,
    },
    /// Delete a field. Payloads stay as they are, but filters can no longer test it.
    Delete {
        /// The path of the field.
        path: String,
    },
}

pub(crate) async fn run(client: Client, fields: &Fields) -> anyhow::Result<()> {
    match fields {
        Fields::List => {
            let list = send(&client, Method::GET, "/fields", None).await?;
            for field in list["fields"].as_array().into_iter().flatten() {
                let state = match field["built"] == true {
                    true => "built",
                    false => "not built yet",
                };
                println!(
                    "{}  {}  {state}",
                    text(&field["path"]),
                    text(&field["type"])
                );
            }
        }
        Fields::Show { path } => {
            println!("{:#}", send(&client, Method::GET, &url(path), None).await?);
        }
        Fields::Declare { path, kind, detach } => {
            let body = json!({ "type": kind });
            let field = send(&client, Method::PUT, &url(path), Some(&body)).await?;
            match field["job"]["id"].as_str() {
                Some(id) if *detach => println!("{id}"),
                Some(id) => println!("{:#}", jobs::follow(&client, id).await?),
                None => println!("field {} is built", text(&field["path"])),
            }
        }
        Fields::Delete { path } => {
            send(&client, Method::DELETE, &url(path), None).await?;
        }
    }
    Ok(())
}

fn url(path: &str) -> String {
    let path = utf8_percent_encode(path, NON_ALPHANUMERIC);
    format!("/admin/fields/{path}")
}

async fn send(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let mut request = client.request(method, path);
    if let Some(body) = body {
        request = request.json(body);
    }
    client.send(request).await?.map_err(anyhow::Error::msg)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
