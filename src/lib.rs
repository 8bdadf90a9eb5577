//! SmartStack connects services: an application talks to `localhost:PORT`, one port per dependency, and knows nothing
//! else. `nerve` runs beside every instance and registers it; `synapse` runs beside every client, discovers, and *is*
//! the proxy.
//!
//! # The idea in five sentences
//!
//! Discovery says **who exists**; health says **who works**; the pool, *one task per service*, is the only place that
//! puts the two together, and it publishes an immutable **snapshot**. The proxy reads the snapshot, takes a **lease** on
//! one backend and moves bytes. nerve is the same health machinery pointed at the local service, with a reporter
//! instead of a pool at the end. Each long-lived piece of state has exactly one writer, so there is nothing to lock and
//! nothing to race. All judgement (rise/fall, membership policy, selection) is plain functions over plain values, with
//! time as an argument; tasks only wait, call them, and publish.
//!
//! ```text
//!                            Membership            Snapshot
//!             ┌───────────┐   (watch)   ┌────────┐ (ArcSwap)  ┌───────┐  Lease   ┌──────────┐
//!  registry ─▶│ discovery │────────────▶│  Pool  │───────────▶│ proxy │─────────▶│ backends │
//! (ZooKeeper) └───────────┘             └────────┘◀───────────└───────┘          └──────────┘
//!              also file, fixed          ▲      ▲   outcome                            ▲
//!                                 report │      │ view                                 │ probe
//!                             ┌──────────┴──┐   └── admin                              │
//!                             │   checks    │──────────────────────────────────────────┘
//!                             └─────────────┘
//!
//!  service   ┌──────────┐ Wanted  ┌──────────┐ create, delete
//!  here ◀────│ watcher  │────────▶│ reporter │────────────────▶ registry (ZooKeeper, file)
//!     checks └──────────┘ (watch) └──────────┘
//! ```
//!
//! # Two planes, two sets of threads
//!
//! *Control*: the main thread with one current-thread runtime runs discovery, pools, checks and admin; each ZooKeeper
//! ensemble has a *registry thread* of its own, so that one bad ensemble (or its client) freezes nothing else. *Data*:
//! `workers` threads, each with its own runtime, accepts and upstream connections. The planes meet in three places: the
//! `ArcSwap` of a service's snapshot and settings (control writes, data reads), atomics and per-worker cells (data
//! writes, control reads), and a bounded channel of outcomes (data to control, dropped when full). A registry storm
//! cannot move a request's p99.
//!
//! # Who may import whom
//!
//! Imports flow towards plain values; `tests/it/layers.rs` holds this table and fails on an upward import.
//!
//! | row | modules | may import |
//! |---|---|---|
//! | 7 | `bin/*` | [`app`], [`config`] |
//! | 6 | [`app`] | everything below |
//! | 5 | [`config`], [`admin`] | the settings types and handles of rows 0–4 |
//! | 4 | [`proxy`] | [`lb`], rows 0–1 |
//! | 3 | [`lb`], [`registration`] | [`lb`]: [`discovery`], rows 0–1; [`registration`]: rows 0–1 |
//! | 2 | [`discovery`] | [`registry`], [`telemetry`], row 0 |
//! | 1 | [`health`], [`registry`], [`telemetry`] | row 0 |
//! | 0 | [`endpoint`], [`backoff`], [`dial`], `digits`, `disk`, [`shutdown`], [`readiness`] | std, tokio |
//!
//! # Tasks: who runs, who stops them
//!
//! | task | how many | waits on | writes | ends when |
//! |---|---|---|---|---|
//! | main | 1 | signals | the stop token | asked |
//! | session | 1 per ensemble, on its registry thread | the ensemble, back-off | `watch<Session>` | stop, last |
//! | discovery | 1 per service | its source | `watch<Discovered>` | the service's token |
//! | pool | 1 per service | membership, check reports, outcomes, commands | snapshot, view | its token |
//! | check scheduler | 1 per service | its timer; a shared semaphore bounds probes in flight | reports | its pool ends |
//! | generator | 1 per service | `watch<Discovered>` | word to the fleet | its token |
//! | fleet | 1 | SIGHUP, generator configs | settings, listeners, sessions, the admin page | before the drain |
//! | hand-over | 1, with a `state_dir` | a successor at `handover.sock` | — | the stop |
//! | watcher (nerve) | 1 per local service | its checks, announced downtimes | what is wanted, its view | the service ends |
//! | reporter (nerve) | 1 per local service | what is wanted, the session, its node | the node, its state | the service ends, after its watcher |
//! | fleet (nerve) | 1 | SIGHUP, the push API | which services run | the stop, first |
//! | saver | 1 per service with a memory | new words of its source, a timer | `state_dir/last-known` | its source's token |
//! | signs of life | 1 per thread | its timer | its heartbeat | last |
//! | acceptor | 1 per listener and worker | accept | connections | its listener is removed |
//! | connection | 1 per client | sockets, idle timers | cells, leases | closed, or the drain's deadline |
//! | admin | 1, on the control thread | requests | — | after the drain, so that it can report it |
//!
//! A change of the file, of a generator config or of the process itself (reload, hand-over) is applied by the fleet,
//! new before old. Stopping: not ready → stop accepting → wait for connections up to the deadline → close the rest →
//! pools, discovery → sessions → admin.
//!
//! # Words
//!
//! service · endpoint (what a registration says) · backend (an endpoint here, with live state) · membership · snapshot ·
//! pick · lease · probe (one try) · check (scheduled) · rise/fall · weight · drain · registry · session · registration.
//! The field's word first: haproxy's manual decides.

pub mod admin;
pub mod app;
pub mod backoff;
pub mod config;
pub mod dial;
pub(crate) mod digits;
pub mod discovery;
pub(crate) mod disk;
pub mod endpoint;
pub mod health;
pub mod lb;
pub mod proxy;
pub mod readiness;
pub mod registration;
pub mod registry;
pub mod shutdown;
pub mod telemetry;
