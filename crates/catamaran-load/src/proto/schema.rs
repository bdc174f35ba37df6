//! All messages and methods that a client knows, with their names resolved.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{File, RawField};
use super::{known, parse};

/// What is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    messages: HashMap<String, Arc<Message>>,
    enums: HashMap<String, Arc<Vec<(String, i32)>>>,
    methods: HashMap<String, Method>,
    /// Paths of methods as they were declared.
    declared: Vec<String>,
    /// Files that are in it.
    files: HashSet<String>,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) fields: Vec<Field>,
    is_entry: bool,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) json_name: String,
    pub(super) number: u32,
    pub(super) is_repeated: bool,
    pub(super) is_in_oneof: bool,
    pub(super) is_packed: bool,
    pub(super) is_proto3: bool,
    pub(super) kind: Kind,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    Text,
    Bytes,
    /// By full name.
    Enum(String),
    Message(String),
}

/// A method of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Method {
    /// `/package.Service/Method`
    pub(crate) path: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) is_client_streaming: bool,
    pub(crate) is_server_streaming: bool,
}

impl Schema {
    /// Reads `.proto` files, and those that they import, from these directories with `read`.
    pub(crate) fn load(
        directories: &[PathBuf],
        names: &[String],
        read: &Read<'_>,
    ) -> Result<Self, String> {
        let mut files: Vec<File> = Vec::new();
        let mut wanted: Vec<String> = names.to_vec();
        let mut seen: HashSet<String> = wanted.iter().cloned().collect();
        while let Some(name) = wanted.pop() {
            let file = parse::parse(&name, &source(directories, &name, read)?)?;
            let new = file
                .imports
                .iter()
                .filter(|name| seen.insert((*name).clone()));
            wanted.extend(new.cloned().collect::<Vec<_>>());
            files.push(file);
            if files.len() > MAX_FILES {
                return Err(format!("more than {MAX_FILES} files are imported"));
            }
        }
        let mut schema = Self::default();
        schema.add(&files)?;
        Ok(schema)
    }

    /// Adds files, and those of the library that they import. What is there already stays.
    pub(crate) fn add(&mut self, files: &[File]) -> Result<(), String> {
        let given: HashSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let mut library = Vec::new();
        if !self.files.contains(known::HEALTH)
            && let Some(source) = known::source(known::HEALTH)
        {
            // The health check is there without being asked for.
            library.push(parse::parse(known::HEALTH, source)?);
        }
        for import in files.iter().flat_map(|file| &file.imports) {
            let is_there = given.contains(import.as_str()) || self.files.contains(import);
            if let (Some(source), false) = (known::source(import), is_there) {
                library.push(parse::parse(import, source)?);
            }
        }
        let files: Vec<&File> = files.iter().chain(&library).collect();
        let mut names = Names::default();
        names.messages.extend(self.messages.keys().cloned());
        names.enums.extend(self.enums.keys().cloned());
        for file in &files {
            let messages = file.messages.iter();
            names
                .messages
                .extend(messages.map(|message| message.name.clone()));
            let enums = file.enums.iter();
            names.enums.extend(enums.map(|(name, _)| name.clone()));
        }
        for file in files {
            if self.files.insert(file.name.clone()) || file.name.is_empty() {
                self.add_file(file, &names)
                    .map_err(|why| format!("{}: {why}", file.name))?;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, file: &File, names: &Names) -> Result<(), String> {
        for message in &file.messages {
            let fields = message.fields.iter();
            let fields = fields.map(|field| resolve(field, &message.name, file.is_proto3, names));
            let known = Message {
                fields: fields.collect::<Result<_, _>>()?,
                is_entry: message.is_entry,
            };
            self.messages.insert(message.name.clone(), Arc::new(known));
        }
        for (name, values) in &file.enums {
            self.enums.insert(name.clone(), Arc::new(values.clone()));
        }
        for (service, methods) in &file.services {
            for method in methods {
                let message = |name: &str| match names.find(service, name) {
                    Some(Kind::Message(name)) => Ok(name),
                    _ => Err(format!(
                        "method `{}`: no message is called `{name}`",
                        method.name
                    )),
                };
                let path = format!("/{service}/{}", method.name);
                let known = Method {
                    path: path.clone(),
                    input: message(&method.input)?,
                    output: message(&method.output)?,
                    is_client_streaming: method.is_client_streaming,
                    is_server_streaming: method.is_server_streaming,
                };
                if self.methods.insert(path.clone(), known).is_none() {
                    self.declared.push(path);
                }
            }
        }
        Ok(())
    }

    /// Adds all of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        let messages = other.messages.iter();
        self.messages
            .extend(messages.map(|(name, message)| (name.clone(), Arc::clone(message))));
        let enums = other.enums.iter();
        self.enums
            .extend(enums.map(|(name, values)| (name.clone(), Arc::clone(values))));
        for method in other
            .declared
            .iter()
            .filter_map(|path| other.methods.get(path))
        {
            let known = self.methods.insert(method.path.clone(), method.clone());
            if known.is_none() {
                self.declared.push(method.path.clone());
            }
        }
        self.files.extend(other.files.iter().cloned());
    }

    /// Whether a file is in it.
    pub(crate) fn has_file(&self, name: &str) -> bool {
        self.files.contains(name)
    }

    /// The method of this path, `/package.Service/Method`.
    pub(crate) fn method(&self, path: &str) -> Option<&Method> {
        self.methods.get(path)
    }

    /// All methods but those of the health check.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &Method> {
        let paths = self.declared.iter();
        let methods = paths.filter_map(|path| self.methods.get(path));
        methods.filter(|method| !method.path.starts_with("/grpc.health.v1."))
    }

    pub(super) fn message(&self, name: &str) -> Result<&Message, String> {
        let message = self.messages.get(name);
        message
            .map(|message| &**message)
            .ok_or_else(|| format!("no message is called `{name}`"))
    }

    pub(super) fn enum_values(&self, name: &str) -> &[(String, i32)] {
        self.enums.get(name).map_or(&[], |values| values.as_slice())
    }

    /// Key and value, of a field that is a map.
    pub(super) fn entry(&self, field: &Field) -> Option<(&Field, &Field)> {
        let Kind::Message(name) = &field.kind else {
            return None;
        };
        let message = self.messages.get(name).filter(|message| message.is_entry)?;
        let of = |number| message.fields.iter().find(|field| field.number == number);
        of(1).zip(of(2)).filter(|_| field.is_repeated)
    }
}

/// Full names of what there is.
#[derive(Default)]
struct Names {
    messages: HashSet<String>,
    enums: HashSet<String>,
}

impl Names {
    /// What a name means in a scope: the innermost that there is.
    fn find(&self, scope: &str, name: &str) -> Option<Kind> {
        let full = |name: &str| {
            let name = name.to_owned();
            match () {
                () if self.messages.contains(&name) => Some(Kind::Message(name)),
                () if self.enums.contains(&name) => Some(Kind::Enum(name)),
                () => None,
            }
        };
        if let Some(name) = name.strip_prefix('.') {
            return full(name);
        }
        let mut scope = scope;
        loop {
            let found = full(&super::file::within(scope, name));
            if found.is_some() || scope.is_empty() {
                return found;
            }
            scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
    }
}

fn resolve(raw: &RawField, scope: &str, is_proto3: bool, names: &Names) -> Result<Field, String> {
    let kind = match raw.kind.as_str() {
        "double" => Kind::Double,
        "float" => Kind::Float,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "uint32" => Kind::Uint32,
        "uint64" => Kind::Uint64,
        "sint32" => Kind::Sint32,
        "sint64" => Kind::Sint64,
        "fixed32" => Kind::Fixed32,
        "fixed64" => Kind::Fixed64,
        "sfixed32" => Kind::Sfixed32,
        "sfixed64" => Kind::Sfixed64,
        "bool" => Kind::Bool,
        "string" => Kind::Text,
        "bytes" => Kind::Bytes,
        name => names.find(scope, name).ok_or_else(|| {
            format!(
                "field `{}` of `{scope}`: nothing is called `{name}`; is an import missing?",
                raw.name
            )
        })?,
    };
    let may_be_packed = !matches!(kind, Kind::Text | Kind::Bytes | Kind::Message(_));
    Ok(Field {
        name: raw.name.clone(),
        json_name: raw.json_name.clone(),
        number: raw.number,
        is_repeated: raw.is_repeated,
        is_in_oneof: raw.is_in_oneof,
        is_packed: raw.packed.unwrap_or(is_proto3) && may_be_packed,
        is_proto3,
        kind,
    })
}

/// Reads a file.
pub(crate) type Read<'a> = dyn Fn(&Path) -> io::Result<Vec<u8>> + 'a;

fn source(directories: &[PathBuf], name: &str, read: &Read<'_>) -> Result<String, String> {
    for directory in directories {
        let path = directory.join(name);
        let told = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        match read(&path) {
            Ok(bytes) => return String::from_utf8(bytes).map_err(|error| told(&error)),
            Err(error) if IS_ELSEWHERE.contains(&error.kind()) => {}
            Err(error) => return Err(told(&error)),
        }
    }
    if let Some(source) = known::source(name) {
        return Ok(source.to_owned());
    }
    let shown: Vec<_> = directories
        .iter()
        .map(|path: &PathBuf| Path::display(path).to_string())
        .collect();
    Err(format!(
        "`{name}` is in none of the import paths: {}",
        shown.join(", ")
    ))
}

/// There is no such file in this directory; another one may have it.
const IS_ELSEWHERE: [io::ErrorKind; 3] = [
    io::ErrorKind::NotFound,
    io::ErrorKind::NotADirectory,
    io::ErrorKind::IsADirectory,
];
/// Files of a schema at most.
const MAX_FILES: usize = 10_000;
