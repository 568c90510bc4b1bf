//! Days, as reports are asked for.

use std::{borrow::Cow, str::FromStr};

use chrono::{Datelike, NaiveDate};
use event_schemas::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

/// A UTC day, sent as `2010-12-01` or as a time of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(NaiveDate);

impl Day {
    /// The day itself.
    pub fn date(self) -> NaiveDate {
        self.0
    }
}

/// A text that is no day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a day as in 2010-12-01, or an RFC 3339 time")]
pub struct MalformedDay;

impl FromStr for Day {
    type Err = MalformedDay;

    fn from_str(text: &str) -> Result<Self, MalformedDay> {
        let day = if text.len() == 10 {
            NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| MalformedDay)?
        } else {
            text.parse::<Timestamp>().map_err(|_| MalformedDay)?.utc().date_naive()
        };
        if (1..=9999).contains(&day.year()) { Ok(Self(day)) } else { Err(MalformedDay) }
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Day {
    fn schema_name() -> Cow<'static, str> {
        "Day".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}], "examples": ["2010-12-01"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_date_or_the_utc_day_of_a_time() {
        let day = |text: &str| text.parse::<Day>().map(|day| day.date().to_string());
        assert_eq!(day("2010-12-01"), Ok("2010-12-01".to_owned()));
        assert_eq!(day("2010-12-01T23:30:00Z"), Ok("2010-12-01".to_owned()));
        assert_eq!(day("2010-12-01T23:30:00-02:00"), Ok("2010-12-02".to_owned()));
        for text in ["", "2010-13-01", "2010-12", "01.12.2010", "2010-02-30", "yesterday", "2010-12-1T"] {
            assert_eq!(day(text), Err(MalformedDay), "{text:?}");
        }
    }
}
