//! The form in which events leave.

use chrono::{DateTime, Utc};
use foldlog::{CloudEvents, Expected, Message, NewEvent, PublishError};

use super::store;

/// RFC 3339 has years of four digits, in UTC here; an event of another year has no time.
#[test]
fn every_time_is_rfc_3339() {
    let (_directory, store) = store();
    let year = |year: i32, month: u32| {
        chrono::NaiveDate::from_ymd_opt(year, month, 1).unwrap().and_hms_micro_opt(23, 59, 59, 7).unwrap().and_utc()
    };
    let times: [(DateTime<Utc>, Option<&str>); 7] = [
        (year(2026, 11), Some("2026-11-01T23:59:59.000007Z")),
        (year(1969, 12), Some("1969-12-01T23:59:59.000007Z")),
        (year(0, 1), Some("0000-01-01T23:59:59.000007Z")),
        (year(9999, 12), Some("9999-12-01T23:59:59.000007Z")),
        (year(-1, 12), None),
        (year(10_000, 1), None),
        (year(200_000, 1), None),
    ];
    for (time, _) in times {
        store.append("clock", "c", Expected::Any, [NewEvent::new("Struck", &()).unwrap().created_at(time)]).unwrap();
    }
    let mut sent = Vec::new();
    let mut bus = store.outbox("bus").publisher(|message: &Message<'_>| {
        sent.push(CloudEvents::new().to_json(message)?);
        Ok::<(), PublishError>(())
    });
    assert_eq!(bus.run_to_end().unwrap(), times.len() as u64);
    drop(bus);
    for (json, (time, written)) in sent.iter().zip(times) {
        let event: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!(event.get("time").and_then(|time| time.as_str()), written, "{time:?}");
        if let Some(written) = written {
            assert_eq!(DateTime::parse_from_rfc3339(written).unwrap(), time);
        }
    }
}
