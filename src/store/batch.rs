//! Typed events in a batch.

use std::fmt;

use crate::log::append::Batch;
use crate::model::annotated::Annotated;
use crate::model::error::Result;
use crate::model::expected::Expected;
use crate::model::fold::AggregateKind;
use crate::store::aggregates::Aggregates;

impl Batch {
    /// As [`Batch::append`], but with typed events of a handle's aggregate. Events without metadata get the handle's.
    ///
    /// A batch makes no snapshots: the next replay makes one that is due.
    ///
    /// ```
    /// use foldlog::{Aggregate, Batch, Expected, Metadata, Store};
    /// use serde::{Deserialize, Serialize};
    ///
    /// # #[derive(Serialize, Deserialize)]
    /// # enum AccountEvent { Deposited { cents: i64 }, Withdrawn { cents: i64 } }
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Account { cents: i64 }
    /// # impl Aggregate for Account {
    /// #     const TYPE: &'static str = "account";
    /// #     type Event = AccountEvent;
    /// #     fn apply(&mut self, event: AccountEvent) {
    /// #         match event {
    /// #             AccountEvent::Deposited { cents } => self.cents += cents,
    /// #             AccountEvent::Withdrawn { cents } => self.cents -= cents,
    /// #         }
    /// #     }
    /// # }
    /// let store = Store::in_memory()?;
    /// let accounts = store.aggregates::<Account>().with_metadata(&Metadata::new().user_id("u-1"))?;
    /// let transfer = Batch::new()
    ///     .append_to(&accounts, "acc-1", Expected::Any, [AccountEvent::Withdrawn { cents: 5 }])?
    ///     .append_to(&accounts, "acc-2", Expected::Any, [AccountEvent::Deposited { cents: 5 }])?;
    /// store.commit(transfer)?;
    /// assert_eq!(accounts.replay("acc-2")?.state.cents, 5);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if an event cannot be written as JSON. If the handles belong to
    /// another tenant than the store that commits the batch, the commit fails with
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
    pub fn append_to<A: AggregateKind>(
        self,
        handle: &Aggregates<A>,
        aggregate_id: impl fmt::Display,
        expected: impl Into<Expected>,
        events: impl IntoIterator<Item: Into<Annotated<A::Event>>>,
    ) -> Result<Batch> {
        let aggregate_id = &*aggregate_id.to_string();
        let events = handle.encode(events).map_err(|error| handle.of("append", aggregate_id, error))?;
        Ok(self.of_tenant(&handle.scope.tenant).append(handle.aggregate_type(), aggregate_id, expected, events))
    }

    /// As [`Batch::expect`], but names the aggregate by its handle.
    ///
    /// ```
    /// use foldlog::{Batch, ErrorKind, Expected, NewEvent, Store};
    ///
    /// let store = Store::in_memory()?;
    /// let (customers, accounts) = (store.json_aggregates("customer"), store.json_aggregates("account"));
    /// // An account only for a customer who exists.
    /// let batch = Batch::new()
    ///     .expect_of(&customers, "c-1", Expected::Existing)
    ///     .append_to(&accounts, "a-1", Expected::New, [NewEvent::new("Opened", &())?])?;
    /// assert_eq!(store.commit(batch).unwrap_err().kind(), ErrorKind::Conflict);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn expect_of<A: AggregateKind>(
        self,
        handle: &Aggregates<A>,
        aggregate_id: impl fmt::Display,
        expected: impl Into<Expected>,
    ) -> Batch {
        self.of_tenant(&handle.scope.tenant).expect(handle.aggregate_type(), aggregate_id, expected)
    }
}
