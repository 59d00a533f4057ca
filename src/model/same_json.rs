//! Whether two JSON texts have the same content: the order of members, spaces, escapes and the way in which a number is
//! written do not count.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Compares two valid JSON texts. Numbers are compared exactly, however many digits they have.
pub(crate) fn is_same(left: &str, right: &str) -> bool {
    left == right || compare(left.trim_ascii(), right.trim_ascii()).unwrap_or(false)
}

fn compare(left: &str, right: &str) -> serde_json::Result<bool> {
    if left == right {
        return Ok(true);
    }
    Ok(match (left.as_bytes().first(), right.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => {
            let members = |text| serde_json::from_str::<BTreeMap<String, &RawValue>>(text);
            let (left, right) = (members(left)?, members(right)?);
            left.len() == right.len() && left.iter().zip(&right).all(|(a, b)| a.0 == b.0 && is_same(a.1.get(), b.1.get()))
        }
        (Some(b'['), Some(b'[')) => {
            let items = |text| serde_json::from_str::<Vec<&RawValue>>(text);
            let (left, right) = (items(left)?, items(right)?);
            left.len() == right.len() && left.iter().zip(&right).all(|(a, b)| is_same(a.get(), b.get()))
        }
        (Some(b'"'), Some(b'"')) => serde_json::from_str::<String>(left)? == serde_json::from_str::<String>(right)?,
        (Some(b'-' | b'0'..=b'9'), Some(b'-' | b'0'..=b'9')) => decimal(left).is_some_and(|left| Some(left) == decimal(right)),
        _ => false,
    })
}

/// A number as sign, digits without zeros at either end, and a power of ten. `None` if the power is beyond all bounds.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let power = power.parse::<i64>().ok()?.checked_sub(fraction.len().try_into().ok()?)?;
    let power = power.checked_add((digits.len() - significant.len()).try_into().ok()?)?;
    Some(match significant.trim_start_matches('0') {
        "" => (false, String::new(), 0),
        digits => (is_negative, digits.to_owned(), power),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_in_other_bytes() {
        for (left, right) in [
            (r#"{"a":1,"b":[2,{"c":null,"d":true}]}"#, r#" { "b" : [2, {"d":true,"c":null}], "a" : 1 } "#),
            (r#""é/\n""#, r#""\u00e9\/\u000a""#),
            (r#"{"\u0061":1}"#, r#"{"a":1}"#),
            ("1", "1.0"),
            ("100", "1e2"),
            ("0.5", "5E-1"),
            ("-0", "0"),
            ("-1.50", "-1.5"),
            ("12345678901234567890123", "12345678901234567890123.0"),
        ] {
            assert!(is_same(left, right) && is_same(right, left), "{left} {right}");
        }
    }

    #[test]
    fn other_content() {
        for (left, right) in [
            ("1", "2"),
            ("1", "-1"),
            ("1", "10"),
            ("1", r#""1""#),
            ("12345678901234567890123", "12345678901234567890124"),
            ("1e99999999999999999999", "1e99999999999999999998"),
            ("true", "false"),
            ("null", "{}"),
            ("[]", "{}"),
            ("[1,2]", "[2,1]"),
            ("[1]", "[1,1]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"b":2}}"#),
            (r#""a""#, r#""A""#),
        ] {
            assert!(!is_same(left, right) && !is_same(right, left), "{left} {right}");
        }
    }
}
