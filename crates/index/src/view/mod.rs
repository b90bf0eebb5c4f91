//! What readers see at one moment: `generations` the active and the standby generation with their
//! directories, `store` the open store that publishes them.

pub mod generations;
pub mod store;
