//! Hundreds of callers that send a byte per second, next to ordinary callers. The ordinary ones
//! must be served. The fate of the slow ones is only printed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, sleep_until, timeout},
};

use super::{
    ANSWER_TIMEOUT, UPRIGHT, search,
    server::{TestServer, times},
};

/// Callers whose head never ends.
const HEADS: usize = 500;
/// Callers whose body never ends; more than any queue holds.
const BODIES: usize = 300;
/// Longer than the 30 s that servers often allow for a head.
const SECONDS: u64 = 35;
const ORDINARY: usize = 4;

/// One slow caller.
struct Slow {
    stream: TcpStream,
    /// The bytes that are left to send.
    rest: Vec<u8>,
    /// The server's reaction and its second.
    end: Option<(u64, String)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_callers_are_served_next_to_eight_hundred_slow_ones() {
    let server = TestServer::start().await;
    let alone = ordinary(&server, Duration::from_secs(3)).await;
    print_times("alone", alone);

    let mut heads = Vec::new();
    for _ in 0..HEADS {
        let pad = "a".repeat(SECONDS as usize);
        let length = UPRIGHT.len();
        let rest = format!("{pad}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        let rest = [rest.as_bytes(), UPRIGHT].concat();
        heads.push(call(&server, "x-pad: ", rest).await);
    }
    let mut bodies = Vec::new();
    for _ in 0..BODIES {
        let length = UPRIGHT.len();
        let head = format!("content-length: {length}\r\nconnection: close\r\n\r\n");
        bodies.push(call(&server, &head, UPRIGHT.to_vec()).await);
    }
    let dripping = tokio::spawn(async move {
        drip(heads.iter_mut().chain(&mut bodies)).await;
        (heads, bodies)
    });
    let with_slow_ones = ordinary(&server, Duration::from_secs(SECONDS)).await;
    print_times("next to slow callers", with_slow_ones);

    let (heads, bodies) = dripping.await.unwrap();
    for (name, callers) in [("heads", heads), ("bodies", bodies)] {
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for caller in callers {
            *ends.entry(finish(caller).await).or_default() += 1;
        }
        println!("slow {name}: {ends:?}");
    }
    search(&server.client, &server.url).await;
}

async fn call(server: &TestServer, head: &str, rest: Vec<u8>) -> Slow {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://"))
        .await
        .unwrap();
    let start = format!("POST /encode HTTP/1.1\r\nhost: x\r\n{head}");
    stream.write_all(start.as_bytes()).await.unwrap();
    Slow {
        stream,
        rest,
        end: None,
    }
}

/// Sends one byte for each caller every second.
async fn drip<'a>(callers: impl Iterator<Item = &'a mut Slow>) {
    let mut callers: Vec<_> = callers.collect();
    let started = tokio::time::Instant::now();
    for second in 1..SECONDS {
        sleep_until(started + Duration::from_secs(second)).await;
        for caller in &mut callers {
            if caller.end.is_some() {
                continue;
            }
            let byte = caller.rest.remove(0);
            let sent = caller.stream.write_all(&[byte]).await;
            let mut answer = [0; 15];
            caller.end = match (sent, caller.stream.try_read(&mut answer)) {
                (_, Ok(0)) | (Err(_), Err(_)) => Some((second, "closed".to_owned())),
                (_, Ok(length)) => Some((
                    second,
                    String::from_utf8_lossy(&answer[..length]).into_owned(),
                )),
                (Ok(()), Err(_)) => None,
            };
        }
    }
}

/// Sends the rest at once; returns the outcome.
async fn finish(mut caller: Slow) -> String {
    if let Some((second, end)) = caller.end {
        return format!("{end} after {second} s");
    }
    let mut answer = Vec::new();
    let finished = async {
        caller.stream.write_all(&caller.rest).await?;
        caller.stream.read_to_end(&mut answer).await
    };
    let Ok(read) = timeout(ANSWER_TIMEOUT, finished).await else {
        return "no answer".to_owned();
    };
    match read {
        Ok(length) if length >= 15 => {
            let status = String::from_utf8_lossy(&answer[9..12]).into_owned();
            format!("open to the end, then answered {status}")
        }
        _ => "closed at the end".to_owned(),
    }
}

/// Returns the durations of ordinary searches, each of which must succeed.
async fn ordinary(server: &TestServer, length: Duration) -> Vec<Duration> {
    let started = Instant::now();
    let callers: Vec<_> = (0..ORDINARY)
        .map(|_| {
            let (client, url) = (server.client.clone(), server.url.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while started.elapsed() < length {
                    let before = Instant::now();
                    search(&client, &url).await;
                    took.push(before.elapsed());
                    sleep(Duration::from_millis(times(100, 5))).await;
                }
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for caller in callers {
        all.extend(caller.await.unwrap());
    }
    all
}

fn print_times(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let quantile =
        |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{} searches {what}, all answered 200: median {:.1} ms, p99 {:.1} ms, slowest {:.1} ms",
        took.len(),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
}
