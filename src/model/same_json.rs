//! Whether two JSON texts have the same content: the order of members, spaces, escapes and the way in which a number is
//! written do not count.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Whether the order of an array's items counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrays {
    Ordered,
    /// A set is written in any order.
    Unordered,
}

/// Compares two valid JSON texts. Numbers are compared exactly, however many digits they have.
pub(crate) fn is_same(left: &str, right: &str, arrays: Arrays) -> bool {
    left == right || canonical(left, arrays).is_ok_and(|left| canonical(right, arrays).is_ok_and(|right| left == right))
}

/// The one text for all valid JSON texts with the same content.
pub(crate) fn one_text(text: &str) -> String {
    canonical(text, Arrays::Ordered).unwrap_or_else(|_| text.to_owned())
}

/// The one text for all texts with the same content.
fn canonical(text: &str, arrays: Arrays) -> serde_json::Result<String> {
    let text = text.trim_ascii();
    Ok(match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
            let member = |(name, value): (String, &RawValue)| {
                Ok(format!("{}:{}", serde_json::to_string(&name)?, canonical(value.get(), arrays)?))
            };
            let members = members.into_iter().map(member).collect::<serde_json::Result<Vec<_>>>()?;
            format!("{{{}}}", members.join(","))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            let items = items.into_iter().map(|item| canonical(item.get(), arrays));
            let mut items = items.collect::<serde_json::Result<Vec<_>>>()?;
            if arrays == Arrays::Unordered {
                items.sort_unstable();
            }
            format!("[{}]", items.join(","))
        }
        Some(b'"') => serde_json::to_string(&serde_json::from_str::<String>(text)?)?,
        Some(b'-' | b'0'..=b'9') => decimal(text).unwrap_or_else(|| text.to_owned()),
        _ => text.to_owned(),
    })
}

/// A number as sign, digits without zeros at either end, and a power of ten. `None` if the power is beyond all bounds.
fn decimal(text: &str) -> Option<String> {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let power = power.parse::<i64>().ok()?.checked_sub(fraction.len().try_into().ok()?)?;
    let power = power.checked_add((digits.len() - significant.len()).try_into().ok()?)?;
    Some(match significant.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => format!("{sign}{digits}e{power}"),
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
            assert!(is_same(left, right, Arrays::Ordered), "{left} {right}");
        }
    }

    #[test]
    fn a_set_has_no_order() {
        assert!(is_same(r#"{"a":[1,{"b":2},"c"]}"#, r#"{"a":["c",1.0,{"b":2}]}"#, Arrays::Unordered));
        assert!(!is_same("[1,1,2]", "[1,2,2]", Arrays::Unordered));
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
            assert!(!is_same(left, right, Arrays::Ordered), "{left} {right}");
        }
    }
}
