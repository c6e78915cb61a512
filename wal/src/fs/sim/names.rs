//! One simulated directory: the names that are seen, those on the medium, and what lies between.

use std::collections::BTreeMap;

use super::survive::Picker;

/// The number of a file, which it keeps whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) u64);

/// The names of the files in a directory. The directory itself is always durable.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    cached: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
    unsynced: Vec<Change>,
}

/// A name goes, a name comes, or both at once.
#[derive(Debug, Clone)]
struct Change {
    node: NodeId,
    gone: Option<String>,
    come: Option<String>,
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<NodeId> {
        self.cached.get(name).copied()
    }

    /// The names that are seen, in order.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&str, NodeId)> {
        self.cached.iter().map(|(name, node)| (name.as_str(), *node))
    }

    pub(super) fn create(&mut self, name: &str, node: NodeId) {
        self.change(Change { node, gone: None, come: Some(name.to_owned()) });
    }

    /// A name that is durable at once.
    pub(super) fn create_durably(&mut self, name: &str, node: NodeId) {
        let change = Change { node, gone: None, come: Some(name.to_owned()) };
        apply(&mut self.cached, &change);
        apply(&mut self.durable, &change);
    }

    pub(super) fn remove(&mut self, name: &str, node: NodeId) {
        self.change(Change { node, gone: Some(name.to_owned()), come: None });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, node: NodeId) {
        let come = Some(to.to_owned());
        self.change(Change { node, gone: Some(from.to_owned()), come });
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// Fails to sync: what the picker keeps reaches the medium, and no later sync writes the rest.
    pub(super) fn fail_sync(&mut self, picker: &mut Picker) {
        self.durable = self.survivor(picker);
        self.unsynced.clear();
    }

    /// The directory as a power cut leaves it.
    pub(super) fn after_power_cut(&self, picker: &mut Picker) -> Names {
        let durable = self.survivor(picker);
        Names { cached: durable.clone(), durable, unsynced: Vec::new() }
    }

    /// One line for each change that is not synced, in the order in which a picker meets them.
    pub(super) fn unsynced(&self) -> impl Iterator<Item = String> {
        self.unsynced.iter().map(|change| match (&change.gone, &change.come) {
            (Some(gone), Some(come)) => format!("rename {gone} {come}"),
            (Some(gone), None) => format!("remove {gone}"),
            (None, come) => format!("create {}", come.as_deref().unwrap_or_default()),
        })
    }

    fn survivor(&self, picker: &mut Picker) -> BTreeMap<String, NodeId> {
        let mut names = self.durable.clone();
        let kept = picker.names(self.unsynced.len());
        for (change, _) in self.unsynced.iter().zip(kept).filter(|(_, kept)| *kept) {
            apply(&mut names, change);
        }
        names
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.cached, &change);
        self.unsynced.push(change);
    }
}

fn apply(names: &mut BTreeMap<String, NodeId>, change: &Change) {
    if let Some(gone) = &change.gone
        && names.get(gone) == Some(&change.node)
    {
        names.remove(gone);
    }
    if let Some(come) = &change.come {
        names.insert(come.clone(), change.node);
    }
}
