//! Who is let in: requests for this machine, from pages of this server, with the token.

use uuid::Uuid;

use super::{Answer, Request};
use crate::app::App;
use crate::pages;

/// The name of this server's cookie and what must be in it. Cookies do not tell ports apart, so the name does.
pub(crate) struct Gate {
    token: String,
    cookie: String,
    hosts: Vec<String>,
}

impl Gate {
    pub(crate) fn new(port: u16) -> Gate {
        let names = ["127.0.0.1", "localhost", "[::1]"];
        let mut hosts: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
        if port == 80 {
            hosts.extend(names.map(str::to_owned));
        }
        Gate { token: secret(), cookie: format!("foldlog-{port}"), hosts }
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Answers a request, or says why not.
    pub(crate) fn answer(&self, request: &Request, app: &App) -> Answer {
        let is_head = request.method == "HEAD";
        let answer = self.refusal(request).unwrap_or_else(|| self.let_in(request, app));
        if is_head { answer.without_body() } else { answer }
    }

    /// A page elsewhere that reaches this server sends a foreign Host (its own name, resolved to loopback) or Origin.
    fn refusal(&self, request: &Request) -> Option<Answer> {
        let is_ours = |host: &str| self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host));
        match &request.host {
            None => return Some(Answer::text(400, "the request names no host\n")),
            Some(host) if !is_ours(host) => return Some(Answer::text(421, "this server answers to localhost only\n")),
            Some(_) => {}
        }
        let own = |origin: &str| origin.strip_prefix("http://").is_some_and(is_ours);
        let is_post = request.method == "POST";
        match &request.origin {
            Some(origin) if !own(origin) => return Some(Answer::text(403, "requests of other pages are refused\n")),
            None if is_post => return Some(Answer::text(403, "a request that changes something must name its origin\n")),
            _ => {}
        }
        let known = is_post || matches!(request.method.as_str(), "GET" | "HEAD");
        (!known).then(|| Answer::text(405, "GET, HEAD or POST\n").header("Allow", "GET, HEAD, POST"))
    }

    fn let_in(&self, request: &Request, app: &App) -> Answer {
        // The inspector's own files hold no secret, and the page that asks for the token needs them.
        if let Some(asset) = pages::asset(&request.path) {
            return asset;
        }
        if let Some(token) = request.get("token") {
            return match same(token, &self.token) {
                true => Answer::redirect(&without_token(request)).header("Set-Cookie", &self.set_cookie()),
                false => pages::locked(request),
            };
        }
        let mut cookies = request.cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
        if !cookies.any(|(name, value)| name == self.cookie && same(value, &self.token)) {
            return pages::locked(request);
        }
        pages::answer(app, request)
    }

    fn set_cookie(&self) -> String {
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie, self.token)
    }
}

/// 244 random bits, from the operating system.
pub(crate) fn secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// Compares without telling by the time taken how much is right.
pub(crate) fn same(given: &str, secret: &str) -> bool {
    let different = given.bytes().zip(secret.bytes()).fold(0, |sum, (one, other)| sum | (one ^ other));
    given.len() == secret.len() && different == 0
}

/// The address that was asked for, without the token, so that it does not stay in the history or get copied.
fn without_token(request: &Request) -> String {
    let rest = request.query.iter().filter(|(name, _)| name != "token");
    let query: Vec<String> =
        rest.map(|(name, value)| format!("{}={}", super::request::encode(name), super::request::encode(value))).collect();
    // Two slashes at the beginning, of either kind, would name another host.
    let path = format!("/{}", request.path.replace('\\', "%5C").trim_start_matches('/'));
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}
