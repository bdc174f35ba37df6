//! The model on the screen.

use super::model::{
    Event, Frontend, Link, Mode, Model, Peer, Process, Server, Tone, VirtualIp, What,
};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState};

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Palette {
    Plain,
    Colours,
}

impl Palette {
    /// As the user wants it (<https://no-color.org>).
    pub(super) fn of_environment() -> Self {
        match std::env::var_os("NO_COLOR") {
            Some(value) if !value.is_empty() => Self::Plain,
            _ => Self::Colours,
        }
    }

    fn of(self, tone: Tone) -> Style {
        let colour = match (self, tone) {
            (Self::Plain, _) | (_, Tone::Plain) => return Style::new(),
            (_, Tone::Good) => Color::Green,
            (_, Tone::Warn) => Color::Yellow,
            (_, Tone::Bad) => Color::Red,
        };
        Style::new().fg(colour)
    }

    const fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn accent(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Colours => Style::new().fg(Color::Cyan),
        }
    }
}

/// Draws everything; tells the model how many servers fit.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, palette: Palette) {
    let frontends = rows(model.frontends.len(), MAX_FRONTENDS);
    let virtual_ips = rows(model.virtual_ips.len(), MAX_VIRTUAL_IPS);
    let peers = rows(model.peers.len(), MAX_PEERS);
    let error = u16::from(model.process.config_error.is_some());
    // What is least needed goes first where the screen is low.
    let room = frame.area().height;
    let events = if room >= 20 {
        rows(model.events.len(), MAX_EVENTS)
    } else {
        0
    };
    let virtual_ips = if room >= 16 { virtual_ips } else { 0 };
    let peers = if room >= 18 { peers } else { 0 };
    let frontends = if room >= 12 { frontends } else { 0 };
    let [
        head,
        numbers,
        alert,
        front,
        vips,
        mesh,
        servers,
        happened,
        foot,
    ] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(error),
        Constraint::Length(frontends),
        Constraint::Length(virtual_ips),
        Constraint::Length(peers),
        Constraint::Min(3),
        Constraint::Length(events),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, model, palette);
    draw_numbers(frame, numbers, model, palette);
    if let Some(error) = &model.process.config_error {
        let told = format!("reload refused: {error}");
        frame.render_widget(Paragraph::new(told).style(palette.of(Tone::Bad)), alert);
    }
    draw_frontends(frame, front, &model.frontends, palette);
    draw_virtual_ips(frame, vips, &model.virtual_ips, palette);
    draw_peers(frame, mesh, &model.peers, palette);
    draw_servers(frame, servers, model, palette);
    draw_events(frame, happened, &model.events, palette);
    draw_foot(frame, foot, model, palette);
    match &model.mode {
        Mode::Help => draw_help(frame),
        Mode::Confirm(change) => {
            let others = model.servers.iter().filter(|one| {
                one.backend == change.backend && one.name != change.server && one.usable
            });
            draw_question(
                frame,
                &change.server,
                &change.backend,
                change.what,
                others.count(),
            );
        }
        Mode::Normal | Mode::Filter => {}
    }
}

/// Lines of a part with this many rows, its heading included.
fn rows(count: usize, max: usize) -> u16 {
    match u16::try_from(count.min(max)) {
        Ok(0) | Err(_) => 0,
        Ok(count) => count + 1,
    }
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let Process {
        version,
        readiness,
        uptime_seconds,
        connections,
        workers,
        lag_ms,
        ..
    } = &model.process;
    let (link, tone) = match &model.link {
        Link::Connecting => ("connecting".to_owned(), Tone::Warn),
        Link::Live => ("live".to_owned(), Tone::Good),
        Link::Lost(why) => (format!("STALE: {why}"), Tone::Bad),
    };
    let [left, right] = Layout::horizontal([
        Constraint::Min(10),
        Constraint::Length(u16::try_from(link.chars().count().min(40)).unwrap_or(40)),
    ])
    .areas(area);
    let ready = if readiness == "ready" {
        Tone::Good
    } else {
        Tone::Warn
    };
    let mut spans = vec![Span::styled("catamaran ", Modifier::BOLD)];
    if model.process.at > 0.0 {
        spans.extend([
            Span::raw(format!("{version}  ")),
            Span::styled(readiness.clone(), palette.of(ready)),
            Span::raw(format!(
                "  up {}  {connections} open  {workers} workers, {lag_ms:.1} ms late",
                duration(*uptime_seconds)
            )),
        ]);
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), left);
    let link = Paragraph::new(link).style(palette.of(tone));
    frame.render_widget(link.alignment(Alignment::Right), right);
}

fn draw_numbers(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let [left, right] =
        Layout::horizontal([Constraint::Length(58), Constraint::Min(0)]).areas(area);
    let failures = model.failures();
    let tone = if failures > 0.0 {
        Tone::Bad
    } else {
        Tone::Good
    };
    let in_flight: u64 = model.servers.iter().map(|one| one.in_flight).sum();
    let usable = model.servers.iter().filter(|one| one.usable).count();
    let line = Line::from(vec![
        Span::styled(format!("{} req/s  ", number(model.rate())), Modifier::BOLD),
        Span::styled(format!("{} fail/s  ", number(failures)), palette.of(tone)),
        Span::raw(format!(
            "{in_flight} in flight  {usable}/{} servers usable",
            model.servers.len()
        )),
    ]);
    frame.render_widget(Paragraph::new(line), left);
    let width = usize::from(right.width);
    let skipped = model.history.len().saturating_sub(width);
    let values: Vec<u64> = model.history.iter().skip(skipped).copied().collect();
    frame.render_widget(
        Sparkline::default().data(values).style(palette.accent()),
        right,
    );
}

fn draw_frontends(frame: &mut Frame<'_>, area: Rect, all: &[Frontend], palette: Palette) {
    let rows = all.iter().take(MAX_FRONTENDS).map(|one| {
        let failing = one.failures.unwrap_or(0.0) > 0.0;
        let tone = if failing { Tone::Bad } else { Tone::Plain };
        let [p50, p90, p99] = one.latency;
        Row::new([
            Cell::new(one.name.clone()),
            Cell::new(one.protocol.clone()),
            right(one.connections.to_string()),
            right(optional(one.rate)),
            right(optional(one.failures)).style(palette.of(tone)),
            right(optional(p50)),
            right(optional(p90)),
            right(optional(p99)),
            right(bytes(one.bytes_out)),
        ])
    });
    let widths = [13, 4, 6, 8, 7, 7, 7, 7, 9].map(Constraint::Length);
    let titles = [
        left("FRONTEND"),
        left(""),
        title("OPEN"),
        title("REQ/S"),
        title("FAIL/S"),
        title("P50 MS"),
        title("P90 MS"),
        title("P99 MS"),
        title("OUT/S"),
    ];
    frame.render_widget(table(rows, &widths, titles, palette), area);
}

fn draw_virtual_ips(frame: &mut Frame<'_>, area: Rect, all: &[VirtualIp], palette: Palette) {
    let rows = all.iter().take(MAX_VIRTUAL_IPS).map(|one| {
        Row::new([
            Cell::new(one.name.clone()),
            Cell::new(one.state.clone()).style(palette.of(one.tone)),
            right(one.priority.to_string()),
            Cell::new(one.active.clone()),
            Cell::new(one.addresses.clone()),
        ])
    });
    let widths = [
        Constraint::Length(16),
        Constraint::Length(20),
        Constraint::Length(8),
        Constraint::Length(16),
        Constraint::Min(10),
    ];
    let titles = [
        left("VIRTUAL IP"),
        left("STATE"),
        title("PRIORITY"),
        left("ACTIVE"),
        left("ADDRESSES"),
    ];
    frame.render_widget(table(rows, &widths, titles, palette), area);
}

fn draw_peers(frame: &mut Frame<'_>, area: Rect, all: &[Peer], palette: Palette) {
    let rows = all.iter().take(MAX_PEERS).map(|one| {
        Row::new([
            Cell::new(one.name.clone()),
            Cell::new(one.state.clone()).style(palette.of(one.tone)),
            right(format!("{:.0}", one.lag_ms)),
            right(one.waiting.to_string()),
            Cell::new(one.address.clone()),
        ])
    });
    let widths = [
        Constraint::Length(16),
        Constraint::Length(20),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Min(10),
    ];
    let titles = [
        left("PEER"),
        left("STATE"),
        title("LAG MS"),
        title("WAITING"),
        left("ADDRESS"),
    ];
    frame.render_widget(table(rows, &widths, titles, palette), area);
}

fn draw_servers(frame: &mut Frame<'_>, area: Rect, model: &mut Model, palette: Palette) {
    model.page = usize::from(area.height.saturating_sub(1));
    let chosen = model.chosen_index();
    let shown = model.shown();
    if shown.is_empty() {
        let told = match (model.process.at > 0.0, model.servers.is_empty()) {
            (false, _) => "",
            (_, true) => "no servers",
            _ => "no server matches; Esc takes the filter back, p shows all",
        };
        frame.render_widget(Paragraph::new(told).style(palette.faint()), area);
        return;
    }
    let is_wide = area.width >= 96;
    let rows = shown
        .iter()
        .map(|server| server_row(server, is_wide, palette));
    let name_width = if is_wide { 30 } else { 22 };
    let mut widths: Vec<Constraint> = [name_width, 12, 3, 6, 6, 8, 7, 8]
        .map(Constraint::Length)
        .into();
    let mut titles = vec![
        left("SERVER"),
        left("STATE"),
        title("W"),
        title("FLIGHT"),
        title("CONNS"),
        title("REQ/S"),
        title("FAIL/S"),
        title("MS"),
    ];
    if is_wide {
        widths.push(Constraint::Min(10));
        titles.push(left(" LAST CHECK"));
    }
    let table = table(rows, &widths, titles, palette)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(Some(chosen));
    frame.render_stateful_widget(table, area, &mut state);
}

fn server_row(server: &Server, is_wide: bool, palette: Palette) -> Row<'static> {
    let failing = server.failures.unwrap_or(0.0) > 0.0;
    let tone = if failing { Tone::Bad } else { Tone::Plain };
    let mut cells = vec![
        Cell::new(format!("{}/{}", server.backend, server.name)),
        Cell::new(server.state.clone()).style(palette.of(server.tone)),
        right(server.weight.to_string()),
        right(server.in_flight.to_string()),
        right(server.connections.to_string()),
        right(optional(server.rate)),
        right(optional(server.failures)).style(palette.of(tone)),
        right(optional(server.latency)),
    ];
    if is_wide {
        cells.push(Cell::new(format!(" {}", server.check)));
    }
    Row::new(cells)
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, all: &[Event], palette: Palette) {
    let newest = all.iter().rev().take(MAX_EVENTS);
    let lines = newest.map(|event| {
        Line::from(vec![
            Span::styled(format!("{} ", time_of_day(event.at)), palette.faint()),
            Span::styled(event.kind.clone(), palette.of(event.tone)),
            Span::raw(format!(" {} {}", event.about, event.message)),
        ])
    });
    let mut text = vec![Line::styled("EVENTS", heading())];
    text.extend(lines);
    frame.render_widget(Paragraph::new(text), area);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let line = match (&model.mode, &model.note) {
        (Mode::Filter, _) => Line::from(vec![
            Span::raw("filter: "),
            Span::styled(format!("{}_", model.filter), Modifier::BOLD),
            Span::styled("  Enter keeps it, Esc takes it back", palette.faint()),
        ]),
        (_, Some(note)) => Line::styled(note.text.clone(), palette.of(note.tone)),
        _ => {
            let order = if model.is_reversed { ", reversed" } else { "" };
            let only = if model.problems_only {
                "  problems only"
            } else {
                ""
            };
            let filter = match model.filter.as_str() {
                "" => String::new(),
                filter => format!("  filter: {filter}"),
            };
            Line::from(vec![
                Span::raw("d drain  e enable  m maintenance  +/- weight  ? help  q quit"),
                Span::styled(
                    format!("  order: {}{order}{only}{filter}", model.sort.name()),
                    palette.faint(),
                ),
            ])
        }
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_question(frame: &mut Frame<'_>, server: &str, backend: &str, what: What, left: usize) {
    let what = match what {
        What::Drain => "Drain",
        What::Maintenance => "Maintenance for",
        What::Enable | What::Weight(_) => "Change",
    };
    let rest = match left {
        0 => format!("NO usable server is left in {backend}!"),
        1 => format!("1 other server of {backend} goes on."),
        n => format!("{n} other servers of {backend} go on."),
    };
    let lines = vec![
        Line::styled(format!("{what} {server}?"), Modifier::BOLD),
        Line::raw(rest),
        Line::raw(""),
        Line::raw("y yes   n no"),
    ];
    popup(frame, " Sure? ", lines);
}

fn draw_help(frame: &mut Frame<'_>) {
    let lines = HELP.iter().map(|(keys, what)| {
        Line::from(vec![
            Span::styled(format!("{keys:>14}  "), Modifier::BOLD),
            Span::raw(*what),
        ])
    });
    popup(frame, " Keys (any closes this) ", lines.collect());
}

fn popup(frame: &mut Frame<'_>, title: &'static str, lines: Vec<Line<'_>>) {
    let width = lines
        .iter()
        .map(Line::width)
        .max()
        .unwrap_or(0)
        .max(title.len())
        + 4;
    let height = lines.len() + 2;
    let all = frame.area();
    let width = u16::try_from(width).unwrap_or(u16::MAX).min(all.width);
    let height = u16::try_from(height).unwrap_or(u16::MAX).min(all.height);
    let area = Rect::new(
        (all.width - width) / 2,
        (all.height - height) / 2,
        width,
        height,
    );
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(title);
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let inside = Rect::new(
        inside.x + 1,
        inside.y,
        inside.width.saturating_sub(1),
        inside.height,
    );
    frame.render_widget(Paragraph::new(lines), inside);
}

fn table<'a>(
    rows: impl Iterator<Item = Row<'a>>,
    widths: &[Constraint],
    titles: impl IntoIterator<Item = Cell<'a>>,
    _palette: Palette,
) -> Table<'a> {
    Table::new(rows, widths.to_vec())
        .column_spacing(1)
        .header(Row::new(titles.into_iter().collect::<Vec<_>>()).style(heading()))
}

const fn heading() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn left(text: &'static str) -> Cell<'static> {
    Cell::new(text)
}

fn title(text: &'static str) -> Cell<'static> {
    Cell::new(Line::raw(text).alignment(Alignment::Right))
}

fn right(text: String) -> Cell<'static> {
    Cell::new(Line::raw(text).alignment(Alignment::Right))
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

/// A number with as many digits as help.
fn number(value: f64) -> String {
    match value {
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n if n >= 100.0 || n == 0.0 => format!("{n:.0}"),
        n if n >= 1.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

fn bytes(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(n) if n >= 1e9 => format!("{:.1} GB", n / 1e9),
        Some(n) if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        Some(n) if n >= 1e3 => format!("{:.1} kB", n / 1e3),
        Some(n) => format!("{n:.0} B"),
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.0}s"),
        s if s < 3600.0 => format!("{:.0}m{:02.0}s", (s / 60.0).floor(), (s % 60.0).floor()),
        s if s < 86_400.0 => {
            format!(
                "{:.0}h{:02.0}m",
                (s / 3600.0).floor(),
                (s % 3600.0 / 60.0).floor()
            )
        }
        s => format!(
            "{:.0}d{:02.0}h",
            (s / 86_400.0).floor(),
            (s % 86_400.0 / 3600.0).floor()
        ),
    }
}

/// The time of day, in UTC as the log has it.
fn time_of_day(at: f64) -> String {
    let of_day = at.rem_euclid(86_400.0);
    let (hours, minutes) = ((of_day / 3600.0).floor(), (of_day % 3600.0 / 60.0).floor());
    format!(
        "{hours:02.0}:{minutes:02.0}:{:02.0}",
        (of_day % 60.0).floor()
    )
}

/// Rows of each part; servers get what is left.
const MAX_FRONTENDS: usize = 4;
const MAX_PEERS: usize = 4;
const MAX_VIRTUAL_IPS: usize = 4;
const MAX_EVENTS: usize = 4;

const HELP: &[(&str, &str)] = &[
    ("up down j k", "choose a server"),
    ("PgUp PgDn", "by pages; Home, End"),
    ("d", "drain: finish what it has, nothing new"),
    ("e", "enable: take traffic again"),
    ("m", "maintenance: out of service"),
    ("+ -", "weight"),
    ("s", "sort by the next column"),
    ("r", "reverse the order"),
    ("/", "filter by backend, name, state"),
    ("p", "problems only, or all"),
    ("q Esc Ctrl-C", "quit"),
];

#[cfg(test)]
mod tests;
