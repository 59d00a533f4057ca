//! What a query asks for, in the numbers of the file.

use std::collections::BTreeSet;

use crate::model::clock::to_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::filter::Filter;
use crate::sqlite::tables::block_summaries::Wanted;
use crate::sqlite::tables::events::Raw;
use crate::sqlite::tables::{event_tags, names};
use crate::sqlite::transaction::View;
use crate::storage::scan::Selection;

/// With more aggregate types than this, their index is trusted instead of reading every row.
const MOST_TYPES_LOOKED_AT: usize = 2_000;

/// A filter translated to the file's numbers.
pub(super) struct Conditions<'f> {
    pub(super) types: Wanted,
    /// The wanted event types, as events are read; empty: all.
    pub(super) names: &'f [String],
    pub(super) as_stored: bool,
    pub(super) newest_first: bool,
    /// The tenant's number; only used for tags.
    pub(super) tenant: i64,
    pub(super) all_of: &'f [String],
    pub(super) any_of: &'f [String],
}

/// Whether and how events must match tags.
pub(super) enum Tags {
    NotAsked,
    Carried(Vec<String>),
    Missing,
}

impl<'f> Conditions<'f> {
    /// `None` if nothing can match.
    pub(super) fn of(view: &View<'_>, tenant: &str, selection: &'f Selection) -> Result<Option<Conditions<'f>>> {
        let Selection { filter, newest_first, .. } = selection;
        let has_tags = !filter.tags.is_empty() || !filter.any_tag.is_empty();
        if filter.all_tenants && has_tags {
            return Err(Error::new(ErrorKind::InvalidInput, "tags belong to a tenant: leave all_tenants out"));
        }
        let tenant_id = if filter.all_tenants { Some(0) } else { view.tenant_id(tenant)? };
        let Some(tenant_id) = tenant_id else { return Ok(None) };
        let aggregate_types = aggregate_types(view, tenant, tenant_id, filter)?;
        let event_types = match filter.event_types.is_empty() {
            true => None,
            false if view.names.upcasters.is_empty() => Some(type_numbers(view, &filter.event_types)?),
            false => Some(type_numbers(view, view.names.upcasters.stored_types(&filter.event_types))?),
        };
        if [&aggregate_types, &event_types].into_iter().flatten().any(BTreeSet::is_empty) {
            return Ok(None);
        }
        let types = Wanted { aggregate_types, event_types, from: filter.from.map(to_micros), to: filter.to.map(to_micros) };
        Ok(Some(Conditions {
            types,
            names: &filter.event_types,
            as_stored: selection.as_stored,
            newest_first: *newest_first,
            tenant: tenant_id,
            all_of: &filter.tags,
            any_of: &filter.any_tag,
        }))
    }

    pub(super) fn has_tags(&self) -> bool {
        !self.all_of.is_empty() || !self.any_of.is_empty()
    }

    pub(super) fn tags_of(&self, raw: &Raw<'_>) -> Result<Tags> {
        if !self.has_tags() {
            return Ok(Tags::NotAsked);
        }
        let tags = raw.tags()?;
        let all = self.all_of.iter().all(|tag| tags.contains(tag));
        let any = self.any_of.is_empty() || self.any_of.iter().any(|tag| tags.contains(tag));
        Ok(if all && any { Tags::Carried(tags) } else { Tags::Missing })
    }

    /// The positions in a range of events that carry the tags, `limit` at most, and where to continue in the range.
    pub(super) fn tagged(&self, view: &View<'_>, range: (u64, u64), descending: bool, limit: usize) -> Result<Vec<u64>> {
        if let ([tag], []) | ([], [tag]) = (self.all_of, self.any_of) {
            return event_tags::positions(view, (self.tenant, tag), range, descending, limit);
        }
        let mut found = Vec::new();
        let mut from = if descending { range.1 } else { range.0 };
        while found.len() < limit
            && let Some(position) = self.next_tagged(view, from, descending)?
            && (range.0..=range.1).contains(&position)
        {
            found.push(position);
            let next = if descending { position.checked_sub(1) } else { position.checked_add(1) };
            let Some(next) = next else { break };
            from = next;
        }
        Ok(found)
    }

    /// The next position that has every tag. Each tag's list is asked in turn for its next position, until all agree.
    fn next_tagged(&self, view: &View<'_>, from: u64, descending: bool) -> Result<Option<u64>> {
        let mut target = from;
        'agree: loop {
            for tag in self.all_of {
                match event_tags::seek(view, (self.tenant, tag), target, descending)? {
                    None => return Ok(None),
                    Some(position) if position != target => {
                        target = position;
                        continue 'agree;
                    }
                    Some(_) => {}
                }
            }
            let mut nearest = None;
            for tag in self.any_of {
                let position = event_tags::seek(view, (self.tenant, tag), target, descending)?;
                nearest = match (nearest, position) {
                    (Some(one), Some(other)) if descending => Some(std::cmp::max(one, other)),
                    (Some(one), Some(other)) => Some(std::cmp::min(one, other)),
                    (one, other) => one.or(other),
                };
            }
            match nearest {
                None if self.any_of.is_empty() => return Ok(Some(target)),
                None => return Ok(None),
                Some(position) if position == target => return Ok(Some(target)),
                Some(position) => target = position,
            }
        }
    }
}

fn numbers(found: impl Iterator<Item = Result<Option<i64>>>) -> Result<BTreeSet<i64>> {
    found.filter_map(Result::transpose).collect()
}

/// The numbers of the event types that the file has of these.
fn type_numbers(view: &View<'_>, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<BTreeSet<i64>> {
    numbers(names.into_iter().map(|name| Ok(view.event_type(name.as_ref())?.map(|found| found.id))))
}

/// The numbers of the aggregate types that a filter wants; `None` for all types of the file.
fn aggregate_types(view: &View<'_>, tenant: &str, tenant_id: i64, filter: &Filter) -> Result<Option<BTreeSet<i64>>> {
    let wanted = &filter.aggregate_types;
    if !wanted.is_empty() && !filter.all_tenants {
        return numbers(wanted.iter().map(|name| Ok(view.aggregate_type(tenant, name)?.map(|found| found.id)))).map(Some);
    }
    if filter.all_tenants {
        if wanted.is_empty() {
            return Ok(None);
        }
        let all = view.rows("SELECT id, name FROM aggregate_types NOT INDEXED", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        return Ok(Some(all.into_iter().filter(|(_, name): &(i64, String)| wanted.contains(name)).map(|(id, _)| id).collect()));
    }
    let in_file = names::count_aggregate_types(view)?;
    let sql = match in_file <= MOST_TYPES_LOOKED_AT {
        true => "SELECT id FROM aggregate_types NOT INDEXED WHERE tenant = ?1",
        false => "SELECT id FROM aggregate_types WHERE tenant = ?1",
    };
    let of_tenant: Vec<i64> = view.rows(sql, [tenant_id], |row| row.get(0))?;
    Ok((of_tenant.len() < in_file).then(|| of_tenant.into_iter().collect()))
}
