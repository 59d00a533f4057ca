//! Every page in a browser: what it shows, its keys, and whether everybody can use it.

use foldlog::serde_json::json;
use foldlog::{Expected, NewEvent, Query, Store};
use foldlog_inspector::{Inspector, Server};

use crate::browser::{Browser, LOOKS, NARROW, WIDE, axe};
use crate::sample::{long_order, shop};

fn serve(store: &Store) -> Server {
    Inspector::new(store.clone()).serve("127.0.0.1:0").unwrap()
}

const LONG: &str = "/a/default/order/o-long";

/// The pages, with a name for their pictures.
fn all(store: &Store) -> Vec<(&'static str, String)> {
    let paid = store.read(Query::new()).map(Result::unwrap).find(|event| event.version == 2).unwrap();
    vec![
        ("overview", "/".to_owned()),
        ("aggregates", "/aggregates".to_owned()),
        ("aggregates-by-id", "/aggregates?order=id&type=order&q=o-1".to_owned()),
        ("aggregates-none", "/aggregates?q=zzz".to_owned()),
        ("replay", format!("{LONG}?v=41")),
        ("replay-event", format!("{LONG}?v=41&tab=event&list=compact")),
        ("replay-snapshots", format!("{LONG}?v=90&tab=snapshots")),
        ("compare", format!("{LONG}?from=30&to=66")),
        ("before", format!("{LONG}?v=0")),
        ("event", format!("/e/{}", paid.position)),
        ("log", "/log".to_owned()),
        ("log-filtered", "/log?type=Paid&tenant=default&tag=customer%3Ac-1&path=%24.method%20%3D%20%22card%22".to_owned()),
        ("delivery", "/delivery".to_owned()),
        ("reader", "/delivery/default/mail".to_owned()),
        ("aggregates-chosen", "/aggregates?show=dead".to_owned()),
        ("storage", "/storage".to_owned()),
        ("not-found", "/e/999999".to_owned()),
    ]
}

#[test]
fn every_page_is_right_for_everybody_in_light_and_dark_wide_and_narrow() {
    let Some(browser) = Browser::start() else { return };
    let Some(axe) = axe() else { return };
    let (_place, store) = shop();
    let server = serve(&store);
    browser.enter(&server);
    let mut found = Vec::new();
    for look in LOOKS {
        browser.look(look);
        for (name, path) in all(&store) {
            browser.open(&server, &path);
            browser.wait("return document.readyState === 'complete'");
            let (name, page) = (format!("{name}-{}", look.name()), path);
            browser.keep_picture(&name);
            let violations = browser.violations(&axe);
            found.extend(violations.into_iter().map(|violation| format!("{name} {page}: {violation}")));
            let wide = browser.script("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]");
            if wide[0].as_u64() > wide[1].as_u64() {
                found.push(format!("{name} {page}: wider than its window: {wide}"));
            }
            if !name.starts_with("not-found") {
                found.extend(browser.complaints().into_iter().map(|complaint| format!("{name}: {complaint}")));
            } else {
                browser.complaints();
            }
        }
        browser.open(&server, "/");
        browser.press(&["?"]);
        found.extend(browser.violations(&axe).into_iter().map(|violation| format!("help {}: {violation}", look.name())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_slider_shows_the_state_of_every_version() {
    let Some(browser) = Browser::start() else { return };
    let (_place, store) = shop();
    let server = serve(&store);
    browser.enter(&server);
    browser.look(WIDE);
    browser.open(&server, &format!("{LONG}?v=41"));
    let orders = store.json_aggregates("order").without_snapshots();
    let shows = |version: u64| {
        browser.wait(&format!("return document.querySelector('#vnow').textContent === 'v{version}' && document.querySelector('#label').dataset.spoken.startsWith('{}')",
            if version == 0 { "before".to_owned() } else { format!("version {version} ") }));
        if version > 0 {
            // The page folds what did not change; all of it is shown when that is turned off.
            let state = orders.replay_to_version("o-long", version).unwrap().state;
            let steps = state["steps"].to_string();
            assert!(
                browser.text("#state").contains(&format!("→{steps}")) || version == 1,
                "{version}: {}",
                browser.text("#state")
            );
            assert!(browser.text("#state").contains("12345678901234567890"), "every digit of a large number");
            assert_eq!(browser.count(".steps [aria-current=step]"), 1);
        }
    };
    shows(41);
    let mut at = 41;
    for (key, by) in [("Left", -1i64), ("j", 1), ("j", 1), ("k", -1), ("Right", 1)] {
        browser.press(&[key]);
        at += by;
        shows(at as u64);
    }
    browser.press(&["]"]);
    shows(60);
    browser.press(&["[", "["]);
    shows(0);
    browser.press(&["Home"]);
    shows(0);
    assert_eq!(browser.text("#state").trim(), "null");
    browser.press(&["End"]);
    shows(90);

    // The range itself, by its own keys, and dragged.
    browser.script("document.querySelector('#vb').focus()");
    browser.press(&["PageUp", "Home", "Right", "Right"]);
    shows(2);
    let bounds = browser.script("const r = document.querySelector('#vb').getBoundingClientRect(); return [r.left, r.width, r.top + r.height / 2].map(Math.round)");
    let (left, width, middle) = (bounds[0].as_i64().unwrap(), bounds[1].as_i64().unwrap(), bounds[2].as_i64().unwrap());
    let x = |version: i64| left + 8 + (width - 16) * version / 90;
    browser.drag((x(2), middle), (x(45), middle));
    shows(45);
    browser.wait("return location.search.includes('v=45')");
    assert_eq!(
        browser.script("return document.querySelector('#vb').getAttribute('aria-valuetext')"),
        "version 45 of 90, Accepted"
    );
    assert_eq!(browser.count(".track .bar.past"), 45);

    // A walk there and back ends where a new page begins.
    browser.script("document.activeElement.blur()");
    let before = browser.text("#view");
    browser.press(&["Left"; 6]);
    shows(39);
    browser.press(&["Right"; 6]);
    shows(45);
    assert_eq!(browser.text("#view"), before);
    browser.open(&server, &format!("{LONG}?v=45"));
    assert_eq!(browser.text("#view"), before);

    browser.click(".steps li[data-v='47'] a");
    shows(47);
    browser.press(&[" "]);
    browser.wait("return +document.querySelector('#vb').value >= 50");
    browser.press(&[" "]);
    assert_eq!(browser.script("return document.querySelector('#play').getAttribute('aria-label')"), "Play");
    assert_eq!(browser.complaints(), [""; 0]);

    // How long a step takes in the browser, the server's work included.
    let took = browser.script(
        "const done = arguments[arguments.length - 1]; const b = document.querySelector('#vb'); const began = performance.now(); const n = 30; \
         for (let i = 1; i <= n; i++) { b.value = i; b.dispatchEvent(new Event('input')); } return (performance.now() - began) / n",
    );
    println!("{:.2} ms for a step of the slider until the label, the bars and the list follow", took.as_f64().unwrap());
    assert!(took.as_f64().unwrap() < 50.0, "{took} ms");
}

#[test]
fn two_versions_are_compared() {
    let Some(browser) = Browser::start() else { return };
    let (_place, store) = shop();
    let server = serve(&store);
    browser.enter(&server);
    browser.look(WIDE);
    browser.open(&server, &format!("{LONG}?v=66"));
    browser.press(&["c"]);
    browser.wait("return document.querySelectorAll('#view .side > div').length === 2");
    browser.wait("return location.search.includes('from=56&to=66')");
    assert!(browser.text("#view h2").starts_with("Version 56 against 66: 10 events between"));
    browser.press(&["Left"]);
    browser.wait("return document.querySelector('#view h2')?.innerText.startsWith('Version 56 against 65')");
    // The other thumb cannot pass this one.
    browser.script("const a = document.querySelector('#va'); a.value = 80; a.dispatchEvent(new Event('input'))");
    browser.wait("return document.querySelector('#view h2')?.innerText.startsWith('Version 65 against 65')");
    browser.press(&["c"]);
    browser.wait("return document.querySelector('#state') && location.search.includes('v=65')");

    browser.open(&server, &format!("{LONG}?from=30&to=66&fold=0"));
    let lines = |side: u8| browser.count(&format!("#view .side > div:nth-child({side}) .jl"));
    assert!(lines(1) > 5 && lines(1) == lines(2), "the lines stand beside each other");
    assert_eq!(browser.count(".track .bar.past"), 36);
    let columns =
        browser.script("return [...document.querySelectorAll('#view .side .json')].map(j => j.innerText.includes('\"steps\"'))");
    assert_eq!(columns, json!([true, true]));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_keyboard_alone_leads_everywhere() {
    let Some(browser) = Browser::start() else { return };
    let (_place, store) = shop();
    let server = serve(&store);
    browser.enter(&server);
    browser.look(WIDE);
    let path = || browser.script("return location.pathname");
    for (key, to) in [("a", "/aggregates"), ("l", "/log"), ("d", "/delivery"), ("s", "/storage"), ("o", "/")] {
        browser.press(&["g", key]);
        browser.wait(&format!("return location.pathname === '{to}' && document.readyState === 'complete'"));
    }
    browser.press(&["?"]);
    assert_eq!(browser.script("return document.querySelector('#help').open"), true);
    browser.press(&["Escape"]);
    assert_eq!(browser.script("return document.querySelector('#help').open"), false);
    browser.press(&["Tab"]);
    assert_eq!(browser.script("return document.activeElement.className"), "skip");

    browser.open(&server, "/log");
    browser.press(&["j", "j", "Enter"]);
    assert_eq!(browser.count("tr.body:not([hidden])"), 1, "a row opens in place");
    browser.press(&["j", "Enter"]);
    assert_eq!(browser.count("tr.body:not([hidden])"), 2, "and another");

    browser.open(&server, "/");
    browser.press(&["/"]);
    assert_eq!(browser.script("return document.activeElement.id"), "find");
    browser.press(&["o", "-", "l", "o", "n", "g", "Enter"]);
    browser.wait("return location.pathname === '/aggregates'");
    assert_eq!(browser.count("tbody tr"), 1);
    browser.press(&["j", "Enter"]);
    browser.wait(&format!("return location.pathname === '{LONG}'"));
    let event = store.read(Query::new().after_position(4)).next().unwrap().unwrap();
    for asked in [event.id.to_string(), "5".to_owned()] {
        browser.open(&server, &format!("/find?q={asked}"));
        assert_eq!(path(), "/e/5");
    }
    browser.press(&["Right"]);
    browser.wait("return location.pathname !== '/e/5'");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn pages_are_complete_without_script() {
    let Some(browser) = Browser::start() else { return };
    let (_place, store) = shop();
    let server = serve(&store);
    browser.enter(&server);
    browser.look(NARROW);
    browser.devtools("Network.enable", &json!({}));
    browser.devtools("Network.setBlockedURLs", &json!({ "urls": ["*.js"] }));
    browser.open(&server, &format!("{LONG}?v=41&fold=0"));
    assert_eq!(browser.script("return document.querySelector('#play').hidden"), true, "the script did not run");
    assert_eq!((browser.count(".steps a"), browser.text("#vnow")), (90, "v41".to_owned()));
    assert!(browser.count("#state .jl") >= 8);
    browser.click("a[data-go='-1']");
    assert_eq!(browser.text("#vnow"), "v40");
    browser.open(&server, "/log?tag=customer%3Ac-1");
    assert_eq!(browser.count("tbody tr[data-position]"), 21, "seven orders of one customer");
}

#[test]
fn new_events_appear_and_nothing_moves_under_the_pointer() {
    let Some(browser) = Browser::start() else { return };
    let (_place, store) = shop();
    let server = serve(&store);
    browser.enter(&server);
    browser.look(WIDE);
    let ring = |n: i64| store.append("bell", n, Expected::New, [NewEvent::new("Rang", &json!({ "n": n })).unwrap()]).unwrap();
    browser.open(&server, "/log");
    browser.wait("return document.querySelector('#live').innerText === 'Live'");
    ring(1);
    browser.wait("return document.querySelector('#news tbody tr[data-position]').innerText.includes('Rang')");
    // A row is open: it must not move.
    browser.click("#news .twist");
    ring(2);
    browser.wait("return document.querySelector('#live').innerText === '1 new event'");
    ring(3);
    browser.wait("return document.querySelector('#live').innerText === '2 new events'");
    assert_eq!(browser.count("tr.body:not([hidden])"), 1);
    browser.click("#live");
    browser.wait("return document.querySelector('#news').innerText.includes('n: 3')");

    browser.open(&server, "/");
    browser.wait("return document.querySelector('#live').innerText === 'Live'");
    let before = browser.text(".figures dd");
    ring(4);
    browser.wait(&format!("return document.querySelector('.figures dd').innerText !== {}", json!(before)));

    browser.open(&server, &format!("{LONG}?v=90"));
    browser.wait("return performance.getEntriesByType('resource').length > 0");
    std::thread::sleep(std::time::Duration::from_millis(500));
    long_order(&store, "o-long", 3);
    browser.wait("return document.querySelector('#live').innerText === 'Version 93 is there'");
    browser.click("#live");
    browser.wait("return document.querySelector('#vnow').innerText === 'v93'");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_brush_sets_the_range() {
    let Some(browser) = Browser::start() else { return };
    let (_place, store) = shop();
    let server = serve(&store);
    browser.enter(&server);
    browser.look(WIDE);
    browser.open(&server, "/log");
    let bounds = browser.script("const r = document.querySelector('.brush').getBoundingClientRect(); return [r.left, r.width, r.top + 40].map(Math.round)");
    let (left, width, y) = (bounds[0].as_i64().unwrap(), bounds[1].as_i64().unwrap(), bounds[2].as_i64().unwrap());
    let x = |day: i64| left + width * day / 60 + 4;
    browser.drag((x(40), y), (x(49), y));
    browser.wait("return location.search.includes('from=') && document.readyState === 'complete'");
    let shown = browser.script("return [document.querySelector('#from').value, document.querySelector('#to').value]");
    let days: Vec<foldlog::chrono::NaiveDate> =
        shown.as_array().unwrap().iter().map(|day| day.as_str().unwrap().parse().unwrap()).collect();
    assert_eq!((days[1] - days[0]).num_days(), 9);
    assert_eq!(browser.count(".brush .bar.hot"), 10);
    assert!(browser.text(".active").contains("30 events"), "three of each day: {}", browser.text(".active"));
    assert_eq!(browser.complaints(), [""; 0]);
}
