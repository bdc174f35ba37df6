//! One test per sentence of the design's retry rule.

use super::*;
use crate::model::Retry;

const NOW: Timestamp = Timestamp::ZERO;

/// An idempotent request, sent whole on a fresh connection that then broke.
const SENT: Attempt = Attempt {
    failure: Failure::Closed,
    connection: Connection::Fresh,
    repeat: Repeat::Idempotent,
    sent_bytes: 100,
    is_buffered_whole: true,
    has_response_bytes: false,
    retries: 0,
    redispatches: 0,
    max_retries: 3,
};

/// The same, but nothing says that it may be processed twice.
const POST: Attempt = Attempt {
    repeat: Repeat::Unsafe,
    ..SENT
};

fn verdict(attempt: &Attempt) -> Verdict {
    decide(NOW, attempt, &Budget::new(&Retry::default()))
}

fn verdict_without_budget(attempt: &Attempt) -> Verdict {
    let retry = Retry {
        min_budget: 0,
        ..Retry::default()
    };
    decide(NOW, attempt, &Budget::new(&retry))
}

#[test]
fn up_to_three_retries() {
    for retries in 0..3 {
        let attempt = Attempt { retries, ..SENT };
        assert_eq!(verdict(&attempt), Verdict::RetryElsewhere);
    }
    let attempt = Attempt { retries: 3, ..SENT };
    assert_eq!(verdict(&attempt), Verdict::GiveUp(Reason::TriesUsed));
}

#[test]
fn redispatch_is_on_a_retry_goes_elsewhere() {
    for failure in [Failure::Closed, Failure::Connect, Failure::ServerDied] {
        let attempt = Attempt { failure, ..SENT };
        assert_eq!(verdict(&attempt), Verdict::RetryElsewhere);
    }
}

#[test]
fn connect_failures_are_always_retried() {
    let attempt = Attempt {
        failure: Failure::Connect,
        sent_bytes: 0,
        is_buffered_whole: false,
        ..POST
    };
    assert_eq!(verdict(&attempt), Verdict::RetryElsewhere);
}

#[test]
fn a_request_of_which_the_kernel_accepted_nothing_is_sent_again_whatever_its_method() {
    for failure in [Failure::Closed, Failure::ServerDied] {
        let attempt = Attempt {
            failure,
            sent_bytes: 0,
            is_buffered_whole: false,
            ..POST
        };
        assert_eq!(verdict(&attempt), Verdict::RetryElsewhere);
    }
}

#[test]
fn a_request_refused_unprocessed_is_sent_again_whatever_its_method() {
    let attempt = Attempt {
        failure: Failure::RefusedUnprocessed,
        ..POST
    };
    assert_eq!(verdict(&attempt), Verdict::RetryElsewhere);
    let partly_gone = Attempt {
        is_buffered_whole: false,
        ..attempt
    };
    let gone = Verdict::GiveUp(Reason::NotBuffered);
    assert_eq!(verdict(&partly_gone), gone);
}

#[test]
fn an_idempotent_request_whole_in_the_buffer_without_a_response_byte_is_sent_again() {
    assert_eq!(verdict(&SENT), Verdict::RetryElsewhere);
}

#[test]
fn one_accepted_byte_of_a_post_is_enough_to_never_send_it_again() {
    for failure in [Failure::Closed, Failure::ServerDied] {
        for connection in [Connection::Fresh, Connection::Reused] {
            let attempt = Attempt {
                failure,
                connection,
                sent_bytes: 1,
                ..POST
            };
            let given_up = Verdict::GiveUp(Reason::NotIdempotent);
            assert_eq!(verdict(&attempt), given_up);
        }
    }
}

#[test]
fn a_request_that_is_no_longer_whole_in_the_buffer_is_not_sent_again() {
    let attempt = Attempt {
        is_buffered_whole: false,
        ..SENT
    };
    let given_up = Verdict::GiveUp(Reason::NotBuffered);
    assert_eq!(verdict(&attempt), given_up);
    assert_eq!(MAX_BUFFERED_BYTES, 65_536);
}

#[test]
fn after_a_response_byte_nothing_is_sent_again() {
    for failure in [
        Failure::Closed,
        Failure::Connect,
        Failure::RefusedUnprocessed,
        Failure::ServerDied,
        Failure::Timeout,
    ] {
        let attempt = Attempt {
            failure,
            has_response_bytes: true,
            ..SENT
        };
        let given_up = Verdict::GiveUp(Reason::ResponseBegun);
        assert_eq!(verdict(&attempt), given_up);
    }
}

#[test]
fn a_timeout_is_not_retried_even_if_nothing_was_sent() {
    for sent_bytes in [0, 100] {
        let attempt = Attempt {
            failure: Failure::Timeout,
            sent_bytes,
            ..SENT
        };
        assert_eq!(verdict(&attempt), Verdict::GiveUp(Reason::Timeout));
    }
}

#[test]
fn each_try_after_request_bytes_were_sent_takes_a_token() {
    let budget = Budget::new(&Retry::default());
    for _ in 0..100 {
        assert_eq!(decide(NOW, &SENT, &budget), Verdict::RetryElsewhere);
    }
    let spent = Verdict::GiveUp(Reason::BudgetSpent);
    assert_eq!(decide(NOW, &SENT, &budget), spent);
    for _ in 0..5 {
        budget.handle_first_try();
    }
    assert_eq!(decide(NOW, &SENT, &budget), Verdict::RetryElsewhere);
    assert_eq!(decide(NOW, &SENT, &budget), spent);
}

#[test]
fn a_try_after_refused_unprocessed_takes_a_token_too() {
    let attempt = Attempt {
        failure: Failure::RefusedUnprocessed,
        ..POST
    };
    let spent = Verdict::GiveUp(Reason::BudgetSpent);
    assert_eq!(verdict_without_budget(&attempt), spent);
}

#[test]
fn connect_failures_are_free() {
    let attempt = Attempt {
        failure: Failure::Connect,
        sent_bytes: 0,
        ..SENT
    };
    let again = Verdict::RetryElsewhere;
    assert_eq!(verdict_without_budget(&attempt), again);
}

#[test]
fn the_first_redispatch_of_an_exchange_whose_server_died_is_free_and_the_second_is_not() {
    let attempt = Attempt {
        failure: Failure::ServerDied,
        ..SENT
    };
    let again = Verdict::RetryElsewhere;
    assert_eq!(verdict_without_budget(&attempt), again);
    let second = Attempt {
        retries: 1,
        redispatches: 1,
        ..attempt
    };
    let spent = Verdict::GiveUp(Reason::BudgetSpent);
    assert_eq!(verdict_without_budget(&second), spent);
}

#[test]
fn the_close_race_of_an_idle_connection_is_free_and_stays_with_its_server() {
    let attempt = Attempt {
        connection: Connection::Reused,
        ..SENT
    };
    assert_eq!(verdict_without_budget(&attempt), Verdict::RetrySame);
    let second = Attempt {
        retries: 1,
        redispatches: 1,
        ..attempt
    };
    assert_eq!(verdict(&second), Verdict::RetryElsewhere);
    let unsent_post = Attempt {
        connection: Connection::Reused,
        sent_bytes: 0,
        ..POST
    };
    assert_eq!(verdict(&unsent_post), Verdict::RetrySame);
}

#[test]
fn an_exchange_of_a_server_marked_down_is_redispatched_only_if_the_rule_allows() {
    let get = Attempt {
        failure: Failure::ServerDied,
        ..SENT
    };
    let post = Attempt {
        failure: Failure::ServerDied,
        ..POST
    };
    assert_eq!(verdict(&get), Verdict::RetryElsewhere);
    let given_up = Verdict::GiveUp(Reason::NotIdempotent);
    assert_eq!(verdict(&post), given_up);
}

#[test]
fn idempotent_methods_are_those_of_rfc_9110() {
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let repeat = Repeat::of_request(method.as_bytes(), None);
        assert_eq!(repeat, Repeat::Idempotent, "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "PROPFIND", ""] {
        let repeat = Repeat::of_request(method.as_bytes(), None);
        assert_eq!(repeat, Repeat::Unsafe, "{method}");
    }
}

#[test]
fn requests_that_carry_the_routes_idempotency_header_count_as_idempotent() {
    let repeat = Repeat::of_request(b"POST", Some(b"8e03978e-40d5"));
    assert_eq!(repeat, Repeat::Idempotent);
}

/// Every combination of what a failed try can be, on its first and its last retry.
fn every_attempt() -> Vec<Attempt> {
    let failures = [
        Failure::Closed,
        Failure::Connect,
        Failure::RefusedUnprocessed,
        Failure::ServerDied,
        Failure::Timeout,
    ];
    let mut attempts = Vec::new();
    for bits in 0..64u32 {
        let bit = |number: u32| bits & (1 << number) != 0;
        for failure in failures {
            attempts.push(Attempt {
                failure,
                connection: [Connection::Fresh, Connection::Reused][usize::from(bit(0))],
                repeat: [Repeat::Idempotent, Repeat::Unsafe][usize::from(bit(1))],
                sent_bytes: u64::from(bit(2)),
                is_buffered_whole: bit(3),
                has_response_bytes: bit(4),
                retries: if bit(5) { 3 } else { 0 },
                redispatches: 0,
                max_retries: 3,
            });
        }
    }
    attempts
}

#[test]
fn anything_else_that_breaks_is_never_a_second_send() {
    for attempt in every_attempt() {
        let was_not_accepted = attempt.sent_bytes == 0;
        let was_refused = attempt.failure == Failure::RefusedUnprocessed;
        let may_repeat = was_refused || attempt.repeat == Repeat::Idempotent;
        let allowed = (was_not_accepted || (may_repeat && attempt.is_buffered_whole))
            && !attempt.has_response_bytes
            && attempt.failure != Failure::Timeout
            && attempt.retries < attempt.max_retries;
        let is_sent_again = !matches!(verdict(&attempt), Verdict::GiveUp(_));
        assert_eq!(is_sent_again, allowed, "{attempt:?}");
    }
}

#[test]
fn with_the_budget_spent_only_what_is_free_is_sent_again() {
    for attempt in every_attempt() {
        let is_free = attempt.sent_bytes == 0 || attempt.is_redispatch();
        let is_sent_again = |verdict| !matches!(verdict, Verdict::GiveUp(_));
        let expected = is_free && is_sent_again(verdict(&attempt));
        let got = is_sent_again(verdict_without_budget(&attempt));
        assert_eq!(got, expected, "{attempt:?}");
    }
}
