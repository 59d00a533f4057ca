//! Finds out which of serde's forms an event type has. The derives do not say so, but each form asks a deserializer for
//! something else. So the type is asked to read a made-up value.

use std::cell::RefCell;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::DecodeError;

/// A name that no event type and no field has.
pub(super) const NO_NAME: &str = "\0";

/// The form in which serde writes an event type.
#[derive(Debug, PartialEq)]
pub(crate) enum Shape {
    /// `{"Deposited": {"cents": 5}}`: serde's default.
    External,
    /// `{"type": "Deposited", "cents": 5}`
    Internal { tag: &'static str },
    /// `{"type": "Deposited", "data": {"cents": 5}}`
    Adjacent { tag: &'static str, content: &'static str },
    /// External, with an untagged variant for everything else. The names are those of the other variants.
    CatchAll { known: &'static [&'static str] },
    /// No form with an event type. The text says what to write instead.
    Refused(String),
}

/// What the type asked the probe for.
#[derive(Default)]
struct Asked {
    an_enum: bool,
    a_struct: Option<(&'static str, &'static [&'static str])>,
    /// What the type said it expects as a map's first key.
    key: Option<String>,
}

impl Shape {
    pub(super) fn of<E: DeserializeOwned>() -> Shape {
        let asked = RefCell::default();
        let (error, first) = DecodeError::noting_the_first(|| E::deserialize(Probe(&asked)).err());
        let asked = asked.into_inner();
        let key = asked.key.as_deref().unwrap_or_default();
        match (asked.a_struct, error, first) {
            _ if asked.an_enum => Shape::External,
            (Some((_, &[tag, content])), ..) if key.starts_with('"') => Shape::Adjacent { tag, content },
            (Some((name, _)), ..) => Shape::Refused(format!(
                "events must be an enum, and {name} is a struct; write an enum with a variant for each event type, such as \
                 `enum Event {{ {name}({name}) }}`"
            )),
            (None, Some(DecodeError::MissingField(tag)), _) if key.starts_with("a type tag") => Shape::Internal { tag },
            (None, _, Some(DecodeError::UnknownVariant(known))) => Shape::CatchAll { known },
            _ if key == "any value" => Shape::Refused(
                "an untagged enum has no names that could be event types; remove `untagged` from the enum, or, if only one \
                 variant is untagged, `tag` and `content`"
                    .to_owned(),
            ),
            _ => Shape::Refused("events must be an enum with serde's derives".to_owned()),
        }
    }
}

/// A deserializer that offers one made-up map and records what it is asked for.
struct Probe<'a>(&'a RefCell<Asked>);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_map(ProbeMap { asked: self.0, read: false })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, DecodeError> {
        self.0.borrow_mut().an_enum = true;
        Err(DecodeError::UnknownVariant(variants))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.0.borrow_mut().a_struct = Some((name, fields));
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

struct ProbeMap<'a> {
    asked: &'a RefCell<Asked>,
    read: bool,
}

impl<'de> MapAccess<'de> for ProbeMap<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        if std::mem::replace(&mut self.read, true) {
            return Ok(None);
        }
        seed.deserialize(ProbeKey(self.asked)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, DecodeError> {
        seed.deserialize(serde::de::value::UnitDeserializer::new())
    }
}

struct ProbeKey<'a>(&'a RefCell<Asked>);

impl<'de> Deserializer<'de> for ProbeKey<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.0.borrow_mut().key = Some((&visitor as &dyn Expected).to_string());
        visitor.visit_borrowed_str(NO_NAME)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
