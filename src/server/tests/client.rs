//! A client that is as plain as `curl`.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::Server;

#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The document.
    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The status and the error code of a refusal.
    pub fn refusal(&self) -> (u16, i64) {
        let document = self.json();
        assert!(document["message"].is_string(), "{document}");
        let code = document["error_code"].as_i64().unwrap();
        (self.status.as_u16(), code)
    }
}

impl Client {
    pub fn of(server: &Server) -> Self {
        Self {
            address: server.served()[0].address,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path), "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Request::delete(path), "").await
    }

    /// With a document.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.send(request, &body.to_string()).await
    }

    /// With a document.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        let request = Request::put(path).header(CONTENT_TYPE, "application/json");
        self.send(request, &body.to_string()).await
    }

    /// On a connection of its own.
    pub async fn send(&self, request: Builder, body: &str) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.send_over(stream, request, body).await
    }

    pub async fn send_over<S>(&self, stream: S, request: Builder, body: &str) -> Answer
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        if !request.headers().contains_key(HOST) {
            let host = self.address.to_string().parse().unwrap();
            request.headers_mut().insert(HOST, host);
        }
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// Writes bytes as they are, and reads until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
