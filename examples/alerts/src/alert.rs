//! What an alert is, and what a client may write into one.
//!
//! The rules of the fields stand in `RULES` once; the OpenAPI description repeats them for
//! clients, and a test holds the two equal.

use std::fmt;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::FieldError;

/// A moment, to the second, between the years 0 and 9999. Written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// What the clock of this machine says.
    #[must_use]
    pub fn now() -> Self {
        Self(OffsetDateTime::now_utc().unix_timestamp())
    }

    /// Reads RFC 3339 with any offset; parts of a second are cut off.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let moment = moment.unix_timestamp();
        MOMENTS.contains(&moment).then_some(Self(moment))
    }

    /// Seconds since 1970; negative before.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// This many seconds later, at most the last moment of the year 9999.
    #[must_use]
    pub fn plus_seconds(self, seconds: u32) -> Self {
        Self((self.0 + i64::from(seconds)).min(*MOMENTS.end()))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        f.write_str(&moment.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 date"))
    }
}

/// What a client writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewAlert {
    /// The movie, as the catalogue names it.
    #[schema(
        pattern = "^[A-Za-z0-9_-]+$",
        min_length = 1,
        max_length = 64,
        example = "tt0133093"
    )]
    pub movie_id: String,
    /// Who is mailed.
    #[schema(
        pattern = "^[A-Za-z0-9_%+-]+(\\.[A-Za-z0-9_%+-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\.)+[A-Za-z]{2,24}$",
        min_length = 6,
        max_length = 128,
        example = "ada@example.org"
    )]
    pub email: String,
    /// When the mail goes out. A date in the past means at once.
    #[schema(value_type = String, format = DateTime, example = "2030-05-04T18:00:00Z")]
    pub notification_date: Moment,
    /// The subject of the mail.
    #[schema(
        pattern = "^[^\\x00-\\x1f\\x7f]+$",
        min_length = 1,
        max_length = 200,
        example = "The Matrix is on"
    )]
    pub title: String,
    /// What kind of movie.
    #[schema(
        pattern = "^[^\\x00-\\x1f\\x7f]+$",
        min_length = 1,
        max_length = 64,
        example = "science fiction"
    )]
    pub category: String,
    /// A picture for the mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^https?://[!-~]+$",
        min_length = 8,
        max_length = 2048,
        nullable = false,
        example = "https://example.org/matrix.jpg"
    )]
    pub image_url: Option<String>,
}

/// An alert as it is kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// Its name; sorts by the time of creation.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// What the client wrote.
    #[serde(flatten)]
    pub content: NewAlert,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// What became of its mail.
    pub status: Status,
}

/// What became of an alert's mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has not been sent yet.
    Waiting,
    /// The relay took it.
    Mailed,
    /// The relay refused it for good.
    Rejected,
}

impl Alert {
    /// A new one, with a name that nothing else has.
    #[must_use]
    pub fn new(content: NewAlert) -> Self {
        Self {
            id: Uuid::now_v7(),
            content,
            created_at: Moment::now(),
            status: Status::Waiting,
        }
    }
}

impl NewAlert {
    /// Reads what a client sent. Every wrong field is named at once; unknown ones are passed over,
    /// so that a client of a later version can still speak with this one.
    pub fn from_json(fields: &Map<String, Value>) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut text = |name: &str| match RULES.iter().find(|rule| rule.field == name) {
            Some(rule) => rule.check(fields.get(name)).unwrap_or_else(|message| {
                errors.push(FieldError::new(name, message));
                None
            }),
            None => None,
        };
        let movie_id = text("movie_id");
        let email = text("email");
        let title = text("title");
        let category = text("category");
        let image_url = text("image_url");
        let date = date(fields.get(DATE));
        let notification_date = date
            .map_err(|message| errors.push(FieldError::new(DATE, message)))
            .ok();
        match (movie_id, email, notification_date, title, category) {
            (Some(movie_id), Some(email), Some(notification_date), Some(title), Some(category))
                if errors.is_empty() =>
            {
                Ok(Self {
                    movie_id,
                    email,
                    notification_date,
                    title,
                    category,
                    image_url,
                })
            }
            _ => Err(errors),
        }
    }
}

fn date(value: Option<&Value>) -> Result<Moment, &'static str> {
    let text = value
        .ok_or("is missing")?
        .as_str()
        .ok_or("must be a text")?;
    Moment::parse(text).ok_or("must be a date such as 2030-05-04T18:00:00Z (RFC 3339)")
}

/// What a text field may hold.
#[derive(Debug)]
struct Rule {
    field: &'static str,
    is_required: bool,
    /// In characters.
    min: usize,
    /// In characters.
    max: usize,
    regex: LazyLock<Regex>,
    /// What is told when the pattern does not match.
    must: &'static str,
}

impl Rule {
    fn check(&self, value: Option<&Value>) -> Result<Option<String>, String> {
        let Some(value) = value else {
            let missing = || Err("is missing".to_owned());
            return if self.is_required {
                missing()
            } else {
                Ok(None)
            };
        };
        let text = value.as_str().ok_or("must be a text")?;
        let length = text.chars().count();
        if !(self.min..=self.max).contains(&length) {
            let Self { min, max, .. } = self;
            return Err(format!("must have {min} to {max} characters"));
        }
        if !self.regex.is_match(text) {
            return Err(self.must.to_owned());
        }
        Ok(Some(text.to_owned()))
    }
}

/// Declares the rules; a regex is made from its pattern when it is first used.
macro_rules! rules {
    ($($field:literal, $required:literal, $length:expr, $pattern:literal, $must:literal;)*) => {
        [$(Rule {
            field: $field,
            is_required: $required,
            min: $length.0,
            max: $length.1,
            regex: LazyLock::new(|| Regex::new($pattern).expect("a test has compiled it")),
            must: $must,
        }),*]
    };
}

static RULES: [Rule; 5] = rules! {
    "movie_id", true, (1, 64), r"^[A-Za-z0-9_-]+$", "must be letters, digits, `_` and `-`";
    "email", true, (6, 128),
        r"^[A-Za-z0-9_%+-]+(\.[A-Za-z0-9_%+-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}$",
        "must be a mail address such as ada@example.org";
    "title", true, (1, 200), r"^[^\x00-\x1f\x7f]+$", "must be one line without control characters";
    "category", true, (1, 64), r"^[^\x00-\x1f\x7f]+$", "must be one line without control characters";
    "image_url", false, (8, 2048), r"^https?://[!-~]+$", "must be an http:// or https:// address";
};

const DATE: &str = "notification_date";

/// From the first second of the year 0 to the last of 9999, which is what RFC 3339 can write.
const MOMENTS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// An alert that may be created.
    pub(crate) fn sample(title: &str) -> NewAlert {
        let mut fields = fields();
        fields["title"] = json!(title);
        NewAlert::from_json(fields.as_object().unwrap()).unwrap()
    }

    fn fields() -> Value {
        json!({
            "movie_id": "tt0133093",
            "email": "ada@example.org",
            "notification_date": "2030-05-04T20:00:00+02:00",
            "title": "The Matrix is on",
            "category": "science fiction",
        })
    }

    fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut fields = fields();
        change(&mut fields);
        let errors = NewAlert::from_json(fields.as_object().unwrap()).unwrap_err();
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn a_whole_alert_is_taken_and_its_date_is_in_utc() {
        let alert = NewAlert::from_json(fields().as_object().unwrap()).unwrap();
        assert_eq!(alert.notification_date.to_string(), "2030-05-04T18:00:00Z");
        assert_eq!(alert.image_url, None);
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let errors = NewAlert::from_json(&Map::new()).unwrap_err();
        let mut names: Vec<_> = errors.into_iter().map(|error| error.field).collect();
        names.sort();
        let required = [
            "category",
            "email",
            "movie_id",
            "notification_date",
            "title",
        ];
        assert_eq!(names, required);
    }

    #[test]
    fn a_field_is_refused_for_its_type_its_length_or_its_content() {
        assert_eq!(wrong(|f| f["title"] = json!(5)), ["title"]);
        assert_eq!(wrong(|f| f["title"] = json!("x".repeat(201))), ["title"]);
        assert_eq!(wrong(|f| f["title"] = json!("a\r\nBcc: b@c.de")), ["title"]);
        assert_eq!(wrong(|f| f["email"] = json!("ada@localhost")), ["email"]);
        assert_eq!(wrong(|f| f["email"] = json!("a..b@example.org")), ["email"]);
        assert_eq!(
            wrong(|f| f["image_url"] = json!("file:///x")),
            ["image_url"]
        );
        assert_eq!(wrong(|f| f["image_url"] = Value::Null), ["image_url"]);
        for date in [
            "tomorrow",
            "2030-02-30T00:00:00Z",
            "9999-12-31T23:59:59-12:00",
        ] {
            assert_eq!(wrong(|f| f[DATE] = json!(date)), [DATE], "{date}");
        }
    }

    #[test]
    fn a_title_of_200_characters_is_taken_whatever_its_bytes() {
        assert_eq!(sample(&"é".repeat(200)).title.chars().count(), 200);
    }

    #[test]
    fn the_description_states_the_rules_that_are_checked() {
        let description = crate::api::description();
        let schema = &description["components"]["schemas"]["NewAlert"];
        let required: Vec<_> = schema["required"].as_array().unwrap().iter().collect();
        for rule in &RULES {
            let stated = &schema["properties"][rule.field];
            assert_eq!(stated["pattern"], rule.regex.as_str(), "{}", rule.field);
            assert_eq!(stated["minLength"], rule.min, "{}", rule.field);
            assert_eq!(stated["maxLength"], rule.max, "{}", rule.field);
            assert_eq!(required.contains(&&json!(rule.field)), rule.is_required);
        }
        let fields = schema["properties"].as_object().unwrap().len();
        assert_eq!(fields, RULES.len() + 1, "the date has no pattern");
    }

    #[test]
    fn an_alert_keeps_its_shape_in_the_store() {
        let alert = Alert::new(sample("x"));
        let text = serde_json::to_string(&alert).unwrap();
        assert_eq!(serde_json::from_str::<Alert>(&text).unwrap(), alert);
    }
}
