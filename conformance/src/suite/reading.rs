//! The measurement of one run: its time, processor time and memory.

use serde::{Deserialize, Serialize};

/// One measured run of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// The operation.
    pub command: String,
    /// The time from start to end, in milliseconds.
    pub wall_ms: f64,
    /// Processor time, user and system, in milliseconds.
    pub cpu_ms: f64,
    /// The peak of resident memory of the largest process, in KiB.
    pub peak_kib: i64,
}
