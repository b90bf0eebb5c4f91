//! Arbitrary bytes as a request's body, in every form and on every route that reads one. The answer
//! is complete and never a 5xx. The service runs in this process, so that coverage guides the
//! fuzzer, and is reached over HTTP.

#![no_main]

use std::{
    cell::RefCell,
    io::{Read, Result, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::LazyLock,
    thread,
    time::Duration,
};

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use scihcgrl::{config::Serve, serve};

const FORM: &str = "multipart/form-data; boundary=x";
const JSON: &str = "application/json";
/// The first byte of an input selects one.
const ROUTES: [(&str, &str); 6] = [
    ("POST /search", FORM),
    ("POST /encode", FORM),
    ("PUT /images/a", FORM),
    ("POST /images/batch", FORM),
    ("POST /search", JSON),
    ("PATCH /images/a", JSON),
];

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    serve: Serve,
}

static SERVICE: LazyLock<SocketAddr> = LazyLock::new(|| {
    // A caught panic becomes a 500, which is detected below.
    std::panic::set_hook(Box::new(|panic| eprintln!("caught: {panic}")));
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("a free port");
    let folder = tempfile::tempdir().expect("a folder").keep();
    let (addr, data) = (address.to_string(), folder.display().to_string());
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/cifar10.safetensors");
    let words = [
        "--addr",
        &addr,
        "--data-dir",
        &data,
        "--model",
        model,
        "--device",
        "cpu",
    ];
    let options = Options::parse_from(["serve"].iter().chain(&words));
    thread::spawn(move || serve::run(&options.serve).expect("it serves"));
    while TcpStream::connect(address).is_err() {
        thread::sleep(Duration::from_millis(100));
    }
    address
});

thread_local! {
    static CONNECTION: RefCell<Option<TcpStream>> = const { RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, body)) = input.split_first() else {
        return;
    };
    let (route, kind) = ROUTES[usize::from(first) % ROUTES.len()];
    let head = format!(
        "{route} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    let status = ask(&request).or_else(|_| ask(&request));
    let status = status.expect("an answer, if necessary on a new connection");
    assert!(!status.starts_with('5'), "{route}: {status}");
});

/// Sends a request on the open connection or a new one. Returns the status.
fn ask(request: &[u8]) -> Result<String> {
    let open = CONNECTION.take();
    let mut stream = match open {
        Some(stream) => stream,
        None => TcpStream::connect(*SERVICE)?,
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1 << 12];
    let text = loop {
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend_from_slice(&buffer[..length]),
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        if is_complete(&text) {
            break text;
        }
    };
    if !text.contains("connection: close") {
        CONNECTION.set(Some(stream));
    }
    Ok(text[9..12].to_owned())
}

/// Returns true if an answer is complete.
fn is_complete(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    match header("content-length: ") {
        Some(length) => length.parse() == Ok(body.len()),
        None if header("transfer-encoding: ").is_some() => body.ends_with("0\r\n\r\n"),
        None => true,
    }
}
