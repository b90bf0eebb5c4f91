//! A cluster of real NATS servers on this machine, and proxies to it that can be cut.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, copy_bidirectional},
    net,
    sync::watch,
};

/// A cluster of NATS servers.
pub struct Nats {
    folder: TempDir,
    nodes: Vec<Node>,
}

struct Node {
    port: u16,
    process: Child,
}

/// Returns a free port below the range of outgoing connections, so that none takes it while a
/// killed server is down.
fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 10_000;
    loop {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + ((first + next) % 10_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Sends a signal to a process.
pub fn signal(process: &Child, name: &str) {
    let mut kill = Command::new("kill");
    kill.args([name, &process.id().to_string()]);
    assert!(kill.status().unwrap().success());
}

impl Nats {
    /// Starts this many servers.
    pub fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<(u16, u16)> = (0..count).map(|_| (free(), free())).collect();
        let routes: Vec<String> = ports
            .iter()
            .map(|(_, route)| format!("\"nats://127.0.0.1:{route}\""))
            .collect();
        let mut nodes = Vec::new();
        for (number, (port, route)) in ports.into_iter().enumerate() {
            let store = folder.path().join(format!("node-{number}"));
            // Acknowledged writes are synced to disk, so a killed node keeps them.
            let cluster = format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{route}\", no_advertise: true, routes: [{}] }}\n",
                routes.join(", ")
            );
            let config = format!(
                "server_name: node-{number}\nlisten: \"127.0.0.1:{port}\"\n\
                 jetstream {{ store_dir: \"{}\", sync_interval: always }}\n{}",
                store.display(),
                if count > 1 { &cluster } else { "" }
            );
            let file = folder.path().join(format!("node-{number}.conf"));
            fs::write(&file, config).unwrap();
            let process = spawn(&file);
            nodes.push(Node { port, process });
        }
        let nats = Nats { folder, nodes };
        nats.nodes.iter().for_each(|node| listening(node.port));
        nats
    }

    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// Returns their URLs, separated by commas.
    pub fn urls(&self) -> String {
        urls(&self.ports())
    }

    pub fn process(&self, number: usize) -> &Child {
        &self.nodes[number].process
    }

    /// Kills a server without warning.
    pub fn kill(&mut self, number: usize) {
        let process = &mut self.nodes[number].process;
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Restarts a server with its folder and port.
    pub fn restart(&mut self, number: usize) {
        let file = self.folder.path().join(format!("node-{number}.conf"));
        self.nodes[number].process = spawn(&file);
        listening(self.nodes[number].port);
    }

    /// Returns the server that leads the gallery's stream, if any.
    pub async fn leader(&self) -> Option<usize> {
        let urls = self.urls();
        let client = async_nats::connect(urls.split(',').collect::<Vec<_>>());
        let context = async_nats::jetstream::new(client.await.ok()?);
        let mut stream = context.get_stream("scihcgrl_gallery").await.ok()?;
        let leader = stream.info().await.ok()?.cluster.as_ref()?.leader.clone()?;
        leader.strip_prefix("node-")?.parse().ok()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.process.kill();
            let _ = node.process.wait();
        }
    }
}

fn urls(ports: &[u16]) -> String {
    let urls = ports.iter().map(|port| format!("nats://127.0.0.1:{port}"));
    urls.collect::<Vec<_>>().join(",")
}

fn spawn(config: &PathBuf) -> Child {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".contract/bin/nats-server");
    let mut server = Command::new(&program);
    server.arg("-c").arg(config).stdout(Stdio::null());
    let spawned = server.stderr(Stdio::null()).spawn();
    spawned.unwrap_or_else(|error| panic!("{}: {error}; make contract", program.display()))
}

fn listening(port: u16) {
    let end = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "nats-server does not listen");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The proxy of one replica to the servers. While it is cut, data is dropped and connections stay
/// open.
pub struct Proxy {
    ports: Vec<u16>,
    cut: watch::Sender<bool>,
}

impl Proxy {
    /// Starts a proxy to servers at these ports.
    pub async fn to(servers: &[u16]) -> Self {
        let cut = watch::Sender::new(false);
        let mut ports = Vec::new();
        for &server in servers {
            let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.push(listener.local_addr().unwrap().port());
            let cut = cut.subscribe();
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass(client, server, cut.clone()));
                }
            });
        }
        Proxy { ports, cut }
    }

    /// Returns the URLs that the replica uses.
    pub fn urls(&self) -> String {
        urls(&self.ports)
    }

    /// Cuts or restores the connection.
    pub fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn pass(mut client: net::TcpStream, server: u16, mut cut: watch::Receiver<bool>) {
    let Ok(mut to) = net::TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut to) => return,
        _ = async { cut.wait_for(|cut| *cut).await.map(drop) } => {}
    }
    // The connection to the server stays open and silent. Data from the client is dropped.
    let mut lost = [0; 1024];
    while *cut.borrow_and_update() {
        tokio::select! {
            _ = cut.changed() => {}
            read = client.read(&mut lost) => if !matches!(read, Ok(1..)) { return },
        }
    }
}
