//! A headless Chromium, driven through chromedriver by the WebDriver protocol.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use foldlog::serde_json::{self, Value, json};
use foldlog_inspector::Server;

/// One browser at a time: on a small machine two disturb each other's measurements.
static ONE: Mutex<()> = Mutex::new(());

/// A running browser. It ends with the test.
pub struct Browser {
    driver: Child,
    session: String,
    _turn: MutexGuard<'static, ()>,
}

/// How a page is looked at.
#[derive(Clone, Copy)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

pub const WIDE: Look = Look { width: 1_440, height: 900, dark: false };
pub const NARROW: Look = Look { width: 390, height: 844, dark: false };
pub const LOOKS: [Look; 4] = [WIDE, Look { dark: true, ..WIDE }, NARROW, Look { dark: true, ..NARROW }];

impl Look {
    pub fn name(self) -> String {
        format!("{}-{}", self.width, if self.dark { "dark" } else { "light" })
    }
}

/// A program that tests need; `false`, said loudly, where it is missing. In CI it must be there.
fn is_there(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{program} is missing: install the package {package}");
        eprintln!("SKIPPED: {program} is missing; install the package {package}");
    }
    found
}

/// Where what the tests leave behind is kept: screenshots, the accessibility checker.
pub fn kept(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inspector").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// axe-core, fetched when it is needed first. It is not part of the project.
pub fn axe() -> Option<String> {
    let folder = kept("axe");
    let script = folder.join("node_modules/axe-core/axe.min.js");
    if !script.exists() {
        if !is_there("npm", "npm") {
            return None;
        }
        let arguments = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "axe-core@4.10"];
        let done = Command::new("npm").args(arguments).arg("--prefix").arg(&folder).stdout(Stdio::null()).status().unwrap();
        assert!(done.success(), "npm could not fetch axe-core");
    }
    Some(std::fs::read_to_string(script).unwrap())
}

impl Browser {
    /// `None`, said loudly, if there is no browser here; in CI that is a failure.
    pub fn start() -> Option<Browser> {
        if !is_there("chromium", "chromium") || !is_there("chromedriver", "chromium-driver") {
            return None;
        }
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut driver =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("on port ")?;
            rest.trim_end_matches('.').parse::<u16>().ok().filter(|port| *port > 0)
        });
        let base = format!("http://127.0.0.1:{}/session", port.expect("chromedriver says its port"));
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"];
        let options = json!({ "args": arguments, "binary": "/usr/bin/chromium" });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" }, "unhandledPromptBehavior": "ignore" } } });
        let answer = call("POST", &base, Some(&wanted)).expect("a session");
        let session = format!("{base}/{}", answer["sessionId"].as_str().expect("a session"));
        Some(Browser { driver, session, _turn: turn })
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        call("POST", &format!("{}/{command}", self.session), Some(body)).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    pub fn devtools(&self, method: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": method, "params": parameters }))
    }

    pub fn look(&self, look: Look) {
        let size = json!({ "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if look.dark { "dark" } else { "light" };
        let features =
            json!([{ "name": "prefers-color-scheme", "value": scheme }, { "name": "prefers-reduced-motion", "value": "reduce" }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Opens the page of the token, so that later addresses are let in.
    pub fn enter(&self, server: &Server) {
        self.post("url", &json!({ "url": server.url() }));
        assert_eq!(self.script("return location.search"), "", "the token does not stay in the address");
    }

    pub fn open(&self, server: &Server, path: &str) {
        self.post("url", &json!({ "url": format!("http://{}{path}", server.address()) }));
    }

    /// Runs a function body in the page.
    pub fn script(&self, body: &str) -> Value {
        self.post("execute/sync", &json!({ "script": body, "args": [] }))
    }

    pub fn text(&self, selector: &str) -> String {
        let found = self.script(&format!("return document.querySelector({})?.innerText ?? ''", json!(selector)));
        found.as_str().unwrap_or_default().to_owned()
    }

    pub fn count(&self, selector: &str) -> u64 {
        self.script(&format!("return document.querySelectorAll({}).length", json!(selector))).as_u64().unwrap()
    }

    /// Waits until a function body returns something true.
    pub fn wait(&self, body: &str) {
        let began = Instant::now();
        // Between two pages there may be nothing to ask.
        let ask = || call("POST", &format!("{}/execute/sync", self.session), Some(&json!({ "script": body, "args": [] })));
        while ask() != Ok(json!(true)) {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "it never came: {body}; {}",
                self.script("return document.body.innerText")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses keys one after the other, as a person does.
    pub fn press(&self, keys: &[&str]) {
        let press =
            |key: &&str| [json!({ "type": "keyDown", "value": code(key) }), json!({ "type": "keyUp", "value": code(key) })];
        let actions: Vec<Value> = keys.iter().flat_map(press).collect();
        self.post("actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }));
    }

    /// Drags the mouse from one point of the window to another.
    pub fn drag(&self, from: (i64, i64), to: (i64, i64)) {
        let go = |(x, y): (i64, i64)| json!({ "type": "pointerMove", "duration": 50, "x": x, "y": y });
        let actions =
            [go(from), json!({ "type": "pointerDown", "button": 0 }), go(to), json!({ "type": "pointerUp", "button": 0 })];
        self.post("actions", &json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": actions }] }));
    }

    pub fn click(&self, selector: &str) {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        let (_, id) = found.as_object().and_then(|found| found.iter().next()).expect("an element");
        self.post(&format!("element/{}/click", id.as_str().unwrap()), &json!({}));
    }

    /// A picture of the window.
    pub fn picture(&self) -> Vec<u8> {
        let picture = call("GET", &format!("{}/screenshot", self.session), None).unwrap();
        BASE64_STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    pub fn keep_picture(&self, name: &str) {
        std::fs::write(kept("screens").join(format!("{name}.png")), self.picture()).unwrap();
    }

    /// What the browser complained about since the last call: errors of scripts, what the policy stopped.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().cloned().unwrap_or_default();
        lines
            .iter()
            .filter(|line| line["level"] == "SEVERE")
            .map(|line| line["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// What the accessibility checker finds.
    pub fn violations(&self, axe: &str) -> Vec<String> {
        let rules = json!(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]);
        let script = format!(
            "{axe}; const done = arguments[arguments.length - 1]; axe.run({{ runOnly: {rules} }}).then(r => done(r.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.target + ' ' + (n.any[0]?.message ?? n.all[0]?.message ?? '')).join(' | '))), e => done([String(e)]))"
        );
        let found = self.post("execute/async", &json!({ "script": script, "args": [] }));
        found.as_array().unwrap().iter().map(|found| found.as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = call("DELETE", &self.session, None);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn code(key: &str) -> String {
    match key {
        "Enter" => "\u{e007}".to_owned(),
        "Escape" => "\u{e00c}".to_owned(),
        "PageUp" => "\u{e00e}".to_owned(),
        "End" => "\u{e010}".to_owned(),
        "Home" => "\u{e011}".to_owned(),
        "Left" => "\u{e012}".to_owned(),
        "Right" => "\u{e014}".to_owned(),
        "Tab" => "\u{e004}".to_owned(),
        key => key.to_owned(),
    }
}

fn call(method: &str, url: &str, body: Option<&Value>) -> Result<Value, String> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60))).build();
    let agent = ureq::Agent::new_with_config(config);
    let answer = match (method, body) {
        ("POST", body) => {
            agent.post(url).header("Content-Type", "application/json").send(body.map_or("{}".to_owned(), Value::to_string))
        }
        ("DELETE", _) => agent.delete(url).call(),
        _ => agent.get(url).call(),
    };
    let mut answer = answer.map_err(|error| error.to_string())?;
    let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    match answer["value"].get("error") {
        Some(error) if error.is_string() => Err(format!("{error}: {}", answer["value"]["message"])),
        _ => Ok(answer["value"].clone()),
    }
}
