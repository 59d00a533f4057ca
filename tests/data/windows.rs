//! Account life cycles from Windows' own security log, in which a role is assigned before the user is created.

use std::collections::{BTreeMap, BTreeSet};

use foldlog::{Aggregate, SnapshotPolicy, UnknownEvents};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::streams::DataSet;
use crate::support::{TestStore, assert_holds};

/// Fields as Windows names them; the many others of each record are of no interest to this fold.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    target_sid: String,
    target_user_name: String,
}

#[derive(Serialize, Deserialize)]
enum UserEvent {
    UserCreated(Target),
    UserDeleted(Target),
    RoleAssigned(Target),
    LocalRoleAssigned(Target),
    RoleRevoked(Target),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct User {
    exists: Option<bool>,
    name: Option<String>,
    groups: BTreeSet<String>,
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    const UNKNOWN_EVENTS: UnknownEvents = UnknownEvents::Ignore;
    type Event = UserEvent;

    fn apply(&mut self, event: UserEvent) {
        match event {
            UserEvent::UserCreated(target) => {
                self.exists = Some(true);
                self.name = Some(target.target_user_name);
            }
            UserEvent::UserDeleted(_) => self.exists = Some(false),
            UserEvent::RoleAssigned(target) | UserEvent::LocalRoleAssigned(target) => {
                self.groups.insert(target.target_sid);
            }
            UserEvent::RoleRevoked(target) => {
                self.groups.remove(&target.target_sid);
            }
        }
    }
}

#[test]
fn accounts_are_what_their_life_cycle_leaves() {
    let Some(set) = DataSet::find("windows-accounts") else { return };
    let file = TestStore::new(SnapshotPolicy::every(2).retain(100));
    let users = file.store.aggregates::<User>();
    let mut history: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in set.events() {
        let (aggregate_type, id) = line.aggregate();
        if aggregate_type == User::TYPE {
            // Appended one by one, so that snapshots fall before, between and after creation and deletion.
            users.append_events(id, users.version(id).unwrap(), [line.event()]).unwrap();
            history.entry(line.aggregate_id).or_default().push(line.event_type);
        } else {
            file.store.append(aggregate_type, id, file.store.version(aggregate_type, id).unwrap(), [line.event()]).unwrap();
        }
    }
    assert_holds(&file.store, &set);
    assert_eq!(file.store.aggregate_types().unwrap(), ["computer", "group", "user"]);

    let mut finals = serde_json::Map::new();
    for (id, events) in &history {
        let user = users.replay(id).unwrap();
        assert_eq!(user.state, users.without_snapshots().replay(id).unwrap().state);
        if let Some(exists) = user.state.exists {
            let state = json!({"exists": exists, "name": user.state.name, "groups": user.state.groups});
            finals.insert(id.clone(), state);
            assert_eq!(events[0], "RoleAssigned");
            assert_before_and_after_creation(&users, id, events);
        }
    }
    assert_eq!(Value::Object(finals), set.truth()["derived"]["final_users"]);
}

/// The role that came first is not lost when the user is created after it.
fn assert_before_and_after_creation(users: &foldlog::Aggregates<User>, id: &str, events: &[String]) {
    let created = events.iter().position(|event_type| event_type == "UserCreated").unwrap() as u64 + 1;
    for users in [users.clone(), users.without_snapshots()] {
        let before = users.replay_to_version(id, created - 1).unwrap().state;
        let after = users.replay_to_version(id, created).unwrap().state;
        assert_eq!((before.exists, before.groups.len()), (None, 1), "{id}");
        assert_eq!((after.exists, &after.groups), (Some(true), &before.groups), "{id}");
    }
}
