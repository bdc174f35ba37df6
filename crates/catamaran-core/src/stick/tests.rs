//! The affinity table: its rule, sentence by sentence, and a model of it.

use super::*;
use crate::Timestamp;
use crate::key::Key;
use crate::model::{Stick, StickKey};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

fn stick(refresh: bool) -> Stick {
    Stick {
        on: StickKey::SourceIp,
        window: Duration::from_secs(2),
        refresh,
        max_entries: 1000,
    }
}

fn table() -> Table {
    Table::new(&stick(false), 1000)
}

fn at_ms(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn key(host: u8) -> Key {
    Key::of_address(IpAddr::from([192, 0, 2, host]))
}

fn server(name: &str) -> ServerKey {
    ServerKey::new(&Name::new(name))
}

/// Asks with every server usable and `name` as the balancer's choice.
fn ask(table: &mut Table, now: Timestamp, key: Key, name: &str) -> Choice {
    let choose = || Some(server(name));
    table.lookup_or_choose(now, key, |_| true, choose).unwrap()
}

/// Asks with `down` unusable.
fn ask_without(table: &mut Table, now: Timestamp, down: &str, name: &str) -> Choice {
    let is_usable = |bound| bound != server(down);
    let choose = || Some(server(name));
    table
        .lookup_or_choose(now, key(1), is_usable, choose)
        .unwrap()
}

const fn choice(server: ServerKey, why: Why) -> Choice {
    Choice { server, why }
}

#[test]
fn requests_within_the_window_of_the_first_go_to_the_same_server() {
    let mut table = table();
    let first = ask(&mut table, at_ms(0), key(1), "a");
    assert_eq!(first, choice(server("a"), Why::New));
    let later = ask(&mut table, at_ms(1999), key(1), "b");
    assert_eq!(later, choice(server("a"), Why::Sticky));
}

#[test]
fn after_the_window_there_is_a_new_choice() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    ask(&mut table, at_ms(1999), key(1), "b");
    let after = ask(&mut table, at_ms(2000), key(1), "b");
    assert_eq!(after, choice(server("b"), Why::New));
}

#[test]
fn refresh_slides_the_window() {
    let mut table = Table::new(&stick(true), 1000);
    ask(&mut table, at_ms(0), key(1), "a");
    for millis in (1900..20_000).step_by(1900) {
        assert_eq!(ask(&mut table, at_ms(millis), key(1), "b").why, Why::Sticky);
    }
    assert_eq!(ask(&mut table, at_ms(30_000), key(1), "b").why, Why::New);
}

#[test]
fn simultaneous_first_connections_agree_before_any_of_them_stands() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    for name in ["b", "c", "d"] {
        let next = ask(&mut table, at_ms(0), key(1), name);
        assert_eq!(next, choice(server("a"), Why::Sticky));
    }
}

#[test]
fn a_server_that_is_down_is_rechosen_at_once_and_the_window_stays() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    let next = ask_without(&mut table, at_ms(1500), "a", "b");
    assert_eq!(next, choice(server("b"), Why::Rechosen));
    let back = ask(&mut table, at_ms(1600), key(1), "a");
    assert_eq!(back, choice(server("b"), Why::Sticky));
    assert_eq!(ask(&mut table, at_ms(2000), key(1), "a").why, Why::New);
}

#[test]
fn an_entry_waits_for_its_server_when_no_other_is_usable() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    let none = table.lookup_or_choose(at_ms(100), key(1), |_| false, || None);
    assert_eq!(none, None);
    assert_eq!(ask(&mut table, at_ms(200), key(1), "b").server, server("a"));
}

#[test]
fn no_choice_leaves_no_entry() {
    let mut table = table();
    let none = table.lookup_or_choose(at_ms(0), key(1), |_| true, || None);
    assert_eq!(none, None);
    assert!(table.is_empty());
}

#[test]
fn a_connection_that_stands_confirms_the_choice() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    table.confirm(at_ms(10), key(1), server("a"));
    let (_, entry) = table.iter(at_ms(10)).next().unwrap();
    assert!(entry.is_confirmed);
    table.withdraw(key(1), server("a"));
    assert_eq!(table.len(), 1);
}

#[test]
fn another_server_that_served_is_written_down_without_a_new_window() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    table.rewrite(at_ms(1000), key(1), server("b"));
    let next = ask(&mut table, at_ms(1001), key(1), "a");
    assert_eq!(next, choice(server("b"), Why::Sticky));
    assert_eq!(ask(&mut table, at_ms(2000), key(1), "a").why, Why::New);
}

#[test]
fn a_late_confirmation_does_not_undo_a_rewrite() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    table.rewrite(at_ms(10), key(1), server("b"));
    table.confirm(at_ms(20), key(1), server("a"));
    assert_eq!(ask(&mut table, at_ms(30), key(1), "a").server, server("b"));
}

#[test]
fn an_answer_after_the_window_does_not_open_it_again() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    table.rewrite(at_ms(2000), key(1), server("b"));
    table.confirm(at_ms(2000), key(1), server("a"));
    assert_eq!(ask(&mut table, at_ms(2001), key(1), "c").why, Why::New);
}

#[test]
fn a_choice_whose_connection_never_stood_is_withdrawn() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    table.withdraw(key(1), server("b"));
    assert_eq!(table.len(), 1);
    table.withdraw(key(1), server("a"));
    assert!(table.is_empty());
}

#[test]
fn a_key_that_a_server_gave_out_leads_back_to_it() {
    let mut table = table();
    assert_eq!(table.lookup(at_ms(0), key(1), |_| true), None);
    assert!(table.is_empty());
    table.learn(at_ms(0), key(1), server("a"));
    let found = table.lookup(at_ms(1), key(1), |_| true);
    assert_eq!(found, Some(server("a")));
    assert_eq!(table.lookup(at_ms(1), key(1), |_| false), None);
}

#[test]
fn when_full_the_oldest_entry_gives_way() {
    let mut table = Table::new(&stick(false), 2);
    for host in 1..=3 {
        ask(&mut table, at_ms(u64::from(host)), key(host), "a");
    }
    assert_eq!(table.len(), 2);
    assert_eq!(ask(&mut table, at_ms(10), key(2), "b").why, Why::Sticky);
    assert_eq!(ask(&mut table, at_ms(10), key(1), "b").why, Why::New);
}

#[test]
fn expiry_does_a_bounded_piece_of_work_per_call() {
    let mut table = table();
    for host in 0..100 {
        ask(&mut table, at_ms(0), key(host), "a");
    }
    assert_eq!(table.handle_timeout(at_ms(1999), 64), 0);
    assert_eq!(table.handle_timeout(at_ms(2000), 64), 64);
    assert_eq!(table.poll_timeout(), Some(at_ms(2000)));
    assert_eq!(table.handle_timeout(at_ms(2000), 64), 36);
    assert_eq!(table.poll_timeout(), None);
}

#[test]
fn a_busy_table_sheds_what_is_over_without_a_timer() {
    let mut table = table();
    for host in 0..100 {
        ask(&mut table, at_ms(0), key(host), "a");
    }
    for host in 100..200 {
        ask(&mut table, at_ms(2000), key(host), "a");
    }
    assert_eq!(table.len(), 100);
}

#[test]
fn an_entry_takes_48_bytes_beside_its_index() {
    assert_eq!(crate::chain::node_bytes::<(Key, Entry)>(), 48);
}

#[test]
fn entries_survive_a_reload() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    let longer = Stick {
        window: Duration::from_secs(60),
        ..stick(false)
    };
    table.reconfigure(&longer, 10);
    assert_eq!(ask(&mut table, at_ms(59_999), key(1), "b").why, Why::Sticky);
}

/// The table in its simplest form: nothing but live entries, each with its place in the line.
struct Model {
    entries: BTreeMap<Key, Bound>,
    max_entries: usize,
    refresh: bool,
    placed: u64,
}

struct Bound {
    server: ServerKey,
    opened_ms: u64,
    place: u64,
}

impl Model {
    fn ask(&mut self, now: u64, key: Key, down: ServerKey, chosen: ServerKey) -> Choice {
        self.placed += 1;
        let (refresh, place) = (self.refresh, self.placed);
        if let Some(bound) = self.entries.get_mut(&key) {
            let why = if bound.server == down {
                bound.server = chosen;
                Why::Rechosen
            } else {
                Why::Sticky
            };
            if refresh {
                (bound.opened_ms, bound.place) = (now, place);
            }
            return choice(bound.server, why);
        }
        if self.entries.len() == self.max_entries {
            let oldest = self.entries.iter().min_by_key(|(_, bound)| bound.place);
            let oldest = *oldest.unwrap().0;
            self.entries.remove(&oldest);
        }
        let bound = Bound {
            server: chosen,
            opened_ms: now,
            place,
        };
        self.entries.insert(key, bound);
        choice(chosen, Why::New)
    }

    fn live(&self) -> Vec<(Key, ServerKey)> {
        let entry = |(key, bound): (&Key, &Bound)| (*key, bound.server);
        self.entries.iter().map(entry).collect()
    }
}

proptest! {
    #[test]
    fn the_table_agrees_with_an_ordered_map(
        refresh in any::<bool>(),
        max_entries in 1..8usize,
        steps in prop::collection::vec((0..700u64, 0..6u8, 0..3usize, 0..3usize, 0..5u8), 0..300)
    ) {
        let names = [server("a"), server("b"), server("c")];
        let mut table = Table::new(&stick(refresh), max_entries);
        let mut model = Model { entries: BTreeMap::new(), max_entries, refresh, placed: 0 };
        let mut now = 0;
        for (gap, host, down, chosen, step) in steps {
            now += gap;
            let (at, key) = (at_ms(now), key(host));
            model.entries.retain(|_, bound| now < bound.opened_ms + 2000);
            match step {
                0 => {
                    table.rewrite(at, key, names[chosen]);
                    if let Some(bound) = model.entries.get_mut(&key) {
                        bound.server = names[chosen];
                    }
                }
                1 => {
                    table.handle_timeout(at, 2);
                }
                _ => {
                    let is_usable = |bound| bound != names[down];
                    let got = table.lookup_or_choose(at, key, is_usable, || Some(names[chosen]));
                    prop_assert_eq!(got, Some(model.ask(now, key, names[down], names[chosen])));
                }
            }
            let mut live: Vec<(Key, ServerKey)> =
                table.iter(at).map(|(key, entry)| (key, entry.server)).collect();
            live.sort_unstable();
            prop_assert_eq!(live, model.live());
            prop_assert!(table.len() <= max_entries);
        }
    }
}

#[test]
fn an_entry_with_its_stamp_and_marks_for_seven_peers_takes_less_than_96_bytes() {
    // Links and entry; an index of four bytes and one of control, at worst 7/16 full; the stamp in
    // vectors that may have doubled; a bit for the table and for each peer, in words that may have.
    let index = 5.0 * 16.0 / 7.0;
    let stamp = 2.0 * (8.0 + 2.0 + 2.0);
    let marks = 2.0 * 8.0 / 8.0;
    let node = crate::chain::node_bytes::<(Key, Entry)>();
    let sum = f64::from(u32::try_from(node).unwrap()) + index + stamp + marks;
    assert!(sum <= 96.0, "{sum}");
}

#[test]
fn an_entry_that_a_peer_tells_of_goes_on_with_its_window() {
    let mut table = table();
    table.put_told(at_ms(5000), key(1), server("a"), at_ms(3500));
    assert!(table.entry(at_ms(5499), key(1)).is_some());
    assert!(table.entry(at_ms(5500), key(1)).is_none());
    // Over is over.
    assert_eq!(
        table.put_told(at_ms(5000), key(2), server("a"), at_ms(3000)),
        None
    );
    // The earlier of two starts counts.
    ask(&mut table, at_ms(6000), key(3), "a");
    table.put_told(at_ms(6100), key(3), server("b"), at_ms(6050));
    let entry = table.entry(at_ms(6100), key(3)).unwrap();
    assert_eq!((entry.server, entry.opened_at), (server("b"), at_ms(6000)));
    table.put_told(at_ms(6200), key(3), server("b"), at_ms(5900));
    let entry = table.entry(at_ms(6200), key(3)).unwrap();
    assert_eq!(entry.opened_at, at_ms(5900));
}

#[test]
fn only_changes_of_this_node_are_to_be_told() {
    let mut table = table();
    ask(&mut table, at_ms(0), key(1), "a");
    table.note_for_peers();
    let told = |table: &mut Table| table.take_untold(0).map_or(0, |run| run.len());
    assert_eq!(told(&mut table), 1);
    assert_eq!(told(&mut table), 0);
    ask(&mut table, at_ms(1), key(1), "a");
    assert_eq!(told(&mut table), 0, "nothing changed");
    table.confirm(at_ms(1), key(1), server("a"));
    assert_eq!(told(&mut table), 1);
    table.confirm(at_ms(1), key(1), server("a"));
    table.put_told(at_ms(2), key(2), server("b"), at_ms(1));
    assert_eq!(told(&mut table), 0);
}
