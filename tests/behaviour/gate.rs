//! A projection inside of appends that keeps one waiting.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use foldlog::{HandlerError, NewEvent, Projection, ReadModel, RecordedEvent};

/// Runs inside of appends. An event "Wait" says that it is here, and lets the append go on when it is told to; "Panic" and "Fail"
/// do so.
pub struct Gate {
    here: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl Gate {
    /// The gate, what tells that an append is at it, and what lets one through.
    pub fn new() -> (Gate, Receiver<()>, Sender<()>) {
        let (here, is_here) = channel();
        let (go_on, may_go_on) = channel();
        (Gate { here, go_on: Mutex::new(may_go_on) }, is_here, go_on)
    }
}

impl Projection for Gate {
    fn name(&self) -> &str {
        "gate"
    }

    fn tables(&self) -> Vec<String> {
        vec!["gate".to_owned()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch("CREATE TABLE {gate} (position INTEGER PRIMARY KEY)")?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        match &*event.event_type {
            "Wait" => {
                self.here.send(())?;
                Ok(self.go_on.lock().unwrap().recv()?)
            }
            "Panic" => panic!("on purpose"),
            "Fail" => Err("on purpose".into()),
            _ => model.execute("INSERT INTO {gate} VALUES (?1)", [event.position.get()]).map(drop).map_err(Into::into),
        }
    }
}

/// An event without content.
pub fn event(kind: &str) -> NewEvent {
    NewEvent::new(kind, &()).unwrap()
}
