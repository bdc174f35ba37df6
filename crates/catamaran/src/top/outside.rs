//! The threads around `top`: the keyboard, the process that is watched, signals.

use super::model::{Change, What};
use super::update::{Key, Message};
use crate::ctl::{Client, server_path_of};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Where messages come from.
pub(super) struct Outside {
    messages: Receiver<Message>,
    tell: Sender<Message>,
    client: Arc<Client>,
    /// Asks for the state now; its end ends the thread that asks.
    ask: Sender<()>,
}

impl Outside {
    /// Starts the threads; the state is asked for every `interval`.
    pub(super) fn start(client: Arc<Client>, interval: Duration) -> io::Result<Self> {
        let (tell, messages) = channel();
        let (ask, asked) = channel();
        let keyboard = tell.clone();
        thread::Builder::new()
            .name("keyboard".to_owned())
            .spawn(move || read_keys(&keyboard))?;
        let (states, of) = (tell.clone(), Arc::clone(&client));
        thread::Builder::new()
            .name("states".to_owned())
            .spawn(move || watch(&of, &states, &asked, interval))?;
        let signals = tell.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || wait_for_signals(&signals))?;
        Ok(Self {
            messages,
            tell,
            client,
            ask,
        })
    }

    /// Waits for the next message.
    pub(super) fn wait(&self) -> Message {
        // We hold a sender ourselves.
        self.messages.recv().unwrap_or(Message::Quit)
    }

    /// The next message if it is there already.
    pub(super) fn pending(&self) -> Option<Message> {
        self.messages.try_recv().ok()
    }

    /// Has a server changed; what comes of it comes as a message.
    pub(super) fn change(&self, change: Change) {
        let (client, tell, ask) = (
            Arc::clone(&self.client),
            self.tell.clone(),
            self.ask.clone(),
        );
        thread::spawn(move || {
            let done = make(&client, &change);
            // Whoever has quit meanwhile wants no answer.
            let _ = tell.send(Message::Done(done));
            let _ = ask.send(());
        });
    }
}

fn make(client: &Client, change: &Change) -> Result<String, String> {
    let (body, told) = match change.what {
        What::Drain => (json!({ "admin": "drain" }), "drains".to_owned()),
        What::Maintenance => (
            json!({ "admin": "maintenance" }),
            "is in maintenance".to_owned(),
        ),
        What::Enable => (json!({ "admin": "ready" }), "is enabled".to_owned()),
        What::Weight(weight) => (json!({ "weight": weight }), format!("has weight {weight}")),
    };
    let path = server_path_of(&change.backend, &change.server);
    match client.change("PATCH", &path, Some(&body)) {
        Ok(_) => Ok(format!("{}/{} {told}", change.backend, change.server)),
        Err(failure) => Err(failure.to_string()),
    }
}

/// Asks for the state again and again.
fn watch(client: &Client, states: &Sender<Message>, asked: &Receiver<()>, interval: Duration) {
    loop {
        let message = match client.get("/v1/state") {
            Ok(state) => Message::State(Box::new(state)),
            Err(failure) => Message::Lost(failure.to_string()),
        };
        if states.send(message).is_err() {
            return;
        }
        if asked
            .recv_timeout(interval)
            .is_err_and(|error| error == RecvTimeoutError::Disconnected)
        {
            return;
        }
    }
}

fn read_keys(keyboard: &Sender<Message>) {
    loop {
        let message = match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => match key_of(key) {
                Some(key) => Message::Key(key),
                None => continue,
            },
            Ok(Event::Resize(..) | Event::FocusGained) => Message::Redraw,
            Ok(_) => continue,
            // The terminal has gone.
            Err(_) => Message::Quit,
        };
        let is_last = matches!(message, Message::Quit);
        if keyboard.send(message).is_err() || is_last {
            return;
        }
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char(letter) if !key.modifiers.contains(KeyModifiers::CONTROL) => {
            Key::Char(letter)
        }
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

/// Ends in good order where the terminal must be restored first.
fn wait_for_signals(signals: &Sender<Message>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return;
    };
    runtime.block_on(async {
        let kinds = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
        ];
        let [Ok(mut term), Ok(mut hup), Ok(mut int)] = kinds.map(signal) else {
            return;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = hup.recv() => {}
            _ = int.recv() => {}
        }
        // The main thread may have ended first.
        let _ = signals.send(Message::Quit);
    });
}
