//! Writing: the serializer that splits an event into its type and its data.

use std::borrow::Cow;

use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeStruct, SerializeStructVariant, SerializeTupleVariant, Serializer,
};
use serde_json::Value;

use super::shape::Shape;

/// Event type and data.
pub(super) type Captured = (Cow<'static, str>, String);

/// The serializer of one event. An externally tagged enum names its variant. For all other forms `shape` says where to
/// find the name.
#[derive(Clone, Copy)]
pub(super) struct Capture {
    pub(super) shape: fn() -> Shape,
}

impl Capture {
    fn refuse<T>(self) -> serde_json::Result<T> {
        Err(serde_json::Error::custom(match (self.shape)() {
            Shape::Refused(why) => why,
            Shape::CatchAll { .. } => CATCH_ALL.to_owned(),
            _ => "events must be an enum with serde's derives".to_owned(),
        }))
    }

    fn tagged(self) -> serde_json::Result<Tagged> {
        match (self.shape)() {
            Shape::Refused(_) | Shape::External => self.refuse(),
            shape => Ok(Tagged { shape, name: None, json: Vec::with_capacity(128), key: String::new() }),
        }
    }
}

const CATCH_ALL: &str = "the untagged variant must hold an object with one member, event type and data, such as \
                         `#[serde(untagged)] Other(serde_json::Value)` has when it was read";

macro_rules! refuse {
    ($($method:ident($($argument:ty),*) -> $result:ty)*) => {
        $(fn $method(self, $(_: $argument),*) -> serde_json::Result<$result> {
            self.refuse()
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
    type SerializeMap = Tagged;
    type SerializeStruct = Tagged;
    type SerializeStructVariant = VariantFields;

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> serde_json::Result<Captured> {
        Ok((variant.into(), "{}".to_owned()))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> serde_json::Result<Captured> {
        Ok((variant.into(), serde_json::to_string(value)?))
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

    fn serialize_map(self, _: Option<usize>) -> serde_json::Result<Tagged> {
        self.tagged()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> serde_json::Result<Tagged> {
        self.tagged()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> serde_json::Result<Captured> {
        // A transparent wrapper around the enum.
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> serde_json::Result<Captured> {
        self.refuse()
    }

    refuse! {
        serialize_bool(bool) -> Captured
        serialize_i8(i8) -> Captured
        serialize_i16(i16) -> Captured
        serialize_i32(i32) -> Captured
        serialize_i64(i64) -> Captured
        serialize_u8(u8) -> Captured
        serialize_u16(u16) -> Captured
        serialize_u32(u32) -> Captured
        serialize_u64(u64) -> Captured
        serialize_f32(f32) -> Captured
        serialize_f64(f64) -> Captured
        serialize_char(char) -> Captured
        serialize_str(&str) -> Captured
        serialize_bytes(&[u8]) -> Captured
        serialize_none() -> Captured
        serialize_unit() -> Captured
        serialize_unit_struct(&'static str) -> Captured
        serialize_seq(Option<usize>) -> Self::SerializeSeq
        serialize_tuple(usize) -> Self::SerializeTuple
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct
    }
}

fn separate(json: &mut Vec<u8>) {
    if json.len() > 1 {
        json.push(b',');
    }
}

fn member<T: Serialize + ?Sized>(json: &mut Vec<u8>, key: &str, value: &T) -> serde_json::Result<()> {
    separate(json);
    serde_json::to_writer(&mut *json, key)?;
    json.push(b':');
    serde_json::to_writer(json, value)
}

fn text(json: Vec<u8>) -> serde_json::Result<String> {
    String::from_utf8(json).map_err(serde_json::Error::custom)
}

/// The fields of a struct or tuple variant, as they are written.
pub(super) struct VariantFields {
    variant: &'static str,
    json: Vec<u8>,
}

impl VariantFields {
    fn new(variant: &'static str, opening: u8) -> VariantFields {
        let mut json = Vec::with_capacity(128);
        json.push(opening);
        VariantFields { variant, json }
    }

    fn finish(mut self, closing: u8) -> serde_json::Result<Captured> {
        self.json.push(closing);
        Ok((self.variant.into(), text(self.json)?))
    }
}

impl SerializeStructVariant for VariantFields {
    type Ok = Captured;
    type Error = serde_json::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> serde_json::Result<()> {
        member(&mut self.json, key, value)
    }

    fn end(self) -> serde_json::Result<Captured> {
        self.finish(b'}')
    }
}

impl SerializeTupleVariant for VariantFields {
    type Ok = Captured;
    type Error = serde_json::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> serde_json::Result<()> {
        separate(&mut self.json);
        serde_json::to_writer(&mut self.json, value)
    }

    fn end(self) -> serde_json::Result<Captured> {
        self.finish(b']')
    }
}

/// The members of all other forms, as they are written.
pub(super) struct Tagged {
    shape: Shape,
    name: Option<String>,
    json: Vec<u8>,
    /// The key whose value comes next.
    key: String,
}

impl Tagged {
    fn entry<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> serde_json::Result<()> {
        match self.shape {
            Shape::Internal { tag } | Shape::Adjacent { tag, .. } if key == tag && self.name.is_none() => {
                self.name = Some(as_key(value)?);
            }
            Shape::Internal { .. } => {
                if self.json.is_empty() {
                    self.json.push(b'{');
                }
                member(&mut self.json, key, value)?;
            }
            Shape::Adjacent { content, .. } if key == content => self.json = serde_json::to_vec(value)?,
            Shape::CatchAll { .. } if self.name.is_none() => {
                self.name = Some(key.to_owned());
                self.json = serde_json::to_vec(value)?;
            }
            _ => return Err(serde_json::Error::custom(CATCH_ALL)),
        }
        Ok(())
    }

    fn finish(mut self) -> serde_json::Result<Captured> {
        let Some(name) = self.name else {
            return Err(serde_json::Error::custom(CATCH_ALL));
        };
        if self.json.is_empty() {
            self.json.push(b'{');
        }
        // In the forms with a separate content, a value is already complete.
        if matches!(self.shape, Shape::Internal { .. }) || self.json == b"{" {
            self.json.push(b'}');
        }
        Ok((name.into(), text(self.json)?))
    }
}

/// A value in the form of a JSON key.
fn as_key<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    match serde_json::to_value(value)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        _ => Err(serde_json::Error::custom("key must be a string")),
    }
}

impl SerializeStruct for Tagged {
    type Ok = Captured;
    type Error = serde_json::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> serde_json::Result<()> {
        self.entry(key, value)
    }

    fn end(self) -> serde_json::Result<Captured> {
        self.finish()
    }
}

impl SerializeMap for Tagged {
    type Ok = Captured;
    type Error = serde_json::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> serde_json::Result<()> {
        self.key = as_key(key)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> serde_json::Result<()> {
        let key = std::mem::take(&mut self.key);
        self.entry(&key, value)
    }

    fn end(self) -> serde_json::Result<Captured> {
        self.finish()
    }
}
