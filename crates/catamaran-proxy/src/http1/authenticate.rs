//! Asking a client who it is, before its request goes on.

use super::answer::Answer;
use super::exchange::{Exchange, Next};
use crate::auth::{Guard, NotIn, Shown};
use crate::outcome::Outcome;
use catamaran_http1::RequestHead;

impl Exchange<'_> {
    /// Lets the request in, or answers it.
    pub(super) async fn authenticate(&mut self, guard: &Guard) -> Result<(), Next> {
        let shown = shown(&self.context.request, self.client.input.bytes());
        match guard.check(self.facts.began, shown).await {
            Ok(asserted) => {
                self.context.asserted = asserted;
                Ok(())
            }
            Err(NotIn::Challenge(challenge)) => Err(self.challenge(&challenge).await),
            Err(NotIn::Busy) => Err(self.fail(Outcome::Exhausted, None).await),
        }
    }

    async fn challenge(&mut self, challenge: &str) -> Next {
        let outcome = Outcome::Unauthorized;
        let mut body = std::mem::take(&mut self.context.scratch);
        let frontend = self.frontend;
        let next = {
            let pages = &frontend.model.error_pages;
            let answer = Answer::error(outcome, pages, None, &mut body).asking(challenge);
            self.answer(&answer, outcome).await
        };
        self.context.scratch = body;
        next
    }
}

/// What the request shows of its client.
fn shown(head: &RequestHead, buf: &[u8]) -> Shown {
    let fields = head.fields().iter();
    let mut shown =
        fields.filter(|field| field.name.of(buf).eq_ignore_ascii_case(b"authorization"));
    match (shown.next(), shown.next()) {
        (None, _) => Shown::Nothing,
        (Some(field), None) => Shown::Value(field.value.of(buf).to_vec()),
        (Some(_), Some(_)) => Shown::Ambiguous,
    }
}
