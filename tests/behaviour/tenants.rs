//! Tenants: the same API, and none sees another's.

use std::ops::ControlFlow::Continue;
use std::time::Duration;

use foldlog::{DEFAULT_TENANT, ErrorKind, Expected, Filter, Query, SnapshotReason};

use crate::domain::{Account, deposits};
use crate::support::{Place, noted, read, refused};

#[test]
fn each_tenant_has_its_own_of_everything() {
    let place = Place::new();
    let store = place.open();
    let (acme, initech) = (store.tenant("acme"), store.tenant("initech"));
    acme.aggregates::<Account>().append("a", Expected::New, deposits(3)).unwrap();
    initech.aggregates::<Account>().append("a", Expected::New, deposits(5)).unwrap();
    acme.aggregates::<Account>().create_snapshot("a", SnapshotReason::Manual).unwrap();

    for (tenant, events, snapshots) in [(&acme, 3, 1), (&initech, 5, 0)] {
        let accounts = tenant.aggregates::<Account>();
        assert_eq!(accounts.replay("a").unwrap().state.cents, events);
        assert_eq!((accounts.version("a").unwrap().get(), tenant.version("account", "a").unwrap().get()), (events, events));
        assert!(read(tenant, Query::new()).iter().all(|event| &*event.tenant == tenant.tenant_name()));
        assert_eq!(tenant.recent_events(100).unwrap().len() as u64, events);
        assert_eq!(tenant.count(Filter::new().aggregate_type("account")).unwrap(), events);
        assert_eq!(tenant.statistics().unwrap().total_events, events);
        assert_eq!(tenant.snapshot_statistics().unwrap().total_snapshots, snapshots);
        assert_eq!(accounts.snapshots("a").unwrap().len() as u64, snapshots);
        assert_eq!(
            (tenant.aggregate_types().unwrap(), accounts.ids().collect::<foldlog::Result<Vec<_>>>().unwrap()),
            (vec!["account".into()], vec!["a".into()])
        );
    }
    assert_eq!(read(&store, Query::new()), []);
    refused(store.aggregates::<Account>().replay("a"), ErrorKind::NotFound);
    assert_eq!(store.aggregate_types().unwrap(), [""; 0]);
    assert_eq!(store.snapshot_statistics().unwrap().total_snapshots, 0);
    assert_eq!(store.tenants().unwrap(), ["acme", "initech"]);
    assert_eq!(read(&store, Filter::new().all_tenants()).len(), 8);
}

#[test]
fn a_tag_is_the_tenants_own() {
    let place = Place::new();
    let store = place.open();
    for name in ["acme", "initech"] {
        store.tenant(name).append("list", "a", 0, [noted(1).tag("shared name")]).unwrap();
    }
    let found = read(&store.tenant("acme"), Filter::new().tag("shared name"));
    assert_eq!(found.iter().map(|event| &*event.tenant).collect::<Vec<_>>(), ["acme"]);
    assert_eq!(read(&store, Filter::new().tag("shared name")), []);
}

#[test]
fn one_tenants_snapshots_are_not_anothers_to_delete() {
    let place = Place::new();
    let store = place.open();
    for name in ["acme", "initech"] {
        let accounts = store.tenant(name).aggregates::<Account>();
        accounts.append("a", 0, deposits(1)).unwrap();
        accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    }
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(store.tenant("acme").maintenance().expire_snapshots(Duration::ZERO, |_| Continue(())).unwrap().expired, 1);
    assert_eq!(store.tenant("initech").snapshot_statistics().unwrap().total_snapshots, 1);
    assert_eq!(store.tenant("initech").aggregates::<Account>().delete_snapshots("a").unwrap(), 1);
}

#[test]
fn the_default_tenant_needs_no_mention() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, [noted(1)]).unwrap();
    assert_eq!(store.tenant_name(), DEFAULT_TENANT);
    assert_eq!(read(&store.tenant("default"), Query::new()), read(&store, Query::new()));
    let error = refused(store.tenant("acme").append("list", "a", 1, [noted(1)]), ErrorKind::Conflict);
    assert!(error.to_string().contains("list \"a\" of tenant \"acme\""), "{error}");
    assert!(!refused(store.append("list", "a", 0, [noted(1)]), ErrorKind::Conflict).to_string().contains("tenant"));
}
