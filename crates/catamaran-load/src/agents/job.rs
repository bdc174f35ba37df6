//! What an agent is given: the command line, and the files and variables that go with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::codec::{Malformed, Reader, Writer};
use crate::engine::Course;
use crate::plain::PlainOptions;
#[cfg(feature = "scripts")]
use crate::script::ScriptOptions;

/// Everything that makes a run what it is, from where it was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// The command line.
    pub arguments: Vec<String>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// The script's path there, absolute; empty without one.
    pub script: String,
    /// Modules, by path or URL, and what the script opens; files that the command line names.
    pub files: Arc<BTreeMap<String, Vec<u8>>>,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Load {
    /// A run without a script.
    Plain(Box<PlainOptions>),
    /// A run of a script.
    #[cfg(feature = "scripts")]
    Script(Box<ScriptOptions>),
}

/// What coordinator and agent must agree on: reports name metrics and scenarios by number.
pub(super) fn digest(course: &Course) -> Vec<u8> {
    let text = format!("{:?} {:?}", course.registry.metrics(), course.scenarios);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().to_vec()
}

impl Job {
    /// About how many bytes it is.
    pub(super) fn len(&self) -> usize {
        let files = self.files.iter();
        let files: usize = files.map(|(name, bytes)| name.len() + bytes.len()).sum();
        let environment = self.environment.iter();
        let environment: usize = environment
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let arguments: usize = self.arguments.iter().map(String::len).sum();
        files + environment + arguments + self.script.len()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.list(self.arguments.iter(), |writer, text| writer.text(text));
        writer.list(self.environment.iter(), |writer, (name, value)| {
            writer.text(name);
            writer.text(value);
        });
        writer.text(&self.script);
        writer.list(self.files.iter(), |writer, (name, bytes)| {
            writer.text(name);
            writer.bytes(bytes);
        });
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let arguments = reader.list(Reader::text)?;
        let environment = reader.list(|reader| Ok((reader.text()?, reader.text()?)))?;
        let script = reader.text()?;
        let files = reader.list(|reader| Ok((reader.text()?, reader.bytes()?.to_vec())))?;
        Ok(Self {
            arguments,
            environment,
            script,
            files: Arc::new(files.into_iter().collect()),
        })
    }
}

/// Bytes of a job: an agent has no use for more data than a script can hold.
pub(super) const MAX_JOB_BYTES: usize = 256 * 1024 * 1024;
