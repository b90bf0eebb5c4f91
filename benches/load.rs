//! Sends POST requests to an HTTP service: from callers that each wait for their response, or at a
//! fixed rate. Prints a line of JSON for benches/load.py. Runs in one thread and does little work
//! per request, because it shares the cores with the service. Reports the processor time that it
//! used.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers of a measurement are small"
)]
#![allow(clippy::unwrap_used)] // allow-unwrap: a benchmark stops where it fails

#[path = "load/connection.rs"]
mod connection;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use clap::Parser;
use connection::Connection;
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::{
    task::{LocalSet, spawn_local},
    time::{Instant, sleep_until, timeout},
};

/// A caller that waits longer gives up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Options {
    /// HOST:PORT.
    #[arg(long)]
    address: Option<String>,
    /// Path and parameters.
    #[arg(long, default_value = "/search?bits=48&radius=2")]
    target: String,
    /// A folder of JPEG files, at any depth.
    #[arg(long, default_value = "samples/queries")]
    photos: PathBuf,
    /// Number of callers that each wait for their response.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Requests per second, sent at random moments, instead of callers that wait.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds before measuring starts.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds of measuring.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Cargo passes this flag to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The state that all callers share.
struct Load {
    address: String,
    requests: Vec<Vec<u8>>,
    next: RefCell<usize>,
    idle: RefCell<Vec<Connection>>,
    opened: RefCell<usize>,
    from: Instant,
    to: Instant,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    statuses: BTreeMap<String, usize>,
    /// Microseconds to a response with status 200.
    served: Vec<u64>,
    /// Microseconds to any other response.
    refused: Vec<u64>,
    /// Microseconds by which requests were sent late.
    lag: Vec<u64>,
}

fn main() {
    let options = Options::parse();
    let Some(address) = options.address.clone() else {
        println!("load measures a running service: --address HOST:PORT; see benches/load.py");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, run(address, options));
}

async fn run(address: String, options: Options) {
    let from = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let load = Rc::new(Load {
        requests: requests(&options),
        next: RefCell::new(0),
        idle: RefCell::new(Vec::new()),
        opened: RefCell::new(0),
        from,
        to: from + Duration::from_secs_f64(options.seconds),
        seen: RefCell::new(Seen::default()),
        address,
    });
    let used = cpu_seconds();
    let started = Instant::now();
    match options.rate {
        Some(rate) => at_rate(&load, rate).await,
        None => callers(&load, options.clients).await,
    }
    let wall = started.elapsed().as_secs_f64();
    let used = cpu_seconds() - used;
    let mut seen = load.seen.borrow_mut();
    let served = seen.served.len();
    let requests: usize = seen.statuses.values().sum();
    let line = json!({
        "clients": options.rate.is_none().then_some(options.clients),
        "rate": options.rate,
        "seconds": options.seconds,
        "requests": requests,
        "statuses": seen.statuses,
        "served_per_s": served as f64 / options.seconds,
        "served_ms": quantiles(&mut seen.served),
        "refused_ms": quantiles(&mut seen.refused),
        "lag_ms": quantiles(&mut seen.lag),
        "connections": *load.opened.borrow(),
        "own_cpu_us_per_request": used * 1e6 / requests.max(1) as f64,
        "own_share_of_a_core": used / wall,
    });
    println!("{line}");
}

/// Returns every request, complete, in random order.
fn requests(options: &Options) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    jpegs(&options.photos, &mut files);
    assert!(
        !files.is_empty(),
        "no JPEG files in {}",
        options.photos.display()
    );
    files.sort();
    files.shuffle(&mut ChaCha8Rng::seed_from_u64(1));
    let request = |file: &PathBuf| {
        let body = fs::read(file).unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n",
            options.target,
            body.len()
        );
        [head.as_bytes(), &body].concat()
    };
    files.iter().map(request).collect()
}

fn jpegs(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            jpegs(&path, files);
        } else if path.extension().is_some_and(|end| end == "jpg") {
            files.push(path);
        }
    }
}

async fn callers(load: &Rc<Load>, clients: usize) {
    let callers: Vec<_> = (0..clients)
        .map(|_| {
            let load = load.clone();
            spawn_local(async move {
                while Instant::now() < load.to {
                    load.clone().request(Instant::now()).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

/// Sends requests at the moments of a Poisson process, as independent visitors do. A request's time
/// counts from its moment, even if it was sent late.
async fn at_rate(load: &Rc<Load>, rate: f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut moment = Instant::now();
    let mut waiting = Vec::new();
    while moment < load.to {
        sleep_until(moment).await;
        let late = moment.elapsed().as_micros() as u64;
        load.seen.borrow_mut().lag.push(late);
        waiting.push(spawn_local(load.clone().request(moment)));
        let gap = -(1.0 - rng.random::<f64>()).ln() / rate;
        moment += Duration::from_secs_f64(gap);
    }
    for request in waiting {
        request.await.unwrap();
    }
}

impl Load {
    async fn request(self: Rc<Self>, moment: Instant) {
        let number = *self.next.borrow();
        *self.next.borrow_mut() += 1;
        let request = &self.requests[number % self.requests.len()];
        let idle = self.idle.borrow_mut().pop();
        let exchange = async {
            let mut connection = match idle {
                Some(connection) => connection,
                None => {
                    *self.opened.borrow_mut() += 1;
                    Connection::open(&self.address).await?
                }
            };
            let status = connection.exchange(request).await?;
            if connection.is_open() {
                self.idle.borrow_mut().push(connection);
            }
            std::io::Result::Ok(status)
        };
        let status = match timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.kind().to_string(),
            Err(_) => "no answer in 30 s".to_owned(),
        };
        let now = Instant::now();
        if now < self.from || now > self.to {
            return;
        }
        let took = now.duration_since(moment).as_micros() as u64;
        let mut seen = self.seen.borrow_mut();
        match status.as_str() {
            "200" => seen.served.push(took),
            _ => seen.refused.push(took),
        }
        *seen.statuses.entry(status).or_default() += 1;
    }
}

fn quantiles(micros: &mut [u64]) -> serde_json::Value {
    micros.sort_unstable();
    let quantile = |share: f64| {
        let index = (micros.len().saturating_sub(1)) as f64 * share;
        micros.get(index as usize).map(|&us| us as f64 / 1000.0)
    };
    json!({ "p50": quantile(0.5), "p95": quantile(0.95), "p99": quantile(0.99), "max": quantile(1.0) })
}

/// Returns the processor time of this thread, the only one.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap();
    let nanoseconds: f64 = stat.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1e9
}
