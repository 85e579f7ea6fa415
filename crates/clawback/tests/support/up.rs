//! `up --sandbox` with its HTTP doors.

use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;

use super::{Place, Running, read};

/// A running installation with its HTTP doors.
pub struct Up {
    pub place: Place,
    pub running: Running,
    pub http: Client,
    pub api: String,
    pub ops: String,
    pub token: String,
}

impl Up {
    pub async fn start() -> Self {
        Self::start_in(Place::empty(), &[]).await
    }

    pub async fn start_in(mut place: Place, arguments: &[&str]) -> Self {
        place.set("CLAWBACK_OPS_LISTEN", "127.0.0.1:0");
        place.set("CLAWBACK_OPS_TOKEN", "ops-topsecret");
        let mut running = place.start(&[&["up", "--sandbox", "--listen", "127.0.0.1:0"], arguments].concat());
        let api = format!("http://{}", running.logged("serving the HTTP API", "address"));
        let ops = format!("http://{}", running.logged("serving /livez, /readyz and /metrics", "address"));
        let token = read(&place.path("data/token")).trim().to_owned();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        let up = Self { place, running, http, api, ops, token };
        up.wait_until_ready().await;
        up
    }

    async fn wait_until_ready(&self) {
        for _ in 0..400 {
            if self.http.get(format!("{}/readyz", self.ops)).send().await.unwrap().status() == StatusCode::OK {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it never got ready: {}", self.running.log());
    }

    pub async fn call(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Response {
        self.http.request(method, format!("{}{path}", self.api)).bearer_auth(&self.token).body(body).send().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.call(Method::POST, path, body.to_string()).await).await
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.call(Method::GET, path, "").await).await
    }

    pub async fn operate(&self, method: Method, token: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}/ops/v1/pauses", self.ops)).bearer_auth(token);
        answer(request.body(body.to_string()).send().await.unwrap()).await
    }

    pub async fn until_state(&self, path: &str, reached: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        for _ in 0..300 {
            last = self.get(path).await.1;
            if reached(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it never came to that: {last}\n{}", self.running.log());
    }
}

pub async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let expected = if status.is_success() { "application/json" } else { "application/problem+json" };
    assert_eq!(kind, expected, "{status}");
    (status, response.json().await.unwrap())
}
