//! The conditions of one host, found by path.
//!
//! A few are looked at one by one. Many are found by hash: the path itself among exact ones, then
//! each of its prefixes that ends with a segment, the longest first, then those without a path. That
//! is the order of precedence, since of one length only one prefix is the path's. What is found is
//! still asked whether it holds.

use foldhash::fast::FixedState;
use std::collections::HashMap;

use super::{Condition, PathCondition};

/// Indices of conditions, ascending, which is the order of precedence.
#[derive(Debug, Default)]
pub(super) struct ByPath {
    /// All, where they are few; those without a path, or with the empty prefix, where they are many.
    listed: Box<[u32]>,
    many: Option<Box<Many>>,
}

#[derive(Debug)]
struct Many {
    exact: Lists,
    prefixes: Lists,
    /// Length of the longest prefix, in bytes: so much of a path is looked at.
    longest: usize,
}

type Lists = HashMap<Box<[u8]>, Vec<u32>, FixedState>;

impl ByPath {
    /// Sorts the conditions at `indices` by their paths.
    pub(super) fn new(indices: Vec<u32>, conditions: &[Condition]) -> Self {
        if indices.len() <= FEW {
            let listed = indices.into();
            return Self { listed, many: None };
        }
        let (mut exact, mut prefixes) = (Lists::default(), Lists::default());
        let (mut listed, mut longest) = (Vec::new(), 0);
        for index in indices {
            let (lists, path) = match &conditions[index as usize].path {
                PathCondition::Exact(path) => (&mut exact, path),
                PathCondition::Prefix(path) if !path.is_empty() => {
                    longest = longest.max(path.len());
                    (&mut prefixes, path)
                }
                PathCondition::Prefix(_) | PathCondition::Any => {
                    listed.push(index);
                    continue;
                }
            };
            let list = lists.entry(path.as_bytes().into()).or_default();
            list.push(index);
        }
        Self {
            listed: listed.into(),
            many: Some(Box::new(Many {
                exact,
                prefixes,
                longest,
            })),
        }
    }

    /// The first of those that may match `path` of which `holds` says so.
    pub(super) fn find(&self, path: &[u8], holds: impl Fn(u32) -> bool) -> Option<u32> {
        let first = |list: &[u32]| list.iter().copied().find(|index| holds(*index));
        let found = self.many.as_ref().and_then(|many| {
            let exact = many.exact.get(path).and_then(|list| first(list));
            exact.or_else(|| {
                many.prefixes_of(path)
                    .filter_map(|prefix| many.prefixes.get(prefix))
                    .find_map(|list| first(list))
            })
        });
        found.or_else(|| first(&self.listed))
    }
}

impl Many {
    /// The beginnings of `path` that end with a segment, the longest first.
    fn prefixes_of<'p>(&self, path: &'p [u8]) -> impl Iterator<Item = &'p [u8]> {
        let longest = self.longest.min(path.len());
        let ends = (1..=longest).rev();
        let ends = ends.filter(|end| path.get(*end).is_none_or(|byte| *byte == b'/'));
        ends.map(|end| &path[..end])
    }
}

/// Conditions that are looked at one by one: about what two look-ups cost.
const FEW: usize = 16;
