//! Placeholder root, replaced as the crate gets its content.
