//! Who is let in: Host, Origin, token, methods; and what every answer carries.

use foldlog::Store;
use foldlog_inspector::{Inspector, ServeError, Server};

use crate::client::{cookie, get, raw, secret, token};
use crate::sample::shop;

fn status(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    raw(server, format!("{method} {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).status
}

#[test]
fn only_requests_for_this_machine_from_its_own_pages_are_answered() {
    let (_place, store) = shop();
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    let (port, cookie) = (server.address().port(), cookie(&server));
    let own = format!("127.0.0.1:{port}");
    let hosts = [
        (own.clone(), true),
        (format!("localhost:{port}"), true),
        (format!("LOCALHOST:{port}"), true),
        (format!("[::1]:{port}"), true),
        ("127.0.0.1".to_owned(), false),
        (format!("127.0.0.1:{}", port ^ 1), false),
        (format!("localhost.evil.example:{port}"), false),
        (format!("evil.example:{port}"), false),
        ("evil.example".to_owned(), false),
        (format!("127.0.0.1.nip.io:{port}"), false),
        (format!("127.1:{port}"), false),
        (format!("0.0.0.0:{port}"), false),
        (String::new(), false),
    ];
    let origins = [
        (None, true),
        (Some(format!("http://{own}")), true),
        (Some(format!("http://localhost:{port}")), true),
        (Some(format!("https://{own}")), false),
        (Some("http://127.0.0.1".to_owned()), false),
        (Some(format!("http://127.0.0.1:{}", port ^ 1)), false),
        (Some("http://evil.example".to_owned()), false),
        (Some(format!("http://{own}.evil.example")), false),
        (Some("null".to_owned()), false),
        (Some(String::new()), false),
    ];
    for (host, host_is_ours) in &hosts {
        for (origin, origin_is_ours) in &origins {
            for path in ["/", "/statistics.json", "/live", "/assets/x.css"] {
                let mut headers = vec![("Host", host.as_str()), ("Cookie", cookie.as_str())];
                headers.extend(origin.as_ref().map(|origin| ("Origin", origin.as_str())));
                if *host_is_ours && *origin_is_ours {
                    if path != "/live" {
                        let expected = if path.starts_with("/assets") { 404 } else { 200 };
                        assert_eq!(status(&server, "GET", path, &headers), expected, "{host} {origin:?} {path}");
                    }
                } else {
                    let expected = if *host_is_ours { 403 } else { 421 };
                    assert_eq!(status(&server, "GET", path, &headers), expected, "{host} {origin:?} {path}");
                }
            }
            if host_is_ours & origin_is_ours {
                continue;
            }
            let mut headers = vec![("Host", host.as_str()), ("Cookie", cookie.as_str())];
            headers.extend(origin.as_ref().map(|origin| ("Origin", origin.as_str())));
            assert!(status(&server, "POST", "/storage/verify", &headers) >= 403);
        }
    }
    assert_eq!(status(&server, "GET", "/", &[("Cookie", &cookie)]), 400, "no host");
    assert_eq!(status(&server, "GET", "/", &[("Host", &own), ("Host", "evil.example"), ("Cookie", &cookie)]), 400, "two hosts");
    assert_eq!(status(&server, "POST", "/storage/verify", &[("Host", &own), ("Cookie", &cookie)]), 403, "no origin");
    for method in ["PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"] {
        assert_eq!(status(&server, method, "/", &[("Host", &own), ("Cookie", &cookie)]), 405, "{method}");
    }
}

#[test]
fn the_token_lets_in_once_and_the_cookie_afterwards() {
    let (_place, store) = shop();
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    let (address, token) = (server.address(), token(&server).to_owned());
    let ask = |path: &str, cookie: &str| {
        raw(&server, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n").as_bytes())
    };
    for path in ["/", "/log", "/a/default/order/o-1", "/statistics.json", "/live", "/e/1.json"] {
        let answer = ask(path, "");
        assert_eq!(answer.status, 401, "{path}");
        assert!(!answer.body.contains("Placed") && !answer.body.contains("Ada"), "{path} tells something: {}", answer.body);
    }
    for wrong in ["x", &token[1..], &format!("{token}x"), &token.to_uppercase()] {
        assert_eq!(ask(&format!("/?token={wrong}"), "").status, 401);
        assert_eq!(ask("/", &format!("foldlog-{}={wrong}", address.port())).status, 401);
    }
    assert_eq!(ask("/", &format!("foldlog-{}={token}", address.port() ^ 1)).status, 401, "the cookie of another port");

    let first = ask(&format!("/log?type=Placed&token={token}&q=a%2Fb"), "");
    assert_eq!((first.status, first.header("Location")), (303, Some("/log?type=Placed&q=a%2Fb")));
    let set = first.header("Set-Cookie").unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains("Domain"), "{set}");
    assert_eq!(ask("/log", set.split(';').next().unwrap()).status, 200);
    for elsewhere in ["//evil.example/", "/\\evil.example/", "///evil.example"] {
        let answer = ask(&format!("{elsewhere}?token={token}"), "");
        let to = answer.header("Location").unwrap_or("/");
        assert!(to.starts_with('/') && !to.starts_with("//") && !to.starts_with("/\\"), "{to}");
    }
    assert!(!format!("{server:?}").contains(&token));
    assert!(!get(&server, "/").body.contains(&token), "no page holds the token");
}

#[test]
fn every_answer_forbids_what_the_pages_do_not_need() {
    let (_place, store) = shop();
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    let home = get(&server, "/");
    let (_, style) = home.body.split_once("rel=\"stylesheet\" href=\"").unwrap();
    let style = style.split('"').next().unwrap().to_owned();
    for path in ["/", "/log", "/nothing", "/statistics.json", &style, "/a/default/order/o-1"] {
        let answer = get(&server, path);
        let policy = answer.header("Content-Security-Policy").expect(path);
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
            ("X-Frame-Options", "DENY"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert!(answer.header("Access-Control-Allow-Origin").is_none());
        let caching = answer.header("Cache-Control").unwrap();
        assert_eq!(caching == "no-store", *path != *style, "{path}: {caching}");
        assert!(!answer.body.contains("style=\"") && !answer.body.contains("onclick="), "{path} has what the policy forbids");
    }
    let head =
        raw(&server, format!("HEAD / HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", server.address(), cookie(&server)).as_bytes());
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn it_listens_on_this_machine_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = Inspector::new(Store::in_memory().unwrap()).serve(address).unwrap_err();
        assert!(matches!(refused, ServeError::NotLoopback(_)), "{refused}");
        assert!(refused.to_string().contains("127.0.0.1"));
    }
    let server = Inspector::new(Store::in_memory().unwrap()).serve("127.0.0.1:0").unwrap();
    let taken = Inspector::new(Store::in_memory().unwrap()).serve(server.address()).unwrap_err();
    assert!(matches!(taken, ServeError::Listen(_)), "{taken}");
}

#[test]
fn odd_requests_are_refused_and_slow_ones_do_not_stop_it() {
    let (_place, store) = shop();
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    let (address, cookie) = (server.address(), cookie(&server));
    let head = format!("Host: {address}\r\nCookie: {cookie}\r\n");
    for (request, expected) in [
        ("hello\r\n\r\n".to_owned(), 400),
        (format!("GET http://evil.example/ HTTP/1.1\r\n{head}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{head}X: {}\r\n\r\n", "x".repeat(40_000)), 431),
        (format!("GET / HTTP/1.1\r\n{head}{}\r\n", "X: y\r\n".repeat(100)), 400),
        (format!("POST /storage/verify HTTP/1.1\r\n{head}Origin: http://{address}\r\nContent-Length: 99999999\r\n\r\n"), 413),
        (format!("POST /storage/verify HTTP/1.1\r\n{head}Origin: http://{address}\r\nContent-Length: -1\r\n\r\n"), 400),
        (
            format!(
                "POST /storage/verify HTTP/1.1\r\n{head}Origin: http://{address}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            411,
        ),
        (format!("GET /%ff%00%2e%2e/..%2f..%2fetc/passwd HTTP/1.1\r\n{head}\r\n"), 404),
        (format!("GET /e/99999999999999999999999 HTTP/1.1\r\n{head}\r\n"), 404),
        (format!("GET /a/default/order/%ff HTTP/1.1\r\n{head}\r\n"), 404),
        (format!("GET /a/default/order/o-1?v=-1&from=zz&tab=%3Cscript%3E HTTP/1.1\r\n{head}\r\n"), 200),
        (format!("GET /log?before=18446744073709551615&from=9999-99-99&path=%24%24..= HTTP/1.1\r\n{head}\r\n"), 200),
    ] {
        let answer = raw(&server, request.as_bytes());
        assert_eq!(answer.status, expected, "{}\n{}", &request[..request.len().min(120)], answer.body);
    }
    // As many as may wait, and none of them says anything.
    let _silent: Vec<_> = (0..40).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    assert_eq!(get(&server, "/").status, 200);
}

#[test]
fn it_cannot_write_and_refuses_foreign_forms() {
    let (_place, store) = shop();
    let server = Inspector::new(store.clone()).serve("127.0.0.1:0").unwrap();
    let before = store.last_position().unwrap();
    let page = get(&server, "/storage");
    let secret = secret(&page);
    for form in ["", "secret=", "secret=wrong", &format!("secret={}", &secret[1..])] {
        assert_eq!(crate::client::post(&server, "/storage/verify", form).status, 403, "{form}");
    }
    let change = format!("secret={secret}&tenant=default&name=mail&confirmed=yes");
    for path in ["/change/retry", "/change/retry-failed", "/change/skip-failed", "/change/discard"] {
        let answer = crate::client::post(&server, path, &change);
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.body.contains("--allow-writes"));
    }
    assert_eq!(crate::client::post(&server, "/storage/verify", &format!("secret={secret}")).status, 303);
    assert_eq!(store.last_position().unwrap(), before);
}
