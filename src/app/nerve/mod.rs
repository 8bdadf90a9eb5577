//! `nerve`: the composition root of the registering half, and the command line that talks to a running one.
//!
//! | file | what |
//! |---|---|
//! | `cli`, `run`, `stop` | from the command line to the exit code |
//! | `fleet`, `change`, `command`, `reload` | which services run; one task changes them |
//! | `succession` | who goes on with the registration of a former service |
//! | `running` | one service: watcher and reporter |
//! | `slot`, `memory` | a place in `state_dir`: sessions and nodes that outlive the process |
//! | `sweep` | what a former process left behind |
//! | `pushed` | announced downtimes and pushed services that outlive the process |
//! | `desk`, `doors`, `socket` | the pages and the push API |
//! | `heartbeat` | a file that shows that nerve lives |
//! | `client` | `nerve down`, `up`, `status`, `register`, `deregister` |

mod change;
pub mod cli;
pub mod client;
mod command;
mod desk;
mod doors;
mod fleet;
mod heartbeat;
mod memory;
mod pushed;
mod reload;
mod run;
pub(super) mod running;
pub(super) mod slot;
pub mod socket;
mod stop;
mod succession;
mod sweep;
