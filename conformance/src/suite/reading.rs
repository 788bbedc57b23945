//! The time, the processor time and the memory of one run.

use serde::{Deserialize, Serialize};

/// One measured run of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// The operation.
    pub command: String,
    /// From start to end, in milliseconds.
    pub wall_ms: f64,
    /// Processor time, user and system, in milliseconds.
    pub cpu_ms: f64,
    /// The largest process's resident memory at its peak, in KiB.
    pub peak_kib: i64,
}
