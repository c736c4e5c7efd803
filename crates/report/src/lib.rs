//! How findings, walks and maps are said.
