//! Times and sizes as a command line names them.

use std::time::Duration;

/// `30d`: a number and a unit.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let seconds = |unit: &str| match unit {
        "h" => Some(3600),
        "d" => Some(86_400),
        "w" => Some(604_800),
        _ => None,
    };
    let (number, unit) = split(text);
    let found = number.and_then(|number: u64| number.checked_mul(seconds(unit)?));
    found.map(Duration::from_secs).ok_or_else(|| "give hours, days or weeks: `12h`, `30d`, `8w`".to_owned())
}

/// `100GiB`: a number and a unit, bytes without one.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bytes = |unit: &str| match unit {
        "" | "B" => Some(1_u64),
        "KiB" | "K" => Some(1 << 10),
        "MiB" | "M" => Some(1 << 20),
        "GiB" | "G" => Some(1 << 30),
        "TiB" | "T" => Some(1 << 40),
        _ => None,
    };
    let (number, unit) = split(text);
    let found = number.and_then(|number: u64| number.checked_mul(bytes(unit)?));
    found.ok_or_else(|| "give a size: `500MiB`, `100GiB`, `1TiB`".to_owned())
}

fn split(text: &str) -> (Option<u64>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().ok(), text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_with_units() {
        assert_eq!(time("30d").unwrap().as_secs(), 2_592_000);
        assert_eq!((size("2GiB").unwrap(), size("10").unwrap(), size("1 KiB").unwrap()), (2 << 30, 10, 1024));
        for bad in ["", "d", "30", "3y", "-1d", "99999999999999999999d"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        for bad in ["", "GiB", "1GB", "-1", "99999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
