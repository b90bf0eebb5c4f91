//! What readers see of one moment: `generations` the active and the standby one with their directories, `store` the
//! opened store that publishes them.

pub mod generations;
pub mod store;
