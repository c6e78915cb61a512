//! The whole of a simulated disk: files, directories, space, locks, the plan and the trace.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::content::Content;
use super::faults::{Call, Fault, Plan, crashed, enospc, refuse};
use super::names::{Names, NodeId};
use super::node::Node;
use super::survive::{Dice, Picker, Survive};

/// More than any test writes.
const CAPACITY_BYTES: u64 = 1 << 40;

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) seed: u64,
    nodes: BTreeMap<NodeId, Node>,
    next_node: u64,
    pub(super) dirs: BTreeMap<PathBuf, Names>,
    pub(super) locks: BTreeSet<NodeId>,
    pub(super) capacity_bytes: u64,
    pub(super) plan: Plan,
    /// One line for each operation since this disk was made, in their order.
    pub(super) op_log: Vec<String>,
    /// How many calls of each kind there were.
    calls: BTreeMap<Call, u64>,
    /// The power is cut, or the process killed: every call fails.
    pub(super) dead: bool,
}

impl State {
    pub(super) fn new(seed: u64) -> State {
        State {
            seed,
            nodes: BTreeMap::new(),
            next_node: 0,
            dirs: BTreeMap::new(),
            locks: BTreeSet::new(),
            capacity_bytes: CAPACITY_BYTES,
            plan: Plan::default(),
            op_log: Vec::new(),
            calls: BTreeMap::new(),
            dead: false,
        }
    }

    /// The disk as a power cut at this moment leaves it.
    pub(super) fn after_power_cut(&self, survive: Survive) -> State {
        let mut picker = Picker::new(survive);
        let dirs: BTreeMap<PathBuf, Names> = self
            .dirs
            .iter()
            .map(|(path, names)| (path.clone(), names.after_power_cut(&mut picker)))
            .collect();
        let mut nodes: BTreeMap<NodeId, Node> =
            self.nodes.iter().map(|(id, node)| (*id, node.after_power_cut(&mut picker))).collect();
        for (name, id) in dirs.values().flat_map(Names::seen) {
            if let Some(node) = nodes.get_mut(&id) {
                name.clone_into(&mut node.name);
                node.linked = true;
            }
        }
        nodes.retain(|_, node| node.linked);
        State {
            nodes,
            dirs,
            next_node: self.next_node,
            capacity_bytes: self.capacity_bytes,
            ..State::new(self.seed)
        }
    }

    /// One line for each change that is not synced, in the order in which a power cut decides.
    pub(super) fn unsynced(&self) -> Vec<String> {
        let names = self.dirs.values().flat_map(Names::unsynced);
        names.chain(self.nodes.values().flat_map(Node::unsynced)).collect()
    }

    /// The disk as the end of the process leaves it: all of the cache is still there.
    pub(super) fn after_kill(&self) -> State {
        let mut state = State {
            locks: BTreeSet::new(),
            plan: Plan::default(),
            op_log: Vec::new(),
            calls: BTreeMap::new(),
            dead: false,
            ..self.clone()
        };
        for node in state.nodes.values_mut() {
            node.opens = 0;
        }
        state
    }

    /// Every call passes here.
    pub(super) fn check_alive(&self) -> io::Result<()> {
        if self.dead { Err(crashed()) } else { Ok(()) }
    }

    /// Every operation passes here: it is counted, traced, and may meet its fault.
    pub(super) fn begin(
        &mut self,
        call: Call,
        text: impl FnOnce() -> String,
    ) -> io::Result<Option<Fault>> {
        assert!(call.is_operation());
        self.check_alive()?;
        let op = self.op_log.len() as u64;
        if self.plan.crashes(op) {
            self.dead = true;
            return Err(crashed());
        }
        if let Some(bytes) = self.plan.take_capacity(op) {
            self.capacity_bytes = bytes;
        }
        let number = self.count(call);
        let fault = self.plan.fault(Some(op), call, number);
        self.op_log.push(match fault {
            Some(fault) => format!("{} ({fault:?})", text()),
            None => text(),
        });
        Ok(fault)
    }

    /// Every call that changes nothing passes here: it is counted, and may fail.
    pub(super) fn look(&mut self, call: Call) -> io::Result<()> {
        assert!(!call.is_operation());
        self.check_alive()?;
        let number = self.count(call);
        refuse(self.plan.fault(None, call, number))
    }

    /// How many calls of a kind there were.
    pub(super) fn calls(&self, call: Call) -> u64 {
        self.calls.get(&call).copied().unwrap_or(0)
    }

    /// Counts a call; its number among those of its kind.
    fn count(&mut self, call: Call) -> u64 {
        let calls = self.calls.entry(call).or_default();
        *calls += 1;
        *calls - 1
    }

    /// Dice for the operation that began last. They depend on nothing but the seed and its number.
    pub(super) fn op_dice(&self) -> Dice {
        Dice::derived(self.seed, self.op_log.len() as u64)
    }

    /// What a failed sync nevertheless leaves on the medium; none if the fault fails no sync.
    pub(super) fn failed_sync(&self, fault: Option<Fault>) -> Option<Picker> {
        match fault? {
            Fault::ShortWrite | Fault::SyncLies => None,
            Fault::Eio | Fault::Enospc | Fault::SyncFails => Some(Picker::new(Survive::Nothing)),
            Fault::SyncFailsInPart | Fault::SyncReverts => {
                Some(Picker::new(Survive::Seed(self.op_dice().next())))
            }
        }
    }

    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node lives as long as the disk it was made on")
    }

    /// What the medium holds of a file that was there at this time.
    pub(super) fn durable(&self, id: NodeId) -> Option<&Content> {
        self.nodes.get(&id).map(Node::durable)
    }

    pub(super) fn names(&mut self, dir: &Path) -> io::Result<&mut Names> {
        self.dirs.get_mut(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The file under a path.
    pub(super) fn find(&mut self, path: &Path) -> io::Result<NodeId> {
        if self.dirs.contains_key(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (dir, name) = split(path)?;
        self.names(dir)?.get(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes an empty file under a path where nothing is.
    pub(super) fn create(&mut self, path: &Path) -> io::Result<NodeId> {
        let (dir, name) = split(path)?;
        if self.free_bytes() == 0 {
            return Err(enospc());
        }
        let id = NodeId(self.next_node);
        self.names(dir)?.create(name, id);
        self.next_node += 1;
        self.nodes.insert(id, Node::new(name));
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from)?;
        let replaced = match self.find(to) {
            Ok(replaced) => Some(replaced),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let ((dir, from), (to_dir, to)) = (split(from)?, split(to)?);
        if replaced == Some(id) {
            return Ok(());
        }
        if dir == to_dir {
            self.names(dir)?.rename(from, to, id);
        } else {
            // The new name is durable before the old one goes, so that no power cut takes both.
            self.names(to_dir)?.create_durably(to, id);
            self.names(dir)?.remove(from, id);
        }
        if let Some(replaced) = replaced {
            self.node(replaced).linked = false;
        }
        to.clone_into(&mut self.node(id).name);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path)?;
        let (dir, name) = split(path)?;
        self.names(dir)?.remove(name, id);
        self.node(id).linked = false;
        Ok(())
    }

    /// What may still be allocated. Files that nobody can reach any more take no space.
    pub(super) fn free_bytes(&self) -> u64 {
        let used: u64 = self
            .nodes
            .values()
            .filter(|node| node.linked || node.opens > 0)
            .map(|node| node.cached().allocated_bytes())
            .sum();
        self.capacity_bytes.saturating_sub(used)
    }

    /// Allocates the beginning of a file, or nothing if there is no room for all of it.
    pub(super) fn allocate(&mut self, id: NodeId, len_bytes: u64) -> io::Result<()> {
        if self.node(id).cached().missing_bytes(len_bytes) > self.free_bytes() {
            return Err(enospc());
        }
        self.node(id).allocate(len_bytes);
        Ok(())
    }
}

/// The directory of a path and the name in it.
pub(super) fn split(path: &Path) -> io::Result<(&Path, &str)> {
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(dir), Some(name)) => Ok((dir, name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}
