//! What is on the screen, on a terminal in memory.

use super::*;
use crate::top::sample;
use crate::top::update::{Key, Message, update};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

fn model() -> Model {
    let mut model = Model::default();
    update(&mut model, Message::State(Box::new(sample::state())));
    model
}

fn drawn(model: &mut Model, width: u16, height: u16, palette: Palette) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, palette)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let symbols: Vec<&str> = buffer
        .content
        .iter()
        .map(ratatui::buffer::Cell::symbol)
        .collect();
    let rows = symbols.chunks(width);
    rows.map(|row| row.concat().trim_end().to_owned()).collect()
}

#[test]
fn at_80_by_24_everything_has_its_place() {
    let screen = lines(&drawn(&mut model(), 80, 24, Palette::Colours));
    let all = screen.join("\n");
    for text in [
        "catamaran 0.1.0  ready  up 3m12s  214 open  2 workers, 1.5 ms late",
        "412 req/s  0.50 fail/s  12 in flight  2/4 servers usable",
        "web           http    214      412    0.50    0.60     1.1     2.4   53.0 kB",
        "main ipv4        active                    150 10.0.0.11",
        "b                in-step, drifted           12        3 10.0.0.12:7946",
        "api/a                  up             1      3      8      210       0      1.2",
        "api/b                  draining",
        "api/c                  down",
        "static/s               up",
        "22:14:18 server-down api/c status 503",
        "d drain  e enable  m maintenance  +/- weight  ? help  q quit",
    ] {
        assert!(all.contains(text), "`{text}` is not in\n{all}");
    }
    assert!(screen[0].ends_with("live"));
}

#[test]
fn what_a_server_says_of_itself_cannot_steer_the_terminal() {
    let buffer = drawn(&mut model(), 120, 24, Palette::Colours);
    let all = lines(&buffer).join("\n");
    assert!(all.contains("status 503; ?[2J"), "{all}");
}

#[test]
fn without_colours_there_are_none_and_the_chosen_row_can_still_be_told() {
    let buffer = drawn(&mut model(), 100, 24, Palette::Plain);
    assert!(
        buffer
            .content
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
    let reversed = |cell: &ratatui::buffer::Cell| cell.modifier.contains(Modifier::REVERSED);
    assert!(buffer.content.iter().any(reversed));
    let buffer = drawn(&mut model(), 100, 24, Palette::Colours);
    assert!(buffer.content.iter().any(|cell| cell.fg == Color::Red));
}

#[test]
fn no_size_is_too_small() {
    for (width, height) in [(1, 1), (10, 3), (20, 5), (40, 8), (79, 12), (300, 100)] {
        let mut model = model();
        drawn(&mut model, width, height, Palette::Colours);
        for key in ['?', 'x', 'd'] {
            update(&mut model, Message::Key(Key::Char(key)));
            drawn(&mut model, width, height, Palette::Colours);
        }
    }
}

#[test]
fn a_question_says_what_is_left() {
    let mut model = model();
    update(&mut model, Message::Key(Key::Char('d')));
    let all = lines(&drawn(&mut model, 80, 24, Palette::Plain)).join("\n");
    assert!(
        all.contains("Drain a?") && all.contains("NO usable server is left in api!"),
        "{all}"
    );
}

#[test]
fn a_process_that_does_not_answer_leaves_what_was_known_marked_as_stale() {
    let mut model = model();
    update(&mut model, Message::Lost("nothing listens".to_owned()));
    let screen = lines(&drawn(&mut model, 100, 24, Palette::Plain));
    assert!(
        screen[0].ends_with("STALE: nothing listens"),
        "{}",
        screen[0]
    );
    assert!(screen.iter().any(|line| line.starts_with("api/a")));
}
