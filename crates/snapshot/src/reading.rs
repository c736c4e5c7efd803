//! A fact that was read, or the reason why it was not.
//!
//! There is no third state: code that wants a value must say what it does without one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What came of reading one kind of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reading<T> {
    /// The kernel answered; this is the whole answer.
    Read(T),
    /// It was not read, and this is why. It is neither empty nor a default.
    Unread(Unread),
}

/// Why something was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unread {
    /// The kind of obstacle.
    pub cause: UnreadCause,
    /// The kernel's message or a sentence that says what was tried.
    pub reason: String,
}

/// The kinds of obstacle to reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnreadCause {
    /// The kernel refused (`EPERM`, `EACCES`): root could read it.
    Permission,
    /// This kernel does not have the feature; what it would describe cannot exist here either.
    Unsupported,
    /// The object went away while it was being read.
    Vanished,
    /// Anything else: an interrupted dump that did not settle, bytes that do not decode.
    Failed,
    /// It was not asked for.
    NotAsked,
}

impl<T> Reading<T> {
    /// Returns the value, if it was read.
    pub const fn read(&self) -> Option<&T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Unread(_) => None,
        }
    }

    /// Returns why it was not read, if it was not.
    pub const fn unread(&self) -> Option<&Unread> {
        match self {
            Self::Read(_) => None,
            Self::Unread(why) => Some(why),
        }
    }

    /// Does something with the value, if it was read.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Read(value) => Reading::Read(change(value)),
            Self::Unread(why) => Reading::Unread(why),
        }
    }

    /// Whether nothing of the kind can exist: it was read and `empty` says so, or the kernel lacks the feature.
    pub fn is_surely(&self, empty: impl FnOnce(&T) -> bool) -> bool {
        match self {
            Self::Read(value) => empty(value),
            Self::Unread(why) => why.cause == UnreadCause::Unsupported,
        }
    }
}

impl<T> Reading<Vec<T>> {
    /// Returns what was read as a slice; nothing where it was not read. For uses where absence proves nothing.
    pub fn known(&self) -> &[T] {
        self.read().map_or(&[], Vec::as_slice)
    }
}

impl Unread {
    /// Returns the reason for something that nobody asked for.
    #[must_use]
    pub fn not_asked() -> Self {
        Self { cause: UnreadCause::NotAsked, reason: "not asked for".to_owned() }
    }
}

impl<T> Default for Reading<T> {
    /// Not asked for, hence not read.
    fn default() -> Self {
        Self::Unread(Unread::not_asked())
    }
}
