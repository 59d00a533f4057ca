use foldlog::*;
use serde_json::json;
#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("a.db")).unwrap();
    let h = store.json_aggregates("order");
    for i in 0..1200u64 {
        h.append("o-1", i, [NewEvent::new("E", &json!({"n": i})).unwrap()]).unwrap();
    }
    let r = h.replay("o-1").unwrap();
    assert_eq!(r.state, json!({"n": 1199}));
    assert_eq!(r.from_snapshot, Some(Version::new(1200)));
    let full = h.without_snapshots().replay("o-1").unwrap();
    assert_eq!(full.state, r.state);
    assert_eq!(full.events_folded, 1200);
    assert_eq!(h.snapshots("o-1").unwrap().len(), 5);
    assert_eq!(store.read(Query::new()).count(), 1200);
    assert_eq!(store.read(Query::new().newest_first()).next().unwrap().unwrap().version, 1200);
    println!("{:?}", store.file_statistics());
    drop((store, h));
    let store = Store::open(dir.path().join("a.db")).unwrap();
    assert_eq!(store.count_events(None, None, None).unwrap(), 1200);
    let ro = Store::open_read_only(dir.path().join("a.db")).unwrap();
    assert_eq!(ro.version("order", "o-1").unwrap(), 1200);
    let m = Store::in_memory().unwrap();
    m.append("a", "1", Expected::Any, [NewEvent::new("E", &1).unwrap()]).unwrap();
    assert_eq!(m.read(Query::new()).count(), 1);
}
