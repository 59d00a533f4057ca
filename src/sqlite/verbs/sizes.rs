//! What tables and indexes take.

use crate::model::error::Result;
use crate::sqlite::Database;
use crate::sqlite::transaction::Columns;
use crate::storage::lookup::TableSize;

impl Database {
    pub(crate) fn table_sizes(&self) -> Result<Vec<TableSize>> {
        const HAS_DBSTAT: &str = "SELECT EXISTS (SELECT 1 FROM pragma_module_list WHERE name = 'dbstat')";
        const SIZES: &str = "SELECT d.name, coalesce(s.tbl_name, d.name), d.pgsize, d.unused
                             FROM dbstat d LEFT JOIN sqlite_schema s ON s.name = d.name
                             WHERE d.schema = 'main' AND d.aggregate = TRUE ORDER BY d.pgsize DESC, d.name";
        self.read(|view| {
            let mut sizes = Vec::new();
            if view.value::<bool>(HAS_DBSTAT, [])? {
                view.each_row(SIZES, [], |row| {
                    sizes.push(TableSize { name: row.at(0)?, table: row.at(1)?, bytes: row.at(2)?, unused: row.at(3)? });
                    Ok(true)
                })?;
            }
            Ok(sizes)
        })
    }
}
