//! Retry, discard and skip: only if allowed, only after a question, only of the inspector's own pages.

use foldlog_inspector::Inspector;

use crate::browser::{Browser, WIDE};
use crate::client::{get, post, secret};
use crate::sample::shop;

#[test]
fn dead_letters_are_retried_and_discarded_after_a_question() {
    let (_place, store) = shop();
    let server = Inspector::new(store.clone()).allow_writes().serve("127.0.0.1:0").unwrap();
    let letters = || store.outbox("mail").filter(foldlog::Filter::new().event_type("Paid")).dead_letters().unwrap();
    let before = letters().count().unwrap();
    assert!(before > 2, "{before}");
    let first = letters().iter().next().unwrap().unwrap().position;
    let page = get(&server, "/delivery");
    let secret = secret(&page);
    let form = format!("secret={secret}&tenant=default&name=mail&position={first}");

    let asked = post(&server, "/change/discard", &form);
    assert_eq!(asked.status, 200);
    assert!(asked.body.contains("Yes, discard") && asked.body.contains("Cancel"));
    assert_eq!(letters().count().unwrap(), before, "a question changes nothing");
    assert_eq!(post(&server, "/change/discard", "secret=wrong&tenant=default&name=mail&confirmed=yes").status, 403);
    assert_eq!(
        post(&server, "/change/discard", &format!("secret={secret}&tenant=default&name=nobody&confirmed=yes")).status,
        404
    );
    assert_eq!(post(&server, "/change/discard", &format!("secret={secret}&tenant=default&name=mail&confirmed=yes")).status, 400);
    assert_eq!(letters().count().unwrap(), before);
    let done = post(&server, "/change/discard", &format!("{form}&confirmed=yes"));
    assert_eq!(done.status, 303, "{}", done.body);
    assert_eq!(letters().count().unwrap(), before - 1);
    assert_eq!(post(&server, "/change/discard", &format!("{form}&confirmed=yes")).status, 404, "it is gone");

    assert_eq!(post(&server, "/change/retry", &format!("secret={secret}&tenant=default&name=mail&confirmed=yes")).status, 303);
    assert_eq!(letters().count().unwrap(), 0);
    assert_eq!(store.outbox("mail").filter(foldlog::Filter::new().event_type("Paid")).status().unwrap().to_retry, before - 1);
}

#[test]
fn a_person_skips_the_event_that_stopped_a_handler() {
    let Some(browser) = Browser::start() else { return };
    let (_place, store) = shop();
    let server = Inspector::new(store.clone()).allow_writes().serve("127.0.0.1:0").unwrap();
    browser.enter(&server);
    browser.look(WIDE);
    browser.open(&server, "/delivery");
    assert!(browser.text(".err").contains("field `carrier` is missing"));
    browser.keep_picture("delivery-with-writes");
    browser.click("form[action='/change/skip-failed'] button");
    browser.wait("return document.querySelector('h1').innerText.startsWith('Skip the event')");
    browser.keep_picture("delivery-question");
    assert!(store.subscription("shipping").status().unwrap().failure.is_some());
    browser.click("form[action='/change/skip-failed'] button");
    browser.wait("return location.pathname === '/delivery'");
    assert!(browser.text("p.notice[role=status]").contains("was skipped"));
    let status = store.subscription("shipping").status().unwrap();
    assert!(status.failure.is_none() && status.position == 40, "{status:?}");
    assert_eq!(browser.complaints(), [""; 0]);
}
