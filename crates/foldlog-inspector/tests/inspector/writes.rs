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
fn a_verification_shows_its_steps_and_is_noted_if_writing_is_allowed() {
    for is_allowed in [false, true] {
        let (_place, store) = shop();
        let inspector = Inspector::new(store.clone());
        let inspector = if is_allowed { inspector.allow_writes() } else { inspector };
        let server = inspector.serve("127.0.0.1:0").unwrap();
        assert!(get(&server, "/").body.contains("no result is noted in the file"));
        let secret = secret(&get(&server, "/storage"));
        assert_eq!(post(&server, "/storage/verify", &format!("secret={secret}")).status, 303);
        let began = std::time::Instant::now();
        let page = loop {
            let page = get(&server, "/storage").body;
            if page.contains("No damage.") {
                break page;
            }
            assert!(began.elapsed().as_secs() < 60, "{page}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        };
        for step in ["Structure", "every checksum, and the entries in the indexes", "Deliveries"] {
            assert!(page.contains(step), "{step}: {page}");
        }
        assert_eq!(store.maintenance().last_verified().unwrap().is_some(), is_allowed);
        drop(server);
        let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
        assert_eq!(get(&server, "/storage").body.contains("when it was verified last"), is_allowed);
        assert_eq!(get(&server, "/").body.contains("up to position"), is_allowed);
    }
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
