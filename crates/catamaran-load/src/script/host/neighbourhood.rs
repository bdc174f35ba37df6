//! What is the same for all virtual users of a worker.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use super::memo::{Memo, TagMemo};
use super::{Settings, SystemTag};
use crate::engine::Local;
use crate::script::http::Written;
use crate::script::realm::Script;

/// What virtual users would else each have for themselves.
pub(in crate::script) struct Neighbourhood {
    /// Whose it is.
    local: Rc<Local>,
    /// Where the script lies.
    pub(super) directory: PathBuf,
    /// The tags of samples outside of scenarios; then by scenario.
    tags: Vec<Vec<(String, String)>>,
    pub(super) memo: RefCell<TagMemo>,
    /// Requests without anything unusual, as they are sent.
    pub(in crate::script) written: RefCell<Memo<Rc<Written>>>,
}

impl Neighbourhood {
    /// That of this worker, made for the first virtual user that asks.
    pub(super) fn of_worker(local: &Rc<Local>, settings: &Settings, script: &Script) -> Rc<Self> {
        let known = HERE.with_borrow(Weak::upgrade);
        if let Some(known) = known.filter(|known| Rc::ptr_eq(&known.local, local)) {
            return known;
        }
        let path = Path::new(&script.path);
        let of_scenarios = local.scenarios.iter().map(|scenario| {
            let mut tags = settings.tags.clone();
            let own = scenario.tags.iter();
            tags.extend(own.map(|(name, value)| (name.clone(), value.clone())));
            if settings.system_tags.has(SystemTag::Scenario) {
                tags.push(("scenario".to_owned(), scenario.name.clone()));
            }
            tags
        });
        let made = Rc::new(Self {
            local: Rc::clone(local),
            directory: path.parent().unwrap_or(path).to_owned(),
            tags: std::iter::once(settings.tags.clone())
                .chain(of_scenarios)
                .collect(),
            memo: RefCell::default(),
            written: RefCell::default(),
        });
        HERE.set(Rc::downgrade(&made));
        made
    }

    /// The tags that all samples of a scenario bear, or those of none.
    pub(super) fn tags_of(&self, scenario: Option<usize>) -> impl Iterator<Item = (&str, &str)> {
        let tags = &self.tags[scenario.map_or(0, |index| index + 1)];
        tags.iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

thread_local! {
    /// That of the worker of this thread, as long as it has virtual users.
    static HERE: RefCell<Weak<Neighbourhood>> = const { RefCell::new(Weak::new()) };
}
