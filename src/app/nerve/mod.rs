//! `nerve`: the composition root of the registering half.
//!
//! | file | what |
//! |---|---|
//! | `slot`, `memory` | a place in `state_dir`: sessions and nodes that outlive the process |
//! | `pushed` | announced downtimes and pushed services that outlive the process |

mod memory;
mod pushed;
pub(crate) mod slot;
