//! A query with a limit looks at no more events than it returns.

use crate::support::raw;
use foldlog::{ErrorKind, Expected, NewEvent, Query, Store};

#[test]
fn damage_beyond_the_limit_is_not_met() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let store = Store::open(&path).unwrap();
    let events = (0..20).map(|n| NewEvent::new("Happened", &n).unwrap());
    store.append("thing", "t-1", Expected::New, events).unwrap();
    let raw = raw(&path);
    assert_eq!(raw.execute("UPDATE events SET data = '99' WHERE position = 10", []).unwrap(), 1);

    for query in [Query::new(), Query::aggregate("thing", "t-1")] {
        let positions = |query: Query| -> Result<Vec<u64>, ErrorKind> {
            store.read(query).map(|event| event.map(|event| event.position.get()).map_err(|error| error.kind())).collect()
        };
        assert_eq!(positions(query.clone().limit(9)), Ok((1..=9).collect()));
        assert_eq!(positions(query.clone().limit(10)), Err(ErrorKind::Corrupt));
        assert_eq!(positions(query.clone().newest_first().limit(10)), Ok((11..=20).rev().collect()));
        assert_eq!(positions(query.newest_first().limit(11)), Err(ErrorKind::Corrupt));
    }
}
