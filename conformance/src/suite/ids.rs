//! The ids of cases that the runner itself refers to, apart from the cases, so that it need not
//! know them.

/// The case that fails if any error of the plugin, in whatever case, has a code that is not listed.
pub(super) const ERROR_CODES: &str = "protocol/error-codes";

/// The case that fails, and all others with it, if a plugin cannot be attached at all.
pub(super) const ADD_SUCCEEDS: &str = "lifecycle/add-succeeds";

/// The case that fails if CHECK fails right after ADD.
pub(super) const CHECK_AFTER_ADD: &str = "lifecycle/check-after-add";
