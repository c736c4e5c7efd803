//! The journal of one apply: a file to which a line is added, and on the disk, before anything is done.
//!
//! Its first line is the [`Header`], which says what is to be done; the file appears with it whole. Each further line is one
//! record. A last line without its end was being written when the process was stopped, and counts for nothing.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_plan::Change;
use portcullis_snapshot::NetnsId;
use serde::{Deserialize, Serialize};

use crate::{Error, Place};

/// What the header's `schema` says.
pub const SCHEMA: &str = "portcullis.journal/1";

/// What is to be done, by whom, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: String,
    /// Tells this apply from every other of this start of the machine.
    pub id: String,
    /// The id of this start of the machine. With another the journal says nothing about the kernel.
    pub boot: String,
    /// The network namespace.
    pub netns: NetnsId,
    /// Tells it from another that gets its id, where the kernel has such a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// Who does it.
    pub who: Who,
    /// By which methods.
    pub methods: Vec<String>,
    /// When it was begun, in RFC 3339.
    pub since: String,
    /// The changes, step by step.
    pub steps: Vec<Vec<Change>>,
    /// Within how many seconds after the last step it has to be confirmed, if it has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u32>,
}

/// Who applied something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// The user.
    pub uid: u32,
    /// The user's name, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The process.
    pub pid: u32,
    /// The command line.
    pub command: String,
}

/// A line of the journal but the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Record {
    /// A step is about to be made.
    Begin(usize),
    /// It was made.
    Done(usize),
    /// All steps were made, and the kernel is as they make it.
    Applied {
        /// Until when it has to be confirmed, in seconds since the machine was started; `None` for never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<u64>,
    },
    /// Somebody confirmed it.
    Confirmed,
    /// What was begun is about to be taken back.
    Undoing,
    /// It was taken back.
    Undone,
}

/// How far an apply got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its steps are being made, or whoever did so was stopped.
    Working,
    /// All was made, and has to be confirmed by then, in time since the machine was started.
    Awaiting(Duration),
    /// All was made, and stays.
    InForce,
    /// It is being taken back, or whoever did so was stopped.
    Undoing,
    /// It was taken back.
    Undone,
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entries {
    pub(crate) header: Header,
    /// How many steps were begun.
    pub(crate) begun: usize,
    pub(crate) phase: Phase,
    /// Where the last whole line ends.
    whole: u64,
}

/// What is wrong with a journal, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Entries {
    /// Reads the text of a journal.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Damage> {
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let first = lines.next().unwrap_or_default();
        let header: Header = decode(first, 1)?;
        if header.schema != SCHEMA {
            let message = format!("it says that it is {:?}; this program reads {SCHEMA:?}", header.schema);
            return Err(Damage { line: 1, message });
        }
        let mut entries = Self { header, begun: 0, phase: Phase::Working, whole: first.len() as u64 };
        for (text, line) in lines.zip(2..) {
            let record: Record = decode(text, line)?;
            entries.take(record).map_err(|message| Damage { line, message })?;
            entries.whole += text.len() as u64;
        }
        Ok(entries)
    }

    fn take(&mut self, record: Record) -> Result<(), String> {
        match (record, self.phase) {
            (Record::Begin(step), Phase::Working) if step == self.begun && step < self.header.steps.len() => {
                self.begun += 1;
            }
            (Record::Done(step), Phase::Working) if step + 1 == self.begun => {}
            (Record::Applied { deadline }, Phase::Working) if self.begun == self.header.steps.len() => {
                self.phase =
                    deadline.map_or(Phase::InForce, |seconds| Phase::Awaiting(Duration::from_secs(seconds)));
            }
            (Record::Confirmed, Phase::Awaiting(_)) => self.phase = Phase::InForce,
            // Whoever finishes an undo says so too.
            (Record::Undoing, _) => self.phase = Phase::Undoing,
            (Record::Undone, Phase::Undoing) => self.phase = Phase::Undone,
            _ => return Err(format!("{record:?} cannot stand here")),
        }
        Ok(())
    }

    /// The steps that were begun.
    pub(crate) fn begun_steps(&self) -> &[Vec<Change>] {
        self.header.steps.get(..self.begun).unwrap_or_default()
    }
}

fn decode<T: for<'de> Deserialize<'de>>(text: &[u8], line: usize) -> Result<T, Damage> {
    serde_json::from_slice(text).map_err(|error| {
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or(&text);
        Damage { line, message: format!("{what}, at column {}", error.column()) }
    })
}

/// A journal on the disk.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) path: PathBuf,
    pub(crate) entries: Entries,
}

impl Journal {
    /// Reads a journal; `None` if there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, Error> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file(path, error)),
        };
        let damaged = |damage: Damage| Error::Damaged {
            path: path.to_owned(),
            line: damage.line,
            message: damage.message,
        };
        let entries = Entries::parse(&text).map_err(damaged)?;
        Ok(Some(Self { path: path.to_owned(), entries }))
    }

    /// Begins a journal, whose file appears with its header whole.
    pub(crate) fn create(path: &Path, header: Header) -> Result<Self, Error> {
        let failed = |error| Error::file(path, error);
        let mut line = serde_json::to_vec(&header).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        put(path, &line).map_err(|error| {
            // Nothing was begun: the name says nothing worth keeping.
            let _ = std::fs::remove_file(path);
            failed(error)
        })?;
        let entries = Entries { header, begun: 0, phase: Phase::Working, whole: line.len() as u64 };
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Adds a record; when this returns it is on the disk. What an unfinished line left is cut off.
    pub(crate) fn add(&mut self, record: Record) -> Result<(), Error> {
        let failed = |error| Error::file(&self.path, error);
        let mut line = serde_json::to_vec(&record).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let mut options = File::options();
        let mut file = options.append(true).open(&self.path).map_err(failed)?;
        file.set_len(self.entries.whole).map_err(failed)?;
        write(&mut file, &line).map_err(failed)?;
        self.entries.whole += line.len() as u64;
        self.entries.take(record).map_err(|message| failed(std::io::Error::other(message)))
    }

    /// Puts another in its place, whose steps are all in force. It is there whole, or this one is.
    pub(crate) fn replace(self, header: Header) -> Result<(), Error> {
        let failed = |error| Error::file(&self.path, error);
        let begun = (0..header.steps.len()).map(Record::Begin);
        let mut text = serde_json::to_vec(&header).map_err(|error| failed(error.into()))?;
        for record in begun.chain([Record::Applied { deadline: None }]) {
            text.push(b'\n');
            serde_json::to_writer(&mut text, &record).map_err(|error| failed(error.into()))?;
        }
        text.push(b'\n');
        put(&self.path, &text).map_err(failed)
    }

    /// Takes the journal away: nothing of it is in the kernel.
    pub(crate) fn remove(self) -> Result<(), Error> {
        let failed = |error| Error::file(&self.path, error);
        std::fs::remove_file(&self.path).map_err(failed)?;
        sync_directory(&self.path).map_err(failed)
    }

    /// Whether it is about something that no longer is: another start of the machine, or a namespace that had this one's id.
    pub(crate) fn is_stale(&self, place: &Place) -> bool {
        let header = &self.entries.header;
        let other = header.cookie.zip(place.cookie).is_some_and(|(one, other)| one != other);
        header.boot != place.boot || header.netns != place.netns || other
    }

    /// Puts a journal that says nothing about this kernel where nobody looks.
    pub(crate) fn set_aside(&self) -> Result<(), Error> {
        let failed = |error| Error::file(&self.path, error);
        let mut name = self.path.clone().into_os_string();
        name.push(".stale");
        std::fs::rename(&self.path, name).map_err(failed)?;
        sync_directory(&self.path).map_err(failed)
    }
}

/// Writes a file as a whole or not at all.
fn put(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let written = write(&mut file, text).and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written.and_then(|()| sync_directory(path))
}

fn write(file: &mut File, line: &[u8]) -> std::io::Result<()> {
    #[cfg(test)]
    crate::testing::Fault::strike(file, line)?;
    file.write_all(line)?;
    file.sync_data()?;
    #[cfg(test)]
    crate::testing::Fault::after_write();
    Ok(())
}

fn sync_directory(of: &Path) -> std::io::Result<()> {
    of.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn header() -> Header {
        let who = Who { uid: 0, user: Some("root".to_owned()), pid: 7, command: "portcullis fix".to_owned() };
        Header {
            schema: SCHEMA.to_owned(),
            id: "7-1".to_owned(),
            boot: "b".to_owned(),
            netns: NetnsId(1),
            cookie: None,
            who,
            methods: Vec::new(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            steps: vec![Vec::new(), Vec::new()],
            confirm: None,
        }
    }

    fn text(records: &[Record]) -> Vec<u8> {
        let mut text = serde_json::to_vec(&header()).unwrap();
        text.push(b'\n');
        for record in records {
            text.extend(serde_json::to_vec(record).unwrap());
            text.push(b'\n');
        }
        text
    }

    const ALL: [Record; 5] = [
        Record::Begin(0),
        Record::Done(0),
        Record::Begin(1),
        Record::Done(1),
        Record::Applied { deadline: Some(9) },
    ];

    #[test]
    fn records_are_short_words() {
        let words: Vec<_> = [ALL[0], ALL[1], ALL[4], Record::Applied { deadline: None }, Record::Confirmed]
            .iter()
            .map(|record| serde_json::to_string(record).unwrap())
            .collect();
        let expected = [
            r#"{"begin":0}"#,
            r#"{"done":0}"#,
            r#"{"applied":{"deadline":9}}"#,
            r#"{"applied":{}}"#,
            r#""confirmed""#,
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn what_was_begun_is_known_at_every_byte() {
        let whole = text(&ALL);
        let start = text(&[]).len();
        for length in start..=whole.len() {
            let entries = Entries::parse(&whole[..length]).unwrap();
            let lines = whole[start..length].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(entries.begun, [0, 1, 1, 2, 2, 2][lines]);
            let phase = if lines == 5 { Phase::Awaiting(Duration::from_secs(9)) } else { Phase::Working };
            assert_eq!(entries.phase, phase);
            let end = whole[..length].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
            assert_eq!(entries.whole, end as u64);
        }
        for length in 0..start {
            assert_eq!(Entries::parse(&whole[..length]).unwrap_err().line, 1);
        }
    }

    #[test]
    fn what_cannot_be_is_told_with_its_line() {
        for wrong in [Record::Begin(1), Record::Done(0), Record::Applied { deadline: None }, Record::Undone] {
            assert_eq!(Entries::parse(&text(&[wrong])).unwrap_err().line, 2);
        }
        let mut garbled = text(&ALL);
        garbled.extend(b"\0\0\0\n");
        assert_eq!(Entries::parse(&garbled).unwrap_err().line, 7);
        let newer = String::from_utf8(text(&[])).unwrap().replace("journal/1", "journal/2");
        let damage = Entries::parse(newer.as_bytes()).unwrap_err();
        assert!(damage.message.contains("journal/2"), "{}", damage.message);
    }

    #[test]
    fn a_torn_line_is_cut_off_before_the_next() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("1.0");
        let mut torn = text(&ALL[..1]);
        torn.extend(br#"{"do"#);
        std::fs::write(&path, torn).unwrap();
        let mut journal = Journal::open(&path).unwrap().unwrap();
        journal.add(Record::Undoing).unwrap();
        let read = Journal::open(&path).unwrap().unwrap();
        assert_eq!(read.entries, journal.entries);
        assert_eq!((read.entries.begun, read.entries.phase), (1, Phase::Undoing));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Entries::parse(&bytes);
        }

        #[test]
        fn no_damage_makes_it_panic(at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = text(&ALL);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.remove(at);
            }
            let _ = Entries::parse(&bytes);
        }

        #[test]
        fn no_records_make_it_panic(numbers in proptest::collection::vec((0usize..6, 0usize..3), 0..8)) {
            let records: Vec<_> = numbers.iter().map(|(kind, step)| match kind {
                0 => Record::Begin(*step),
                1 => Record::Done(*step),
                2 => Record::Applied { deadline: (*step > 0).then_some(u64::MAX) },
                3 => Record::Confirmed,
                4 => Record::Undoing,
                _ => Record::Undone,
            }).collect();
            let _ = Entries::parse(&text(&records));
        }
    }
}
