//! One request and its response.

use super::answer::{self, Answer, Asked};
use super::plan::{Plan, plan};
use super::response::After;
use super::{Client, Context, log, trace};
use crate::facts::{Facts, Target};
use crate::outcome::Outcome;
use crate::state::Frontend;
use crate::throttle::Throttle;
use crate::worker::Worker;
use catamaran_core::limit::RetryAfter;
use catamaran_http1::Method;
use std::rc::Rc;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another request may follow.
    KeepAlive,
    /// It is closed, once the client has taken what was sent.
    Close,
    /// It is reset: what was sent must not be taken for whole.
    Abort,
    /// It has ended already.
    End,
    /// It relays: the context holds the tunnel.
    Tunnel,
}

/// One request at work.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) frontend: &'a Frontend,
    pub(super) client: &'a mut Client,
    pub(super) context: &'a mut Context,
    pub(super) facts: Facts<'a>,
}

impl<'a> Exchange<'a> {
    /// An exchange of the request whose head was just read.
    pub(super) fn new(
        worker: &'a Rc<Worker>,
        frontend: &'a Frontend,
        client: &'a mut Client,
        context: &'a mut Context,
    ) -> Self {
        let facts = Facts::new(worker.tick(), context.request.head_len as u64);
        frontend.count_begun(worker.index);
        if frontend.model.access_log.is_some() {
            log::note_request(client, context);
        }
        if let Some(tracing) = &frontend.tracing {
            let head = &context.request;
            context.trace = Some(trace::begin(worker, tracing, frontend, client, head));
        }
        if let Some(meters) = client.meters(frontend) {
            context.upload.throttle = meters.inbound.as_ref().map(Throttle::new);
            context.download.throttle = meters.outbound.as_ref().map(Throttle::new);
        }
        Self {
            worker,
            frontend,
            client,
            context,
            facts,
        }
    }

    /// Serves the request. Returns what becomes of the connection.
    pub(super) async fn run(&mut self) -> Next {
        let plan = plan(
            self.worker,
            self.frontend,
            self.client,
            &self.context.request,
            self.facts.began,
        );
        match plan {
            Plan::Forward(target) if target.guard.is_none() => {
                self.set_target(target);
                self.forward(target).await
            }
            // Apart, so that the way of most requests keeps nothing of it.
            other => Box::pin(self.run_other(other)).await,
        }
    }

    /// The same for what is asked who it is, answered here or refused.
    async fn run_other(&mut self, plan: Plan<'a>) -> Next {
        if let Some(guard) = plan.guard()
            && let Err(next) = self.authenticate(guard).await
        {
            return next;
        }
        match plan {
            Plan::Forward(target) => {
                self.set_target(target);
                self.forward(target).await
            }
            Plan::Redirect(target, redirect) => {
                self.set_target(target);
                let answer = Answer::redirect(
                    redirect,
                    target.prefix,
                    &self.context.request,
                    self.client.input.bytes(),
                );
                self.answer(&answer, Outcome::Answered).await
            }
            Plan::Respond(target, response) => {
                self.set_target(target);
                self.answer(&Answer::fixed(response), Outcome::Answered)
                    .await
            }
            Plan::Deny(refusal) => self.deny(refusal).await,
            Plan::Refuse(outcome, retry_after) => self.fail(outcome, retry_after).await,
        }
    }

    fn set_target(&mut self, target: Target<'a>) {
        self.facts.set_target(self.frontend, target);
        self.facts.count_begun(self.worker);
    }

    /// Answers with an error, before anything of a response went out.
    pub(super) async fn fail(&mut self, outcome: Outcome, retry_after: Option<RetryAfter>) -> Next {
        if outcome == Outcome::ClientGone {
            self.end(outcome);
            return Next::End;
        }
        let mut body = std::mem::take(&mut self.context.scratch);
        let frontend = self.frontend;
        let next = {
            let answer =
                Answer::error(outcome, &frontend.model.error_pages, retry_after, &mut body);
            self.answer(&answer, outcome).await
        };
        self.context.scratch = body;
        next
    }

    pub(super) async fn answer(&mut self, answer: &Answer<'_>, outcome: Outcome) -> Next {
        let is_draining = self.client.is_closing(self.worker);
        // A body of which some went to a server, or is malformed, has no end that could be found.
        let is_untouched = self.context.upload.is_retained() || self.facts.server.is_none();
        let (mut asked, taken) = Asked::of(&self.context.request, self.client, is_draining);
        // What follows a CONNECT may be meant for the tunnel that it asked for, not for us.
        let is_connect = self.context.request.method == Method::Connect;
        if !is_untouched || is_connect || outcome == Outcome::BadRequestBody {
            asked = asked.closing();
        }
        answer.write(asked, &mut self.context.to_client);
        self.facts.status = Some(answer.status);
        self.client
            .deadline
            .set(Worker::now() + self.frontend.model.timeouts.body);
        let is_sent = answer::send(
            &self.client.stream,
            &self.client.deadline,
            &self.context.to_client,
        )
        .await;
        self.facts.bytes_out += self.context.to_client.len() as u64;
        self.end(if is_sent {
            outcome
        } else {
            Outcome::ClientGone
        });
        if !is_sent {
            return Next::End;
        }
        if asked.keep_alive() {
            self.client.input.consume(taken);
            Next::KeepAlive
        } else {
            self.client.input.clear();
            Next::Close
        }
    }

    /// Ends the exchange for logs and metrics.
    pub(super) fn end(&mut self, outcome: Outcome) {
        log::ended(self, outcome);
    }

    /// What becomes of the connection after a response that went out whole.
    pub(super) fn after(&self, after: After) -> Next {
        if after == After::KeepAlive && !self.client.is_closing(self.worker) {
            return Next::KeepAlive;
        }
        // A client that asked for the close, and of which nothing is unread, sends no more: there
        // is nothing that could reset the response on its way.
        let is_asked = !self.context.request.keep_alive;
        if is_asked && self.context.upload.is_done() && self.client.input.is_empty() {
            Next::End
        } else {
            Next::Close
        }
    }
}
