//! Whole runs moved while processes are killed and stopped, disks fill up, data are damaged and messages get lost: what is
//! announced is the same, and true. `LIGHTRAIL_CAMPAIGN=1` makes the long versions.

#[path = "faults/files.rs"]
mod files;
#[path = "faults/journal.rs"]
mod journal;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/messages.rs"]
mod messages;
#[path = "faults/movers.rs"]
mod movers;
#[path = "faults/parts.rs"]
mod parts;
