//! Reading from read models.

use super::Store;
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

    /// Documents of this tenant and their keys, in the order of the keys, after the key `after`, `limit` at most.
    ///
    /// # Errors
    /// As [`Store::document`].
    pub fn documents(&self, name: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Json)>> {
        let documents = self.scope.engine().documents(name, &self.scope.tenant, after, limit);
        let documents = documents.map_err(|error| error.during("documents"))?;
        Ok(documents.into_iter().map(|(key, text)| (key, Json::stored(text))).collect())
    }
}
