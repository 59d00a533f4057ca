//! Names and texts that try to become markup or script, in every field.

use foldlog::serde_json::json;
use foldlog::{Expected, HandlerError, Metadata, NewEvent, Outbox, SnapshotReason};
use foldlog_inspector::Inspector;

use crate::browser::{Browser, WIDE};
use crate::client::get;
use crate::sample::open;

const ATTACKS: [&str; 12] = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "\"><svg onload=window.hacked=3>",
    "' onmouseover='window.hacked=4' x='",
    "</script><script>window.hacked = 5</script>",
    "javascript:window.hacked=6",
    "</title></textarea></style><script>window.hacked=7</script>",
    "{{constructor.constructor('window.hacked=8')()}}",
    "\u{202e}gnp.exe\u{0007}\u{200b}<b>bold</b>",
    "<!--<iframe srcdoc='<script>parent.hacked=9</script>'>",
    "__proto__",
    "a/b?c#d%2f..&e=\\\"\r\nSet-Cookie: x=1",
];

#[test]
fn nothing_of_the_store_becomes_markup() {
    let place = tempfile::tempdir().unwrap();
    let root = open(&place);
    for (number, attack) in ATTACKS.iter().enumerate() {
        let store = root.tenant(attack);
        let metadata = Metadata::new().user_id(*attack).correlation_id(*attack).causation_id(*attack).extra(*attack, *attack);
        let mut data = json!({ "plain": attack, "list": [attack], "constructor": { "prototype": attack } });
        data[attack] = json!({ *attack: attack });
        let event = NewEvent::new(*attack, &data).unwrap().tag(*attack).metadata(&metadata).unwrap();
        let second = NewEvent::new(*attack, &json!({ *attack: number, "plain": null })).unwrap();
        store.append(attack, attack, Expected::New, [event, second]).unwrap();
        let handle = store.json_aggregates(attack).with_metadata(&Metadata::new().user_id(*attack)).unwrap();
        handle.create_snapshot(attack, SnapshotReason::Manual).unwrap();
        let failing = store.subscription(attack).run_to_end(|_| Err(HandlerError::from(*attack)));
        assert!(failing.is_err());
        let outbox: Outbox = store.outbox(&format!("{attack}-outbox"));
        assert!(outbox.max_attempts(1).publisher(Refuse(attack)).run_to_end().is_ok());
    }
    let server = Inspector::new(root.clone()).serve("127.0.0.1:0").unwrap();
    let mut paths: Vec<String> =
        ["/", "/aggregates", "/aggregates?order=id", "/log", "/delivery", "/storage"].map(str::to_owned).into();
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for (number, attack) in ATTACKS.iter().enumerate() {
        let name = encode(attack);
        let aggregate = format!("/a/{name}/{name}/{name}");
        paths.extend([
            format!("{aggregate}?v=2"),
            format!("{aggregate}?v=1&tab=event"),
            format!("{aggregate}?tab=snapshots&fold={name}&list={name}"),
            format!("{aggregate}?from=1&to=2"),
            format!("/e/{}", number * 2 + 1),
            format!("/aggregates?q={name}&tenant={name}&type={name}&order={name}"),
            format!("/log?type={name}&atype={name}&tenant={name}&tag={name}"),
            format!("/log?path={name}&meta={name}&from={name}&to={name}"),
            format!("/delivery?done={name}"),
            format!("/find?q={name}"),
            format!("/{name}"),
            format!("/e/{name}"),
        ]);
    }

    // Without a browser: no tag of ours is written by data.
    for path in &paths {
        let answer = get(&server, path);
        assert!((200..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
        let header_was_split = answer.head.lines().skip(1).any(|line| line.starts_with("Set-Cookie: x"));
        assert!(!header_was_split, "{path}: {}", answer.head);
        for tag in ["<script>", "<img", "<iframe", "<svg onload", "<b>bold", "<!--"] {
            assert!(!answer.body.contains(tag), "{path} has {tag}");
        }
        // What a form sends back, and what a button copies, must be as it is stored; nobody sees it.
        let body = answer.body.replace(" data-copy=\"", " value=\"");
        let mut parts = body.split(" value=\"");
        let mut seen = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| seen.push_str(part.split_once('"').map_or(part, |(_, rest)| rest)));
        assert!(!seen.contains('\u{202e}') && !seen.contains('\u{200b}'), "{path} has characters that hide");
    }

    let Some(browser) = Browser::start() else { return };
    browser.enter(&server);
    browser.look(WIDE);
    let mut shown = 0;
    for path in &paths {
        browser.open(&server, path);
        let found = browser.script(
            "document.querySelectorAll('details').forEach(d => d.open = true); document.querySelectorAll('.twist').forEach(t => t.click()); \
             document.querySelectorAll('*').forEach(e => e.dispatchEvent(new MouseEvent('mouseover', { bubbles: false }))); \
             return [window.hacked ?? null, ({}).polluted ?? null, document.querySelectorAll('main script, main img, main iframe').length, \
             [...document.querySelectorAll('a[href]')].filter(a => !/^https?:/.test(a.protocol)).length, document.body.innerText.includes('hacked')]",
        );
        assert_eq!((&found[0], &found[1], &found[2], &found[3]), (&json!(null), &json!(null), &json!(0), &json!(0)), "{path}");
        shown += u64::from(found[4] == json!(true));
        // A server lets twelve pages wait for news, and a browser closes those that it has left a little later.
        let expected = |line: &String| line.contains("404") || (line.contains("/live") && line.contains("503"));
        let severe: Vec<String> = browser.complaints().into_iter().filter(|line| !expected(line)).collect();
        assert!(severe.is_empty(), "{path}: {severe:?}");
    }
    assert!(shown > 60, "the texts are shown as they are: on {shown} pages");
    // A part that the script puts in place is as safe as a page.
    let name = encode(ATTACKS[1]);
    browser.open(&server, &format!("/a/{name}/{name}/{name}?v=2"));
    browser.press(&["Left"]);
    browser.wait("return document.querySelector('#vnow').textContent === 'v1' && document.querySelector('#label').dataset.spoken.startsWith('version 1 ')");
    browser.press(&["c"]);
    browser.wait("return document.querySelectorAll('#view .side > div').length === 2");
    assert_eq!(browser.script("return [window.hacked ?? null, document.querySelectorAll('main img').length]"), json!([null, 0]));
}

struct Refuse(&'static str);

impl foldlog::Publisher for Refuse {
    fn publish(&mut self, _: &foldlog::Message<'_>) -> Result<(), foldlog::PublishError> {
        Err(foldlog::PublishError::Reject(self.0.to_owned()))
    }
}
