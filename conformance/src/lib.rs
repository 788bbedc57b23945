//! The black-box suite `cni-conformance`, for any CNI plugin: see [`suite`].

pub mod suite;
