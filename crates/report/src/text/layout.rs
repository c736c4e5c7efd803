//! What all text output shares: escaping, wrapping, labelled fields, tables, colours.

use std::fmt;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use portcullis_audit::Severity;

/// Columns that running text keeps to.
pub(crate) const WIDTH: usize = 96;
/// Columns that the label of a field takes.
const LABEL: usize = 10;

/// Text that is not ours, made harmless: control characters and those that reorder text are escaped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clean<'t>(pub(crate) &'t str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.chars().any(is_dangerous) {
            return f.pad(self.0);
        }
        let mut clean = String::with_capacity(self.0.len() + 8);
        for character in self.0.chars() {
            if is_dangerous(character) {
                clean.extend(character.escape_default());
            } else {
                clean.push(character);
            }
        }
        f.pad(&clean)
    }
}

/// Whether a character could steer a terminal or make text read in another order than it has.
fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The word for a severity, in its colour.
pub(crate) struct Severe(pub(crate) Severity);

impl fmt::Display for Severe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        let style = match self.0 {
            Severity::Critical => colour(AnsiColor::Red).bold(),
            Severity::High => colour(AnsiColor::Red),
            Severity::Medium => colour(AnsiColor::Yellow),
            Severity::Low => colour(AnsiColor::Cyan),
            Severity::Info => Style::new().dimmed(),
        };
        write!(f, "{style}{}{style:#}", self.0.name())
    }
}

/// Returns a device name as a word for a shell: quoted where a shell would take it for more than a word.
pub(crate) fn shell_word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@' | '+' | '%');
    let clean = Clean(name).to_string();
    if !clean.is_empty() && clean.chars().all(plain) {
        clean
    } else {
        format!("'{}'", clean.replace('\'', r"'\''"))
    }
}

/// Returns "1 port", "2 ports".
pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Splits text into lines of at most `width` columns, cleaned. A word that is longer gets a line of its own.
pub(crate) fn lines_of(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let word = Clean(word).to_string();
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(&word);
        used += length;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Writes a paragraph with every line indented.
pub(crate) fn wrapped(out: &mut impl Write, indent: usize, text: &str) -> io::Result<()> {
    for line in lines_of(text, WIDTH.saturating_sub(indent)) {
        writeln!(out, "{:indent$}{line}", "")?;
    }
    Ok(())
}

/// Writes a label, and text beside it that keeps to its column.
pub(crate) fn field(out: &mut impl Write, indent: usize, label: &str, text: &str) -> io::Result<()> {
    hanging(out, indent, LABEL, label, text)
}

/// Like [`field`], with a column of `width` for the label.
pub(crate) fn hanging(
    out: &mut impl Write,
    indent: usize,
    width: usize,
    mut label: &str,
    text: &str,
) -> io::Result<()> {
    for line in lines_of(text, WIDTH.saturating_sub(indent + width)) {
        writeln!(out, "{:indent$}{label:width$}{line}", "")?;
        label = "";
    }
    Ok(())
}

/// Writes rows in columns. Columns are as wide as their content, the last two wrap in what is left.
pub(crate) fn table<const N: usize>(
    out: &mut impl Write,
    indent: usize,
    head: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let widths = column_widths(indent, head, rows);
    table_row(out, indent, &widths, head)?;
    let rules = widths.map(|width| "─".repeat(width));
    table_row(out, indent, &widths, rules.each_ref().map(String::as_str))?;
    for row in rows {
        table_row(out, indent, &widths, row.each_ref().map(String::as_str))?;
    }
    Ok(())
}

fn column_widths<const N: usize>(indent: usize, head: [&str; N], rows: &[[String; N]]) -> [usize; N] {
    let mut widths = head.map(|text| text.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(Clean(cell).to_string().chars().count());
        }
    }
    let gaps = 2 * N.saturating_sub(1);
    let over = |widths: &[usize]| (indent + gaps + widths.iter().sum::<usize>()).saturating_sub(WIDTH + 4);
    // The widest of the last two gives way first.
    while over(&widths) > 0 {
        let Some(widest) = widths.iter_mut().rev().take(2).max() else { break };
        if *widest <= 20 {
            break;
        }
        *widest -= 1;
    }
    widths
}

fn table_row<const N: usize>(
    out: &mut impl Write,
    indent: usize,
    widths: &[usize; N],
    row: [&str; N],
) -> io::Result<()> {
    let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| lines_of(cell, *width)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..height {
        let mut line = " ".repeat(indent);
        for (cell, &width) in cells.iter().zip(widths) {
            let text = cell.get(at).map_or("", String::as_str);
            line.push_str(&format!("{text:width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_steer_a_terminal_is_escaped() {
        assert_eq!(Clean("tap0").to_string(), "tap0");
        assert_eq!(Clean("e\u{1b}[31mvil\u{9b}").to_string(), "e\\u{1b}[31mvil\\u{9b}");
        assert_eq!(Clean("a\u{202e}b").to_string(), "a\\u{202e}b");
        assert_eq!(format!("{:6}|", Clean("a")), "a     |");
    }

    #[test]
    fn text_wraps_at_words() {
        assert_eq!(lines_of("one two  three", 7), ["one two", "three"]);
        assert_eq!(lines_of("incomprehensibilities are", 5), ["incomprehensibilities", "are"]);
        assert!(lines_of("  ", 5).is_empty());
    }

    proptest! {
        #[test]
        fn nothing_dangerous_gets_through(text in any::<String>()) {
            let mut out = Vec::new();
            field(&mut out, 2, "why", &text).unwrap();
            table(&mut out, 2, ["a", "b"], &[[text.clone(), text]]).unwrap();
            let written = String::from_utf8(out).unwrap();
            prop_assert!(written.chars().all(|c| c == '\n' || !is_dangerous(c)));
        }
    }
}
