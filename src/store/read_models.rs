//! Reading from read models.

use super::Store;
use crate::log::pages::DocumentIter;
use crate::model::error::Result;
use crate::model::json::Json;

impl Store {
    /// Reads all rows of a query on the tables of projections, or on the application's own tables.
    ///
    /// # Errors
    /// If the query fails, or if it would write.
    pub fn query_read_model<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.scope.engine().query_read_model(sql, params, row).map_err(|error| error.during("query read model"))
    }

    /// The document with this key that a [`Documents`](crate::Documents) projection keeps for this tenant.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there are no documents of this name;
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name.
    pub fn document(&self, name: &str, key: &str) -> Result<Option<Json>> {
        let document = self.scope.engine().document(name, &self.scope.tenant, key);
        Ok(document.map_err(|error| error.during("document"))?.map(Json::stored))
    }

    /// The documents of this tenant and their keys, in the order of the keys. If there are no documents of this name, the
    /// first item is the error of [`Store::document`].
    ///
    /// ```
    /// # use foldlog::{Documents, Expected, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// # store.project_inline(Documents::new("orders", 1, |event| Some(event.aggregate_id.to_string()), |order, event| {
    /// #     *order = event.data.to_value()?;
    /// #     Ok(())
    /// # }))?;
    /// # store.append("order", "o-7", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// for document in store.documents("orders").after("o-1").take(20) {
    ///     let (key, order) = document?;
    ///     println!("{key}: {}", order.as_str());
    /// }
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn documents(&self, name: &str) -> DocumentIter {
        DocumentIter::new(self.scope.clone(), name)
    }
}
