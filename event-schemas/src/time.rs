//! Points in time as the log keeps them: UTC, microseconds.

use std::{borrow::Cow, fmt, str::FromStr};

use chrono::{DateTime, Datelike, Duration, SecondsFormat, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time, cut to microseconds (what Postgres keeps), written as RFC 3339 in UTC with six fractional digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// The instant `micros` microseconds after the Unix epoch; the epoch itself where chrono can't hold it.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(DateTime::from_timestamp_micros(micros).unwrap_or_default())
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// This instant moved by `duration`; unmoved where the sum is no time that can be written.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        self.0.checked_add_signed(duration).filter(|sum| is_writable(*sum)).map_or(self, Self::from)
    }

    /// How long after `earlier` this is; negative where it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }

    /// The same instant for chrono.
    #[must_use]
    pub fn utc(self) -> DateTime<Utc> {
        self.0
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self::from_micros(at.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

/// A text that is no point in time that the log can keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a time of RFC 3339 between the years 0000 and 9999 in UTC, as in \"2026-01-31T12:00:00Z\"")]
pub struct Malformed;

impl FromStr for Timestamp {
    type Err = Malformed;

    /// Reads RFC 3339 with any offset. A year that has no four digits in UTC is refused: it could be written, but not read again.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let at = DateTime::parse_from_rfc3339(text).map_err(|_| Malformed)?.with_timezone(&Utc);
        if is_writable(at) { Ok(at.into()) } else { Err(Malformed) }
    }
}

/// Whether RFC 3339 has a form for it.
fn is_writable(at: DateTime<Utc>) -> bool {
    (0..=9999).contains(&at.year())
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        text.parse::<Timestamp>().unwrap().to_string()
    }

    #[test]
    fn a_time_is_written_in_utc_with_six_digits() {
        assert_eq!(written("2026-03-02T10:15:00Z"), "2026-03-02T10:15:00.000000Z");
        assert_eq!(written("2026-03-02T10:15:00.25Z"), "2026-03-02T10:15:00.250000Z");
        assert_eq!(written("2026-03-02t10:15:00.000001z"), "2026-03-02T10:15:00.000001Z");
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_micros(-1).to_string(), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn an_offset_is_taken_off() {
        assert_eq!(written("2026-03-02T10:15:00+05:30"), "2026-03-02T04:45:00.000000Z");
        assert_eq!(written("2026-02-28T23:30:00.5-01:00"), "2026-03-01T00:30:00.500000Z");
    }

    #[test]
    fn what_is_finer_than_a_microsecond_is_cut_off() {
        assert_eq!(written("2026-03-02T10:15:00.123456999Z"), "2026-03-02T10:15:00.123456Z");
        assert_eq!(written("1969-12-31T23:59:59.999999999Z"), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn leap_days_exist_and_a_leap_second_is_the_next_one() {
        assert_eq!(written("2028-02-29T12:00:00Z"), "2028-02-29T12:00:00.000000Z");
        assert!("2026-02-29T12:00:00Z".parse::<Timestamp>().is_err());
        assert_eq!(written("2016-12-31T23:59:60.5Z"), "2017-01-01T00:00:00.500000Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "2026-03-02", "2026-03-02T10:15:00", "2026-13-02T10:15:00Z", "2026-03-02T25:15:00Z", "now", "1772446500"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
            let error = serde_json::from_value::<Timestamp>(text.into()).unwrap_err();
            assert!(error.to_string().starts_with("is not a time of RFC 3339"), "{error}");
        }
    }

    #[test]
    fn text_and_microseconds_say_the_same() {
        let at: Timestamp = "2026-03-02T10:18:02.000125Z".parse().unwrap();
        assert_eq!(Timestamp::from_micros(at.micros()), at);
        assert_eq!(at.micros(), 1_772_446_682_000_125);
        assert_eq!(serde_json::to_value(at).unwrap(), "2026-03-02T10:18:02.000125Z");
        assert_eq!(at.plus(Duration::microseconds(-125)).since(at), Duration::microseconds(-125));
        assert_eq!(at.plus(Duration::MAX), at);
    }

    #[test]
    fn a_time_that_could_not_be_read_again_is_refused() {
        for text in ["9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00", "tomorrow"] {
            assert_eq!(text.parse::<Timestamp>(), Err(Malformed), "{text}");
        }
        let last: Timestamp = "9999-12-31T23:59:59.999999Z".parse().unwrap();
        assert_eq!(last.plus(Duration::seconds(1)), last);
    }
}
