//! Patterns over names, as a shell has them: `*`, `?`, and everything else for itself.

use std::fmt;

/// A pattern. The default, `*`, matches every name and also where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Makes a pattern of a text; every text is one.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether a name matches from its beginning to its end.
    ///
    /// Runs in time proportional to the product of both lengths at worst: after a mismatch only the last `*` is
    /// tried further on.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.chars(), name.chars());
        let mut retry = None;
        loop {
            let ahead = (pattern.clone(), rest.clone());
            match (pattern.next(), rest.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    retry = Some((pattern.clone(), ahead.1.clone()));
                    rest = ahead.1;
                }
                (Some('?'), Some(_)) => {}
                (Some(one), Some(other)) if one == other => {}
                _ => {
                    let Some((after_star, mut from)) = retry.take() else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (pattern, rest) = (after_star.clone(), from.clone());
                    retry = Some((after_star, from));
                }
            }
        }
    }

    /// Whether a name matches, or, without a name, whether the pattern matches everything.
    #[must_use]
    pub fn matches_optional(&self, name: Option<&str>) -> bool {
        name.map_or_else(|| self.0 == "*", |name| self.matches(name))
    }
}

impl Default for Glob {
    fn default() -> Self {
        Self::new("*")
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "vnet0", true),
            ("", "", true),
            ("", "a", false),
            ("vnet*", "vnet12", true),
            ("vnet*", "tap12", false),
            ("vnet?", "vnet1", true),
            ("vnet?", "vnet12", false),
            ("*p1", "tap11p1", true),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyybz", false),
            ("**", "x", true),
            ("br0", "br0", true),
            ("br0", "br01", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), expected, "{pattern} on {name}");
        }
    }

    /// The definition, without the cleverness.
    fn slow(pattern: &[char], name: &[char]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some('*'), _) => slow(&pattern[1..], name) || (!name.is_empty() && slow(pattern, &name[1..])),
            (Some('?'), Some(_)) => slow(&pattern[1..], &name[1..]),
            (Some(one), Some(other)) if one == other => slow(&pattern[1..], &name[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::new(pattern.clone()).matches(&name), slow(&chars(&pattern), &chars(&name)));
        }
    }
}
