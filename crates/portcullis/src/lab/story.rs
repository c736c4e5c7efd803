//! What a lab run tells: steps, each with what was expected and what was seen.

use portcullis_kernel::Error;
use serde::Serialize;

/// The whole of a run.
#[derive(Debug, Serialize)]
pub struct Story {
    /// `portcullis.lab/1`.
    pub schema: &'static str,
    /// The lab.
    pub lab: &'static str,
    /// The kernel.
    pub kernel: String,
    /// What is set up, in a few lines.
    pub network: &'static str,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// What the audit said, as text lines.
    pub audit: Vec<String>,
}

/// One step.
#[derive(Debug, Serialize)]
pub struct Step {
    /// The part of the story that it belongs to.
    pub part: &'static str,
    /// What was tried.
    pub name: String,
    /// What happens on a kernel as this program knows it.
    pub expected: String,
    /// What happened; `None` if the step was skipped.
    pub observed: Option<String>,
    /// Whether the two agree; a skipped step agrees.
    pub agrees: bool,
    /// Why it was skipped, if it was.
    pub skipped: Option<String>,
    /// What the article says about it, if it says something.
    pub article: Option<Article>,
}

/// An article's claim beside what this kernel did.
#[derive(Debug, Serialize)]
pub struct Article {
    /// The claim.
    pub says: &'static str,
    /// Whether this kernel did so.
    pub holds: bool,
}

impl Story {
    /// Starts a story.
    #[must_use]
    pub fn new(lab: &'static str, network: &'static str, kernel: String) -> Self {
        Self { schema: "portcullis.lab/1", lab, kernel, network, steps: Vec::new(), audit: Vec::new() }
    }

    /// Adds a step that is answered yes or no.
    pub fn step(
        &mut self,
        part: &'static str,
        name: impl Into<String>,
        expected: bool,
        observed: bool,
        article: Option<Article>,
    ) {
        let word = |yes| if yes { "yes" } else { "no" };
        self.value(part, name, word(expected), word(observed), article);
    }

    /// Adds a step with a value for an answer.
    pub fn value(
        &mut self,
        part: &'static str,
        name: impl Into<String>,
        expected: &str,
        observed: &str,
        article: Option<Article>,
    ) {
        let (agrees, expected) = (observed == expected, expected.to_owned());
        let (name, observed) = (name.into(), Some(observed.to_owned()));
        self.steps.push(Step { part, name, expected, observed, agrees, skipped: None, article });
    }

    /// Adds a step that could not be done here.
    pub fn skip(&mut self, part: &'static str, name: impl Into<String>, why: &Error) {
        let (name, skipped) = (name.into(), Some(why.to_string()));
        let (expected, observed) = (String::new(), None);
        self.steps.push(Step { part, name, expected, observed, agrees: true, skipped, article: None });
    }

    /// Whether every step went as this program expects.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.steps.iter().all(|step| step.agrees)
    }
}

/// The article's claim, and whether this kernel bears it out.
#[must_use]
pub(super) const fn article(says: &'static str, holds: bool) -> Option<Article> {
    Some(Article { says, holds })
}
