//! What happens to the model: keys and answers come in, changes that are wanted go out.

use super::model::{Change, Link, Mode, Model, Note, Tone, What};
use serde_json::Value;

/// What came.
#[derive(Debug)]
pub(super) enum Message {
    Key(Key),
    /// The screen has another size, or was covered.
    Redraw,
    State(Box<Value>),
    /// The process does not answer; why.
    Lost(String),
    /// What a change came to.
    Done(Result<String, String>),
    /// A signal asks to end.
    Quit,
}

/// A key, as far as any means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    Interrupt,
}

/// What is to be done outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Change(Change),
    Quit,
}

/// Takes in what came. Returns what is to be done.
pub(super) fn update(model: &mut Model, message: Message) -> Option<Command> {
    match message {
        Message::Key(Key::Interrupt) | Message::Quit => return Some(Command::Quit),
        Message::Key(key) => return on_key(model, key),
        Message::Redraw => {}
        Message::State(state) => model.take(&state),
        Message::Lost(why) => model.link = Link::Lost(why),
        Message::Done(done) => {
            model.note = Some(match done {
                Ok(text) => Note {
                    text,
                    tone: Tone::Good,
                },
                Err(text) => Note {
                    text,
                    tone: Tone::Bad,
                },
            });
        }
    }
    None
}

fn on_key(model: &mut Model, key: Key) -> Option<Command> {
    match std::mem::take(&mut model.mode) {
        Mode::Normal => on_normal(model, key),
        Mode::Help => None,
        Mode::Filter => {
            on_filter(model, key);
            None
        }
        Mode::Confirm(change) => match key {
            Key::Char('y' | 'Y') => Some(Command::Change(change)),
            Key::Char('n' | 'N' | 'q') | Key::Escape => None,
            _ => {
                model.mode = Mode::Confirm(change);
                None
            }
        },
    }
}

fn on_filter(model: &mut Model, key: Key) {
    match key {
        Key::Enter => return,
        Key::Escape => {
            model.filter.clear();
            return;
        }
        Key::Backspace => drop(model.filter.pop()),
        Key::Char(letter) if model.filter.len() < MAX_FILTER => model.filter.push(letter),
        _ => {}
    }
    model.mode = Mode::Filter;
}

fn on_normal(model: &mut Model, key: Key) -> Option<Command> {
    let page = isize::try_from(model.page.max(1)).unwrap_or(isize::MAX);
    match key {
        Key::Char('q') => return Some(Command::Quit),
        // The first takes back what hides servers, the next ends.
        Key::Escape if model.filter.is_empty() => return Some(Command::Quit),
        Key::Escape => model.filter.clear(),
        Key::Char('?' | 'h') => model.mode = Mode::Help,
        Key::Char('/') => model.mode = Mode::Filter,
        Key::Char('s') => model.sort = model.sort.next(),
        Key::Char('r') => model.is_reversed = !model.is_reversed,
        Key::Char('p') => model.problems_only = !model.problems_only,
        Key::Up | Key::Char('k') => step(model, -1),
        Key::Down | Key::Char('j') => step(model, 1),
        Key::PageUp => step(model, -page),
        Key::PageDown => step(model, page),
        Key::Home => step(model, isize::MIN),
        Key::End => step(model, isize::MAX),
        Key::Char('d') => confirm(model, What::Drain),
        Key::Char('m') => confirm(model, What::Maintenance),
        Key::Char('e') => return change(model, |_| What::Enable),
        Key::Char('+') => return change(model, |weight| What::Weight((weight + 1).min(256))),
        Key::Char('-') => return change(model, |weight| What::Weight(weight.saturating_sub(1))),
        Key::Char(_) | Key::Enter | Key::Backspace | Key::Interrupt => {}
    }
    None
}

/// Chooses another server.
fn step(model: &mut Model, by: isize) {
    let shown = model.shown();
    let Some(last) = shown.len().checked_sub(1) else {
        return;
    };
    let index = model.chosen_index().saturating_add_signed(by).min(last);
    let chosen = shown[index];
    model.chosen = Some((chosen.backend.clone(), chosen.name.clone()));
}

/// The change of the chosen server; `what` gets its weight.
fn chosen(model: &Model, what: impl FnOnce(u16) -> What) -> Option<Change> {
    let shown = model.shown();
    let server = shown.get(model.chosen_index())?;
    Some(Change {
        backend: server.backend.clone(),
        server: server.name.clone(),
        what: what(server.weight),
    })
}

fn change(model: &Model, what: impl FnOnce(u16) -> What) -> Option<Command> {
    chosen(model, what).map(Command::Change)
}

/// Asks first, since it takes traffic away.
fn confirm(model: &mut Model, what: What) {
    if let Some(change) = chosen(model, |_| what) {
        model.chosen = Some((change.backend.clone(), change.server.clone()));
        model.mode = Mode::Confirm(change);
    }
}

/// Bytes of a filter.
const MAX_FILTER: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::Sort;
    use crate::top::sample;

    fn model() -> Model {
        let mut model = Model::default();
        update(&mut model, Message::State(Box::new(sample::state())));
        model
    }

    fn press(model: &mut Model, keys: &str) -> Option<Command> {
        let press = |key| update(model, Message::Key(Key::Char(key)));
        keys.chars().map(press).last().flatten()
    }

    fn names(model: &Model) -> Vec<String> {
        model.shown().iter().map(|one| one.name.clone()).collect()
    }

    #[test]
    fn a_drain_is_asked_for_before_it_is_done() {
        let mut model = model();
        update(&mut model, Message::Key(Key::Down));
        assert_eq!(press(&mut model, "d"), None);
        assert_eq!(press(&mut model, "n"), None);
        assert_eq!(model.mode, Mode::Normal);
        let Some(Command::Change(change)) = press(&mut model, "dy") else {
            panic!("it was confirmed");
        };
        assert_eq!((change.server.as_str(), change.what), ("b", What::Drain));
    }

    #[test]
    fn enabling_and_weights_need_no_question_and_stay_in_range() {
        let mut model = model();
        let what = |command| match command {
            Some(Command::Change(change)) => change.what,
            _ => panic!("no change"),
        };
        assert_eq!(what(press(&mut model, "e")), What::Enable);
        assert_eq!(what(press(&mut model, "+")), What::Weight(2));
        update(&mut model, Message::Key(Key::End));
        assert_eq!(what(press(&mut model, "-")), What::Weight(0));
    }

    #[test]
    fn the_chosen_server_stays_chosen_when_the_order_changes() {
        let mut model = model();
        update(&mut model, Message::Key(Key::Down));
        assert_eq!(model.chosen_index(), 1);
        model.sort = Sort::Rate;
        assert_eq!(names(&model)[model.chosen_index()], "b");
        press(&mut model, "r");
        assert_eq!(names(&model)[model.chosen_index()], "b");
    }

    #[test]
    fn a_filter_and_problems_only_hide_servers_until_they_are_taken_back() {
        let mut model = model();
        let all = names(&model).len();
        press(&mut model, "/down");
        update(&mut model, Message::Key(Key::Enter));
        assert_eq!(names(&model), ["c"]);
        // What was chosen is hidden: the first of what is shown takes its place.
        assert_eq!(model.chosen_index(), 0);
        assert_eq!(update(&mut model, Message::Key(Key::Escape)), None);
        assert_eq!(names(&model).len(), all);
        press(&mut model, "p");
        assert!(!names(&model).contains(&"a".to_owned()));
        let end = update(&mut model, Message::Key(Key::Escape));
        assert_eq!(end, Some(Command::Quit));
    }

    #[test]
    fn letters_of_a_filter_are_no_commands() {
        let mut model = model();
        assert_eq!(press(&mut model, "/qde"), None);
        assert_eq!(model.filter, "qde");
        assert_eq!(
            update(&mut model, Message::Key(Key::Interrupt)),
            Some(Command::Quit)
        );
    }

    #[test]
    fn without_servers_no_key_does_harm() {
        let mut model = Model::default();
        for key in "dem+-sjkrp".chars() {
            assert_eq!(update(&mut model, Message::Key(Key::Char(key))), None);
        }
        update(&mut model, Message::Key(Key::PageDown));
    }
}
