//! The OpenAPI description: made from the handlers, checked in, and served as it is checked in.

use serde_json::Value;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(title = "Alerts", description = "Reminders by mail: the example API of catamaran.", version = "1.0.0", license(name = "MIT", identifier = "MIT")),
    paths(
        super::alerts::create,
        super::alerts::list,
        super::alerts::read,
        super::alerts::delete,
        super::health,
        super::ready,
    ),
    servers((url = "/", description = "Where this page comes from")),
    tags(
        (name = "alerts", description = "Reminders"),
        (name = "operation", description = "For balancers and service managers"),
    ),
)]
struct Description;

/// The description as text, as it is checked in.
#[must_use]
pub const fn description_text() -> &'static str {
    include_str!("../../openapi.json")
}

/// The description as it follows from the handlers.
///
/// # Panics
/// Never: a test makes it.
#[must_use]
pub fn description() -> Value {
    serde_json::to_value(Description::openapi()).expect("a description is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_description_is_that_of_the_handlers() {
        let made = serde_json::to_string_pretty(&description()).unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        if std::env::var_os("ALERTS_WRITE_OPENAPI").is_some() {
            std::fs::write(path, &made).unwrap();
            return;
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            made,
            "run this test with ALERTS_WRITE_OPENAPI=1 to write openapi.json anew"
        );
    }
}
