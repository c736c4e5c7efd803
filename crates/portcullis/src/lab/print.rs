//! A lab's story for people: steps in columns, the articles' claims beside what happened.

use std::io::{self, Write};

use super::story::{Article, Step, Story};

/// Prints a story.
///
/// # Errors
/// Whatever writing gives.
pub fn print(story: &Story, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "Lab {} on Linux {}\n", story.lab, story.kernel)?;
    for line in story.network.lines() {
        writeln!(out, "    {line}")?;
    }
    let mut part = "";
    for (number, step) in (1..).zip(&story.steps) {
        if step.part != part {
            part = step.part;
            writeln!(out, "\n{part}")?;
        }
        print_step(number, step, out)?;
    }
    if !story.audit.is_empty() {
        writeln!(out, "\nWhat the audit says of this network")?;
        for line in &story.audit {
            writeln!(out, "  {line}")?;
        }
    }
    summary(story, out)
}

fn print_step(number: usize, step: &Step, out: &mut impl Write) -> io::Result<()> {
    let observed = match (&step.observed, &step.skipped) {
        (Some(observed), _) => observed.clone(),
        (None, Some(why)) => format!("skipped, because {why}"),
        (None, None) => String::new(),
    };
    let mut name = wrap(&step.name, 70).into_iter();
    writeln!(out, "{number:>4}  {:<70}  {observed}", name.next().unwrap_or_default())?;
    for rest in name {
        writeln!(out, "        {rest}")?;
    }
    if !step.agrees {
        writeln!(out, "      !! expected {}: this is a bug of Portcullis, please report it", step.expected)?;
    }
    if let (Some(Article { says, holds }), Some(_)) = (&step.article, &step.observed) {
        let verdict = if *holds { "as the article says" } else { "the article says otherwise" };
        writeln!(out, "        {verdict}: {says}")?;
    }
    Ok(())
}

/// Breaks a text between words into lines of at most a width, where its words allow.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn summary(story: &Story, out: &mut impl Write) -> io::Result<()> {
    let count = |wanted: fn(&Step) -> bool| story.steps.iter().filter(|step| wanted(step)).count();
    let skipped = count(|step| step.skipped.is_some());
    let wrong = count(|step| !step.agrees);
    let differs =
        count(|step| step.article.as_ref().is_some_and(|article| !article.holds) && step.skipped.is_none());
    let done = story.steps.len() - skipped - wrong;
    write!(out, "\n{done} steps went as expected")?;
    if wrong > 0 {
        write!(out, ", {wrong} did not")?;
    }
    if skipped > 0 {
        write!(out, ", {skipped} skipped")?;
    }
    writeln!(out, "; {differs} of the article's claims are otherwise on this kernel.")?;
    writeln!(out, "Nothing is left behind.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("a bb  ccc dddddd", 6), ["a bb", "ccc", "dddddd"]);
        assert_eq!(wrap("longer than that", 4), ["longer", "than", "that"]);
        assert!(wrap("", 4).is_empty());
    }
}
