//! The commands that the inspector's pages show for copying.

use std::process::Command;

use foldlog::{Expected, Filter, HandlerError, Message, NewEvent, PublishError, Store, serde_json::json};
use foldlog_inspector::{Inspector, Server};

use crate::support::{COMMAND, Place};

fn page(server: &Server, path: &str) -> String {
    use std::io::{Read, Write};
    let token = server.url().split_once("token=").unwrap().1;
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    let (address, port) = (server.address(), server.address().port());
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: foldlog-{port}={token}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    answer
}

/// What the buttons named Copy put into the clipboard, if it is a command.
fn commands(page: &str) -> Vec<String> {
    let raw = page.split("data-copy=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let unescaped = raw.map(|text| {
        text.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    });
    unescaped.filter(|text| text.starts_with("foldlog ")).collect()
}

#[test]
fn the_commands_for_copying_work() {
    let place = Place::shop();
    let file = place.path("it's a shop.db");
    std::fs::rename(place.path("shop.db"), &file).unwrap();
    let store = Store::open(&file).unwrap();
    let odd = [("a/b", "c d"), ("order", "-x'\"$(true)`"), ("[odd", "ünï"), ("order", "line\nbreak")];
    for (aggregate_type, id) in odd {
        store.append(aggregate_type, id, Expected::New, [NewEvent::new("Made", &json!({})).unwrap()]).unwrap();
    }
    let reject = |message: &Message<'_>| match message.event.position.get() {
        1 | 3 => Err(PublishError::Reject("no such customer".to_owned())),
        _ => Ok(()),
    };
    store.outbox("mails").publisher(reject).run_to_end().unwrap();
    store.outbox("for all").filter(Filter::new().all_tenants()).publisher(reject).run_to_end().unwrap();
    let acme = store.tenant("acme");
    acme.outbox("--odd").publisher(|_: &Message<'_>| Err(PublishError::Reject("no".to_owned()))).run_to_end().unwrap();
    let fails = |_: &foldlog::RecordedEvent| Err(HandlerError::from("connection refused"));
    store.subscription("search").run_to_end(fails).unwrap_err();
    store.subscription("of all").filter(Filter::new().all_tenants()).run_to_end(fails).unwrap_err();
    acme.subscription("acme's").run_to_end(fails).unwrap_err();
    let server = Inspector::new(store.clone()).serve("127.0.0.1:0").unwrap();
    let mut shown = Vec::new();
    for path in ["/", "/storage", "/delivery", "/a/default/order/4711?v=2", "/a/acme/order/1"] {
        shown.extend(commands(&page(&server, path)));
    }
    for (aggregate_type, id) in odd {
        let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        shown.extend(commands(&page(&server, &format!("/a/default/{}/{}", encoded(aggregate_type), encoded(id)))));
    }
    shown.sort();
    shown.dedup();
    assert!(shown.len() >= 14, "{shown:#?}");
    for command in shown {
        let (_, arguments) = command.split_once(' ').unwrap();
        let ran = Command::new("sh").arg("-c").arg(format!("{COMMAND} {arguments}")).output().unwrap();
        assert!(ran.status.success(), "{command}\n{}", String::from_utf8_lossy(&ran.stderr));
    }
    let dead = store.outbox("mails").dead_letters().unwrap().count().unwrap();
    assert_eq!(dead, 0, "the command retried them");
}
