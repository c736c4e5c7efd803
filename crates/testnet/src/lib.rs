//! Networks for tests.
