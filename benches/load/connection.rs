//! A keep-alive connection. Sends each request at once, and keeps only the status of the response.
//! Reads what this service and uvicorn write: HTTP/1.1 with a content length. Anything else is an
//! error.

use std::io::{Error, ErrorKind, Result};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    open: bool,
}

impl Connection {
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            buffer: Vec::with_capacity(1 << 14),
            open: true,
        })
    }

    /// Returns true if the service keeps the connection open.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Sends a request and reads its whole response. Returns the status.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        self.open = false;
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = std::str::from_utf8(&self.buffer[..end]).map_err(|_| odd())?;
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(odd)?;
        let mut length: Option<usize> = None;
        let mut close = false;
        for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                close = value.eq_ignore_ascii_case("close");
            }
        }
        let end = end + length.ok_or_else(odd)?;
        while self.buffer.len() < end {
            self.more().await?;
        }
        self.open = !close;
        Ok(status)
    }

    async fn more(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn odd() -> Error {
    ErrorKind::InvalidData.into()
}
