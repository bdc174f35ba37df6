//! Writes the mail of an alert and hands it to an SMTP relay.
//!
//! The relay is spoken to without TLS: it stands on this machine or in a network of one's own,
//! and it is what speaks TLS to the world. With lettre's feature `tokio1-rustls` and
//! `starttls_relay` in [`Mailer::new`] it is otherwise.

use anyhow::Context as _;
use lettre::message::{Mailbox, Message, header::ContentType};
use lettre::transport::smtp::PoolConfig;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use std::fmt;
use std::time::Duration;

use crate::alert::Alert;

/// Hands mails to a relay.
#[derive(Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// What the relay said of a mail.
#[derive(Debug)]
pub enum Sent {
    /// It took it, and answers for it from now on.
    Accepted,
    /// Never, as it stands (a 5xx reply).
    Refused(String),
    /// Not now (a 4xx reply): this mail's own trouble.
    Postponed(String),
    /// There was no answer: every mail's trouble.
    Unreachable(String),
}

impl Mailer {
    /// A relay at `host:port`, and the sender of all mails.
    pub fn new(relay: &str, from: &str) -> anyhow::Result<Self> {
        let (host, port) = relay
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)))
            .with_context(|| format!("`{relay}` is no SMTP relay; write HOST:PORT"))?;
        let from = from
            .parse()
            .with_context(|| format!("`{from}` is no mail address to send from"))?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .timeout(Some(SMTP_TIMEOUT))
            .pool_config(PoolConfig::new().max_size(MAX_CONNECTIONS))
            .build();
        Ok(Self { transport, from })
    }

    /// Sends the mail of an alert. Its Message-ID is the alert's id, so that whoever gets it
    /// twice can know.
    pub async fn send(&self, alert: &Alert) -> Sent {
        let message = match self.message(alert) {
            Ok(message) => message,
            Err(error) => return Sent::Refused(format!("{error:#}")),
        };
        match tokio::time::timeout(SEND_TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(_)) => Sent::Accepted,
            Ok(Err(error)) if error.is_permanent() => Sent::Refused(error.to_string()),
            Ok(Err(error)) if error.is_transient() => Sent::Postponed(error.to_string()),
            Ok(Err(error)) => Sent::Unreachable(error.to_string()),
            Err(_elapsed) => Sent::Unreachable(format!("no reply within {SEND_TIMEOUT:?}")),
        }
    }

    fn message(&self, alert: &Alert) -> anyhow::Result<Message> {
        let content = &alert.content;
        let picture = content.image_url.as_deref().unwrap_or("none");
        let text = format!(
            "You asked to be reminded.\r\n\r\n{}\r\nCategory: {}\r\nMovie: {}\r\nPicture: {picture}\r\n",
            content.title, content.category, content.movie_id
        );
        let domain = self.from.email.domain();
        Ok(Message::builder()
            .from(self.from.clone())
            .to(content.email.parse()?)
            .subject(&content.title)
            .message_id(Some(format!("<{}@{domain}>", alert.id)))
            .header(ContentType::TEXT_PLAIN)
            .body(text)?)
    }
}

/// Longest time for one step of SMTP.
const SMTP_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for a whole mail. The mail job begins none with less than this left of its term.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections to the relay.
const MAX_CONNECTIONS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::sample;

    #[tokio::test]
    async fn a_mail_says_what_it_is_about_and_which_alert_it_is() {
        let mailer = Mailer::new("127.0.0.1:25", "Alerts <alerts@example.org>").unwrap();
        let alert = Alert::new(sample("Amélie"));
        let mail = mailer.message(&alert).unwrap().formatted();
        let mail = String::from_utf8(mail).unwrap();
        assert!(mail.contains(&format!("Message-ID: <{}@example.org>", alert.id)));
        assert!(mail.contains("Category: science fiction"));
        assert!(mail.contains("To: ada@example.org"));
    }

    #[tokio::test]
    async fn a_relay_needs_its_port() {
        assert!(Mailer::new("mail.example.org", "a@example.org").is_err());
    }

    #[tokio::test]
    async fn every_address_that_an_alert_may_have_can_be_mailed() {
        let mailer = Mailer::new("127.0.0.1:25", "a@example.org").unwrap();
        for email in ["a@b.de", "%+_-@x.example", "A.b.C@1-2.3.museum"] {
            let mut alert = Alert::new(sample("x"));
            alert.content.email = email.to_owned();
            mailer.message(&alert).unwrap();
        }
    }
}
