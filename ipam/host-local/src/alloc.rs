//! The addresses of the ranges, and the next one to give out. Pure functions, no I/O.

mod allocator;
mod count;
mod range;
mod range_set;
mod span;

pub(crate) use allocator::{
    Allocation, NoAddress, Occupancy, Wanted, allocation, choose, require_free,
};
pub use count::Count;
pub(crate) use range::{Range, RangeSpec};
pub(crate) use range_set::RangeSet;
pub(crate) use span::{Span, Spans, first_conflict, from_bits, to_bits};
