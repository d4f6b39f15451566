//! Points in time as Celery writes them: ISO 8601 text.

use jiff::{Timestamp, fmt::temporal::Pieces, tz::Offset};

/// Reads a time with any offset, with `Z`, or with none, which means UTC as in a worker with Celery's default `timezone`.
pub fn read(text: &str) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok()?;
    // `2030-01-01T00:00[Europe/Paris]` is no ISO 8601; looking the zone up would mean reading files.
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    let local = pieces.date().to_datetime(pieces.time().unwrap_or_default());
    pieces.to_numeric_offset().unwrap_or(Offset::UTC).to_timestamp(local).ok()
}

/// Writes a time as Python's `datetime.now(timezone.utc).isoformat()` does: `2026-11-23T06:22:57.484675+00:00`.
pub fn write(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_clients_send_is_read_as_its_instant() {
        let cases = [
            ("2026-11-23T06:22:57.484675+00:00", "2026-11-23T06:22:57.484675Z"),
            ("2026-11-23T07:22:57+01:00", "2026-11-23T06:22:57Z"),
            ("2026-11-23T00:52:57-05:30", "2026-11-23T06:22:57Z"),
            ("2026-11-23T06:22:57Z", "2026-11-23T06:22:57Z"),
            ("2026-11-23T06:22:57.123456789Z", "2026-11-23T06:22:57.123456789Z"),
            ("2026-11-23T06:22:57", "2026-11-23T06:22:57Z"),
            ("2026-11-23 06:22", "2026-11-23T06:22:00Z"),
            ("2026-11-23", "2026-11-23T00:00:00Z"),
            ("20261123T062257Z", "2026-11-23T06:22:57Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let cases = [
            "",
            "tomorrow",
            "2026-13-01T00:00:00",
            "2026-02-30",
            "06:22:57",
            "2026-11-23T25:00:00",
            "1795415378.5",
            "2026-11-23T06:22:57[Europe/Paris]",
            "-999999-01-01",
            "9999-12-31T23:59:59-23:59",
        ];
        for text in cases {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_written_as_python_writes_them() {
        let time: Timestamp = "2026-11-23T06:22:57.484675999Z".parse().unwrap();
        assert_eq!(write(time), "2026-11-23T06:22:57.484675+00:00");
        let whole: Timestamp = "2026-11-23T06:22:57Z".parse().unwrap();
        assert_eq!(write(whole), "2026-11-23T06:22:57.000000+00:00");
    }
}
