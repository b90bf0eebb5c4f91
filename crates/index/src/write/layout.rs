//! Changes of the generations and the fields, which change the columns of the directories.

use crate::{
    disk::{engine, fields::Fields, generations::Generations},
    types::generation::Generation,
    view::generations::View,
};

/// The generations or the fields after a commit that changes them.
pub enum LayoutChange {
    /// The generations.
    Generations(Generations),
    /// The fields.
    Fields(Fields),
}

impl LayoutChange {
    /// Stores the generations or the fields with the batch.
    pub fn write(&self, batch: &mut engine::Batch) {
        match self {
            LayoutChange::Generations(generations) => generations.write(batch),
            LayoutChange::Fields(fields) => fields.write(batch),
        }
    }

    /// Returns the view after the change.
    pub fn of(&self, now: &View) -> View {
        let Generations {
            active, standby, ..
        } = match self {
            LayoutChange::Generations(generations) => generations,
            LayoutChange::Fields(fields) => return now.with_fields(&fields.fields.clone().into()),
        };
        let kept = |generation: &Generation| now.side(Some(generation.number)).cloned();
        View {
            active: kept(active).unwrap_or_else(|| now.active.clone()),
            standby: standby.as_ref().map(|generation| {
                kept(generation).unwrap_or_else(|| now.active.without_codes(generation.clone()))
            }),
            images: now.images,
            commit: now.commit,
            broken: now.broken,
        }
    }
}
