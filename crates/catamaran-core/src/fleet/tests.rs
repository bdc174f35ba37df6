//! What becomes of texts and servers, and a store that is wiped at any time.

use super::*;
use crate::model::Weight;

const GRACE: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(seconds)
}

fn mark(cluster_id: u64, revision: u64) -> Mark {
    Mark {
        cluster_id,
        revision,
    }
}

fn key(name: &str) -> Key {
    Key {
        service: "api".into(),
        name: name.into(),
    }
}

fn server(name: &str, modified: u64) -> Registered {
    Registered {
        key: key(name),
        registration: Registration {
            address: ([10, 0, 0, 1], 8080).into(),
            weight: Some(Weight::ONE),
            is_leaving: false,
        },
        modified,
    }
}

fn leaving(name: &str, modified: u64) -> Registered {
    let mut server = server(name, modified);
    server.registration.is_leaving = true;
    server
}

fn text(text: &str, modified: u64) -> Text {
    Text {
        text: text.into(),
        modified,
    }
}

fn listing(mark: Mark, fleet: Option<Text>, servers: &[Registered]) -> Listing {
    Listing {
        mark,
        texts: Texts { fleet, node: None },
        servers: servers.to_vec(),
    }
}

/// A fleet with a text and two servers, at revision 10 of cluster 1.
fn fleet() -> Fleet {
    let mut fleet = Fleet::new(GRACE, Saved::default());
    let servers = [server("a", 8), server("b", 9)];
    fleet.handle_listing(at(0), listing(mark(1, 10), Some(text("one", 7)), &servers));
    let news = fleet.take_news();
    assert!(news.texts && news.services.contains("api"));
    fleet
}

fn names(fleet: &Fleet) -> Vec<String> {
    let servers = fleet.servers_of("api");
    servers
        .map(|held| held.server.key.name.to_string())
        .collect()
}

#[test]
fn a_server_that_says_so_leaves_at_once_and_its_delete_is_no_news() {
    let mut fleet = fleet();
    fleet.handle_change(at(1), Change::Server(leaving("a", 11)));
    fleet.handle_change(at(1), Change::ServerGone(key("a")));
    let news = fleet.take_news();
    assert_eq!(news.told, [Told::Left(key("a"))]);
    assert!(news.services.contains("api"));
    assert_eq!(names(&fleet), ["b"]);
}

#[test]
fn a_lease_that_runs_out_takes_a_server_away_only_when_it_is_down_too() {
    let mut fleet = fleet();
    fleet.handle_change(at(1), Change::ServerGone(key("a")));
    fleet.handle_timeout(at(20), |_| true);
    assert_eq!(names(&fleet), ["a", "b"], "the grace time is not over");
    fleet.handle_timeout(at(40), |_| false);
    assert_eq!(names(&fleet), ["a", "b"], "it is up");
    assert_eq!(fleet.take_news().told, [Told::Missing(key("a"))]);
    fleet.handle_timeout(at(41), |_| true);
    assert_eq!(names(&fleet), ["b"]);
    assert_eq!(fleet.take_news().told, [Told::Lost(key("a"))]);
}

#[test]
fn a_server_that_registers_again_within_its_grace_time_never_went() {
    let mut fleet = fleet();
    fleet.handle_change(at(1), Change::ServerGone(key("a")));
    fleet.handle_change(at(2), Change::Server(server("a", 12)));
    fleet.handle_timeout(at(100), |_| true);
    assert_eq!(names(&fleet), ["a", "b"]);
    let news = fleet.take_news();
    assert!(news.services.is_empty(), "its address is the same");
    assert_eq!(news.told, [Told::Missing(key("a")), Told::Joined(key("a"))]);
}

#[test]
fn what_left_while_nobody_looked_is_missed_by_the_next_listing() {
    let mut fleet = fleet();
    let servers = [server("b", 9), server("c", 12)];
    fleet.handle_listing(at(5), listing(mark(1, 20), Some(text("one", 7)), &servers));
    assert_eq!(names(&fleet), ["a", "b", "c"]);
    assert!(fleet.has_missing());
    fleet.handle_timeout(at(60), |_| true);
    assert_eq!(names(&fleet), ["b", "c"]);
}

#[test]
fn a_deleted_text_holds_on() {
    let mut fleet = fleet();
    fleet.handle_change(at(1), Change::TextGone(Layer::Fleet));
    assert_eq!(fleet.take_news().told, [Told::TextKept(Layer::Fleet)]);
    fleet.handle_listing(at(2), listing(mark(1, 20), None, &[]));
    assert_eq!(&*fleet.texts().fleet.as_ref().unwrap().text, "one");
}

#[test]
fn a_store_that_comes_back_empty_takes_nothing_away() {
    for found in [mark(2, 1), mark(2, 500), mark(1, 1)] {
        let mut fleet = fleet();
        fleet.handle_listing(at(1), listing(found, None, &[]));
        fleet.handle_timeout(at(1000), |_| true);
        assert_eq!(names(&fleet), ["a", "b"], "{found:?}");
        assert!(!fleet.take_news().texts);
        assert!(fleet.foreign().is_some());
        assert_eq!(fleet.known(), Some(mark(1, 10)));
    }
}

#[test]
fn a_foreign_store_adds_servers_but_holds_texts_and_leaves() {
    let mut fleet = fleet();
    let servers = [server("c", 2), leaving("a", 3)];
    fleet.handle_listing(at(1), listing(mark(2, 5), Some(text("two", 4)), &servers));
    fleet.handle_change(at(1), Change::Server(server("d", 6)));
    fleet.handle_change(at(1), Change::ServerGone(key("b")));
    assert_eq!(names(&fleet), ["a", "b", "c", "d"]);
    let news = fleet.take_news();
    assert!(!news.texts);
    assert!(news.told.contains(&Told::TextHeld(Layer::Fleet)));
    assert_eq!(&*fleet.waiting().fleet.as_ref().unwrap().text, "two");
}

#[test]
fn what_is_accepted_counts_and_servers_that_it_lacks_get_their_grace_time() {
    let mut fleet = fleet();
    let found = || listing(mark(2, 5), Some(text("two", 4)), &[server("c", 2)]);
    fleet.handle_listing(at(1), found());
    let good = fleet.texts().clone();
    assert!(fleet.accept() && !fleet.accept());
    assert_eq!(fleet.saved(good).processed, 0);
    fleet.handle_listing(at(2), found());
    assert!(fleet.take_news().texts);
    assert_eq!(&*fleet.texts().fleet.as_ref().unwrap().text, "two");
    assert_eq!(names(&fleet), ["a", "b", "c"]);
    fleet.handle_timeout(at(40), |key| &*key.name == "a");
    assert_eq!(names(&fleet), ["b", "c"]);
}

#[test]
fn the_known_store_is_taken_back_but_not_one_of_its_id_that_grew() {
    let mut fleet = fleet();
    fleet.handle_listing(at(1), listing(mark(2, 500), None, &[]));
    let ours = listing(mark(1, 11), Some(text("one", 7)), &[server("a", 8)]);
    fleet.handle_listing(at(2), ours);
    assert!(fleet.foreign().is_none());
    assert!(fleet.take_news().told.contains(&Told::Native));

    fleet.handle_listing(at(3), listing(mark(1, 1), None, &[]));
    fleet.handle_listing(at(4), listing(mark(1, 900), None, &[]));
    assert!(fleet.foreign().is_some());
}

#[test]
fn a_store_of_our_id_whose_keys_have_another_past_is_foreign() {
    let mut fleet = fleet();
    let servers = [server("a", 3), server("b", 9)];
    fleet.handle_listing(at(1), listing(mark(1, 12), None, &servers));
    assert_eq!(fleet.foreign().map(|f| f.reason), Some(Reason::Rewritten));
}

#[test]
fn a_change_that_comes_after_its_revision_was_heard_of_is_no_other_past() {
    let mut fleet = fleet();
    assert!(fleet.handle_mark(mark(1, 20)));
    let listing = listing(mark(1, 21), Some(text("two", 15)), &[server("a", 14)]);
    fleet.handle_listing(at(1), listing);
    assert!(fleet.foreign().is_none() && fleet.take_news().texts);
}

#[test]
fn a_lower_revision_between_two_listings_asks_for_another() {
    let mut fleet = fleet();
    assert!(fleet.handle_mark(mark(1, 11)));
    assert!(!fleet.handle_mark(mark(1, 10)));
    assert!(!fleet.handle_mark(mark(2, 11)));
}

#[test]
fn what_is_saved_serves_the_next_process() {
    let mut before = fleet();
    before.handle_listing(at(1), listing(mark(2, 1), None, &[]));
    let texts = before.texts().clone();
    let mut after = Fleet::new(GRACE, before.saved(texts));
    let news = after.take_news();
    assert!(news.texts && news.services.contains("api") && news.told.is_empty());
    assert_eq!(names(&after), ["a", "b"]);
    assert!(after.foreign().is_some());
}

/// A fleet that heard of a text at revision 12 that cannot serve, restarted.
fn restarted_beside_a_text_that_cannot_serve() -> Fleet {
    let mut before = fleet();
    let good = before.texts().clone();
    before.handle_change(at(1), Change::Text(Layer::Fleet, text("wrong", 12)));
    before.handle_change(at(1), Change::Server(server("c", 13)));
    Fleet::new(GRACE, before.saved(good))
}

#[test]
fn a_restart_beside_a_text_that_cannot_serve_finds_the_same_store() {
    let mut after = restarted_beside_a_text_that_cannot_serve();
    let servers = [server("a", 8), server("b", 9), server("c", 13)];
    let listing = listing(mark(1, 13), Some(text("wrong", 12)), &servers);
    after.handle_listing(at(2), listing);
    assert_eq!(after.foreign(), None);
    after.handle_change(at(3), Change::Text(Layer::Fleet, text("two", 14)));
    assert!(after.take_news().texts && after.waiting().fleet.is_none());
    assert_eq!(after.texts().fleet, Some(text("two", 14)));
}

#[test]
fn a_restart_beside_a_text_that_cannot_serve_still_finds_another_past() {
    let mut after = restarted_beside_a_text_that_cannot_serve();
    let listing = listing(mark(1, 13), Some(text("two", 3)), &[]);
    after.handle_listing(at(2), listing);
    assert_eq!(after.foreign().map(|f| f.reason), Some(Reason::Rewritten));
}

#[test]
fn the_same_text_written_anew_is_news_so_that_what_serves_has_its_revision() {
    let mut fleet = fleet();
    fleet.handle_change(at(1), Change::Text(Layer::Fleet, text("one", 12)));
    assert!(fleet.take_news().texts);
    fleet.handle_listing(at(2), listing(mark(1, 12), Some(text("one", 12)), &[]));
    assert!(!fleet.take_news().texts);
}

#[test]
fn a_fleet_has_a_limit() {
    let mut fleet = Fleet::new(GRACE, Saved::default());
    for number in 0..=MAX_SERVERS {
        let server = server(&number.to_string(), 1);
        fleet.handle_change(at(0), Change::Server(server));
    }
    assert_eq!(fleet.servers().count(), MAX_SERVERS);
    let last = fleet.take_news().told.pop();
    assert!(matches!(last, Some(Told::Refused(_))));
}

/// A store that may be wiped at any time, and servers that come, go and lose their leases.
#[derive(Default)]
struct World {
    mark: Mark,
    keys: BTreeSet<Key>,
    /// Which servers work, whatever the store says of them.
    up: BTreeSet<Key>,
    changes: Vec<Change>,
}

impl World {
    fn step(&mut self, rng: &mut fastrand::Rng) {
        let name = key(&rng.u8(0..8).to_string());
        self.mark.revision += 1;
        let revision = self.mark.revision;
        match rng.u8(0..20) {
            0..8 => {
                self.up.insert(name.clone());
                self.keys.insert(name.clone());
                self.changes
                    .push(Change::Server(server(&name.name, revision)));
            }
            8..12 if self.keys.remove(&name) => {
                self.up.remove(&name);
                let leaving = leaving(&name.name, revision);
                self.changes.push(Change::Server(leaving));
                self.changes.push(Change::ServerGone(name));
                self.mark.revision += 1;
            }
            12..16 if self.keys.remove(&name) => self.changes.push(Change::ServerGone(name)),
            16 => {
                // All nodes come back empty, with or without the old id.
                self.mark.cluster_id += rng.u64(0..2);
                self.mark.revision = 1;
                self.keys.clear();
                self.changes.clear();
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_becomes_of_the_store_a_server_that_works_is_used_until_it_leaves() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = World::default();
        let mut fleet = Fleet::new(GRACE, Saved::default());
        let mut used: BTreeSet<Key> = BTreeSet::new();
        for second in 0..200 {
            world.step(&mut rng);
            let now = at(second * 7);
            if rng.u8(0..4) == 0 || !fleet.handle_mark(world.mark) {
                // Disconnected for a while: what happened is seen by the listing only.
                world.changes.clear();
                let servers: Vec<_> = world.keys.iter().map(|k| server(&k.name, 0)).collect();
                fleet.handle_listing(now, listing(world.mark, None, &servers));
            }
            for change in world.changes.drain(..) {
                fleet.handle_change(now, change);
            }
            if rng.u8(0..10) == 0 {
                fleet.accept();
            }
            fleet.handle_timeout(now, |key| !world.up.contains(key));
            let is: BTreeSet<Key> = fleet
                .servers()
                .map(|held| held.server.key.clone())
                .collect();
            let taken = used.difference(&is).find(|key| world.up.contains(*key));
            assert_eq!(taken, None, "seed {seed}, step {second}");
            let lacking = world.keys.difference(&is).next();
            assert_eq!(lacking, None, "seed {seed}, step {second}");
            used = is;
        }
    }
}
