//! An S3 service for a test: moto's server on a free port, with one bucket. Stopped when dropped.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::server;

/// A running S3 service.
pub struct S3 {
    url: String,
    process: Child,
}

impl S3 {
    /// The name of its bucket.
    pub const BUCKET: &str = "pictures";

    /// Starts a service with an empty bucket.
    pub fn start() -> Self {
        let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/.contract");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new("python3")
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .env("PYTHONPATH", tools)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let s3 = S3 {
            url: format!("http://127.0.0.1:{port}"),
            process,
        };
        let made = (0..300).any(|_| {
            thread::sleep(Duration::from_millis(100));
            let made = server::blocking_client()
                .put(format!("{}/{}", s3.url, Self::BUCKET))
                .send();
            made.is_ok_and(|answer| answer.status().is_success())
        });
        assert!(made, "moto did not start; make contract fetches it");
        s3
    }

    /// The variables that make a program use it.
    pub fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.url.clone()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "someone".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Returns the keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        let list = format!("{}/{}?list-type=2&max-keys=1000", self.url, Self::BUCKET);
        let text = server::blocking_client()
            .get(list)
            .send()
            .unwrap()
            .text()
            .unwrap();
        let list = roxmltree::Document::parse(&text).unwrap();
        let keys = list.descendants().filter(|node| node.has_tag_name("Key"));
        keys.map(|key| key.text().unwrap().to_owned()).collect()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
