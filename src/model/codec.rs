//! A serde enum to and from (event type, data), without a JSON value in between.
//!
//! serde's derives describe an enum to a serializer as "variant by name, then content". [`Capture`] keeps the name and
//! writes the content as JSON; [`Variant`] plays the same back. The shape of the data is therefore that of serde_json
//! for the content alone: an object for a struct variant, an array for a tuple variant, the value itself for a newtype
//! variant, and `{}` for a unit variant.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, IntoDeserializer, VariantAccess, Visitor,
};
use serde::ser::{Impossible, Serialize, SerializeStructVariant, SerializeTupleVariant, Serializer};
use serde::{Deserialize, forward_to_deserialize_any};

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::redacted::Misfit;

/// The event type and the JSON data of an enum value.
pub(crate) fn encode<E: Serialize>(event: &E) -> Result<(&'static str, String)> {
    event.serialize(Capture).map_err(|error| Error::new(ErrorKind::Codec, "the event cannot be written as JSON").caused_by(error))
}

/// The enum value of an event type and its JSON data.
pub(crate) fn decode<E: DeserializeOwned>(event_type: &str, data: &str) -> std::result::Result<E, DecodeError> {
    E::deserialize(Variant { name: event_type, data })
}

/// Why an event could not be decoded.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// The enum has no variant of this name.
    UnknownVariant,
    /// The data does not fit the variant.
    Data(Misfit),
    /// The type is not an externally tagged enum, or its own code objected.
    Other(String),
}

impl DecodeError {
    pub(crate) fn into_error(self, event_type: &str) -> Error {
        let error = match self {
            DecodeError::UnknownVariant => Error::new(ErrorKind::UnknownEventType, "the fold does not know this event type")
                .advice("add the variant, or set UNKNOWN_EVENTS to Ignore"),
            other => Error::new(ErrorKind::Codec, "the event's data does not fit the type it is read as").caused_by(other),
        };
        error.event_type_is(event_type)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::UnknownVariant => f.write_str("unknown event type"),
            DecodeError::Data(error) => fmt::Display::fmt(error, f),
            DecodeError::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> DecodeError {
        DecodeError::Other(message.to_string())
    }

    fn unknown_variant(_variant: &str, _expected: &'static [&'static str]) -> DecodeError {
        DecodeError::UnknownVariant
    }
}

/// The deserializer of one event.
struct Variant<'n, 'de> {
    name: &'n str,
    data: &'de str,
}

impl<'de> Deserializer<'de> for Variant<'_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, DecodeError> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;
    type Variant = Content<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> std::result::Result<(V::Value, Content<'de>), DecodeError> {
        let name: StrDeserializer<'_, DecodeError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.data)))
    }
}

/// The content of a variant.
struct Content<'de>(&'de str);

impl<'de> Content<'de> {
    fn read<T>(
        self,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'de>>) -> serde_json::Result<T>,
    ) -> std::result::Result<T, DecodeError> {
        let mut json = serde_json::Deserializer::from_str(self.0);
        let value = read(&mut json).map_err(|error| DecodeError::Data(error.into()))?;
        json.end().map_err(|error| DecodeError::Data(error.into()))?;
        Ok(value)
    }
}

impl<'de> VariantAccess<'de> for Content<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> std::result::Result<(), DecodeError> {
        // Whatever an older program put there: a variant that lost its fields can still be read.
        self.read(|json| IgnoredAny::deserialize(json).map(drop))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> std::result::Result<T::Value, DecodeError> {
        self.read(|json| seed.deserialize(json))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> std::result::Result<V::Value, DecodeError> {
        self.read(|json| json.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, DecodeError> {
        self.read(|json| json.deserialize_struct("", fields, visitor))
    }
}

/// The serializer of one event.
struct Capture;

type Captured = (&'static str, String);

fn not_an_enum<T>() -> serde_json::Result<T> {
    Err(serde::ser::Error::custom("events must be an enum with serde's default, externally tagged form"))
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*))*) => {
        $(fn $method(self, $(_: $argument),*) -> serde_json::Result<Captured> {
            not_an_enum()
        })*
    };
}

impl Serializer for Capture {
    type Ok = Captured;
    type Error = serde_json::Error;
    type SerializeSeq = Impossible<Captured, serde_json::Error>;
    type SerializeTuple = Impossible<Captured, serde_json::Error>;
    type SerializeTupleStruct = Impossible<Captured, serde_json::Error>;
    type SerializeTupleVariant = VariantFields;
    type SerializeMap = Impossible<Captured, serde_json::Error>;
    type SerializeStruct = Impossible<Captured, serde_json::Error>;
    type SerializeStructVariant = VariantFields;

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> serde_json::Result<Captured> {
        Ok((variant, "{}".to_owned()))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> serde_json::Result<Captured> {
        Ok((variant, serde_json::to_string(value)?))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> serde_json::Result<VariantFields> {
        Ok(VariantFields::new(variant, b'['))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> serde_json::Result<VariantFields> {
        Ok(VariantFields::new(variant, b'{'))
    }

    refuse! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_f32(f32) serialize_f64(f64)
        serialize_char(char) serialize_str(&str) serialize_bytes(&[u8]) serialize_none() serialize_unit()
        serialize_unit_struct(&'static str)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> serde_json::Result<Captured> {
        not_an_enum()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> serde_json::Result<Captured> {
        // A transparent wrapper around the enum.
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> serde_json::Result<Self::SerializeSeq> {
        not_an_enum()
    }

    fn serialize_tuple(self, _: usize) -> serde_json::Result<Self::SerializeTuple> {
        not_an_enum()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> serde_json::Result<Self::SerializeTupleStruct> {
        not_an_enum()
    }

    fn serialize_map(self, _: Option<usize>) -> serde_json::Result<Self::SerializeMap> {
        not_an_enum()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> serde_json::Result<Self::SerializeStruct> {
        not_an_enum()
    }
}

/// The fields of a struct or tuple variant while they are written.
struct VariantFields {
    variant: &'static str,
    json: Vec<u8>,
}

impl VariantFields {
    fn new(variant: &'static str, opening: u8) -> VariantFields {
        let mut json = Vec::with_capacity(128);
        json.push(opening);
        VariantFields { variant, json }
    }

    fn separate(&mut self) {
        if self.json.len() > 1 {
            self.json.push(b',');
        }
    }

    fn finish(mut self, closing: u8) -> serde_json::Result<Captured> {
        self.json.push(closing);
        let json = String::from_utf8(self.json).map_err(serde::ser::Error::custom)?;
        Ok((self.variant, json))
    }
}

impl SerializeStructVariant for VariantFields {
    type Ok = Captured;
    type Error = serde_json::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> serde_json::Result<()> {
        self.separate();
        serde_json::to_writer(&mut self.json, key)?;
        self.json.push(b':');
        serde_json::to_writer(&mut self.json, value)
    }

    fn end(self) -> serde_json::Result<Captured> {
        self.finish(b'}')
    }
}

impl SerializeTupleVariant for VariantFields {
    type Ok = Captured;
    type Error = serde_json::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> serde_json::Result<()> {
        self.separate();
        serde_json::to_writer(&mut self.json, value)
    }

    fn end(self) -> serde_json::Result<Captured> {
        self.finish(b']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Point {
        x: i64,
        label: String,
    }

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Shape {
        Closed,
        Moved(Point),
        Counted(u64),
        Pair(i64, Option<String>),
        #[serde(rename_all = "camelCase")]
        Drawn {
            line_width: f64,
            at: Option<Point>,
        },
        Empty {},
        #[serde(rename = "Renamed!")]
        Other {
            text: String,
        },
        #[serde(alias = "old_name")]
        NewName(Vec<u8>),
    }

    fn all() -> Vec<(Shape, &'static str, &'static str)> {
        let point = Point { x: -1, label: "ü\"".into() };
        vec![
            (Shape::Closed, "closed", "{}"),
            (Shape::Moved(point.clone()), "moved", r#"{"x":-1,"label":"ü\""}"#),
            (Shape::Counted(u64::MAX), "counted", "18446744073709551615"),
            (Shape::Pair(3, None), "pair", "[3,null]"),
            (Shape::Drawn { line_width: 0.5, at: Some(point) }, "drawn", r#"{"lineWidth":0.5,"at":{"x":-1,"label":"ü\""}}"#),
            (Shape::Empty {}, "empty", "{}"),
            (Shape::Other { text: "\u{0}".into() }, "Renamed!", "{\"text\":\"\\u0000\"}"),
            (Shape::NewName(vec![1, 2]), "new_name", "[1,2]"),
        ]
    }

    #[test]
    fn every_form_of_variant_there_and_back() {
        for (event, name, data) in all() {
            let (written_name, written) = encode(&event).unwrap();
            assert_eq!((written_name, written.as_str()), (name, data));
            assert_eq!(decode::<Shape>(written_name, &written).unwrap(), event);
        }
    }

    #[test]
    fn the_shape_is_serde_jsons_own() {
        for (event, name, data) in all().into_iter().skip(1) {
            let whole = serde_json::to_value(&event).unwrap();
            assert_eq!(whole[name], serde_json::from_str::<Value>(data).unwrap());
        }
    }

    #[test]
    fn aliases_and_variants_that_lost_their_fields_are_read() {
        assert_eq!(decode::<Shape>("old_name", "[7]").unwrap(), Shape::NewName(vec![7]));
        for data in ["null", "{}", r#"{"why":"forgotten"}"#] {
            assert_eq!(decode::<Shape>("closed", data).unwrap(), Shape::Closed);
        }
    }

    #[test]
    fn an_unknown_name_is_told_from_bad_data() {
        assert!(matches!(decode::<Shape>("nothing", "{}"), Err(DecodeError::UnknownVariant)));
        assert!(matches!(decode::<Shape>("counted", "-1"), Err(DecodeError::Data(_))));
        assert!(matches!(decode::<Shape>("counted", "1 2"), Err(DecodeError::Data(_))));
    }

    #[test]
    fn serde_other_catches_unknown_names() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        enum Some {
            Known(u8),
            #[serde(other)]
            Unknown,
        }
        assert_eq!(decode::<Some>("Known", "1").unwrap(), Some::Known(1));
        assert_eq!(decode::<Some>("NeverSeen", r#"{"a":1}"#).unwrap(), Some::Unknown);
    }

    #[test]
    fn other_forms_of_enum_are_refused() {
        #[derive(serde::Serialize)]
        #[serde(tag = "type")]
        enum Tagged {
            A { x: u8 },
        }
        assert_eq!(encode(&Tagged::A { x: 1 }).unwrap_err().kind(), ErrorKind::Codec);
        assert_eq!(encode(&5).unwrap_err().kind(), ErrorKind::Codec);
    }
}
