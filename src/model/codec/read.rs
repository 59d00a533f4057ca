//! Reading: deserializers that put the event type back where each of serde's forms has it.

use std::cell::Cell;

use serde::de::value::{BytesDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, IntoDeserializer, MapAccess,
    VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::shape::Shape;
use super::{DecodeError, Decoded};
use crate::model::redacted::Redacted;

/// Reads an event. Only the external form costs nothing beyond reading the data.
pub(super) fn read<E: DeserializeOwned>(name: &str, data: &str) -> Decoded<E> {
    match E::deserialize(External { name, data }) {
        Err(DecodeError::OtherForm) => match Shape::of::<E>() {
            Shape::Internal { tag } => tagged::<E>(name, data, Form::Internal { tag }),
            Shape::Adjacent { tag, content } => adjacent(name, data, tag, content),
            Shape::CatchAll { known } => catch_all(name, data, known),
            Shape::Refused(why) => Err(DecodeError::NotAnEnum(why)),
            Shape::External => Err(DecodeError::NotAnEnum("events must be an enum with serde's derives".to_owned())),
        },
        done => done,
    }
}

fn tagged<E: DeserializeOwned>(name: &str, data: &str, form: Form) -> Decoded<E> {
    let is_unknown = Cell::new(false);
    let mut json = serde_json::Deserializer::from_str(data);
    let read = E::deserialize(Members { name, form, json: &mut json, is_unknown: &is_unknown });
    match read.and_then(|event| json.end().map(|()| event)) {
        Ok(event) => Ok(event),
        Err(_) if is_unknown.get() => Err(DecodeError::UnknownVariant(&[])),
        Err(error) => Err(DecodeError::Data(error.into())),
    }
}

fn adjacent<E: DeserializeOwned>(name: &str, data: &str, tag: &'static str, content: &'static str) -> Decoded<E> {
    let form = Form::Adjacent { tag, content };
    match tagged(name, data, form) {
        // Data that an older program stored for it is ignored, as in the other forms.
        Err(DecodeError::Data(reason)) if reason.expects("unit variant ") => tagged(name, "null", form),
        done => done,
    }
}

/// An external enum with an untagged variant. serde also tries that variant if only the data of a known variant does
/// not fit. Then the event must be an error, not an unknown event.
fn catch_all<E: DeserializeOwned>(name: &str, data: &str, known: &[&str]) -> Decoded<E> {
    if !known.contains(&name) {
        let unknown = |_| DecodeError::UnknownVariant(&[]);
        return match E::deserialize(Entry { key: Key::Text(name), data }) {
            // A unit variant of an enum inside the untagged variant.
            Err(_) if data == "{}" => E::deserialize(StrDeserializer::<DecodeError>::new(name)).map_err(unknown),
            done => done.map_err(unknown),
        };
    }
    // A variant also accepts its name as bytes, but a JSON value does not accept such a key.
    let read = |data| DecodeError::noting_the_first(|| E::deserialize(Entry { key: Key::Bytes(name.as_bytes()), data }));
    match read(data) {
        (Err(_), Some(DecodeError::Data(reason))) if reason.expects("unit") => read("null").0,
        // This is about an enum inside the data, because the event's own name is known.
        (Err(_), Some(DecodeError::UnknownVariant(names))) => {
            Err(DecodeError::Data(Redacted::of(&format!("unknown variant ``, expected `{}`", names.join("` or `")))))
        }
        (Err(error), first) => Err(first.unwrap_or(error)),
        (done, _) => done,
    }
}

/// An externally tagged enum.
struct External<'n, 'de> {
    name: &'n str,
    data: &'de str,
}

impl<'de> Deserializer<'de> for External<'_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Decoded<V::Value> {
        Err(DecodeError::OtherForm)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Decoded<V::Value> {
        visitor.visit_enum(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Decoded<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for External<'_, 'de> {
    type Error = DecodeError;
    type Variant = Content<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Decoded<(V::Value, Content<'de>)> {
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
    ) -> Decoded<T> {
        let mut json = serde_json::Deserializer::from_str(self.0);
        let value = read(&mut json).map_err(|error| DecodeError::Data(error.into()))?;
        json.end().map_err(|error| DecodeError::Data(error.into()))?;
        Ok(value)
    }
}

impl<'de> VariantAccess<'de> for Content<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Decoded<()> {
        // A variant that lost its fields must still read whatever an older program stored.
        self.read(|json| IgnoredAny::deserialize(json).map(drop))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Decoded<T::Value> {
        self.read(|json| seed.deserialize(json))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Decoded<V::Value> {
        self.read(|json| json.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Decoded<V::Value> {
        self.read(|json| json.deserialize_struct("", fields, visitor))
    }
}

#[derive(Clone, Copy)]
enum Form {
    Internal { tag: &'static str },
    Adjacent { tag: &'static str, content: &'static str },
}

type Reader<'r, 'de> = &'r mut serde_json::Deserializer<serde_json::de::StrRead<'de>>;

/// An internally or adjacently tagged enum: a map whose first member is the tag.
struct Members<'r, 'de> {
    name: &'r str,
    form: Form,
    json: Reader<'r, 'de>,
    /// Set if the tag itself is unknown, not something in the data.
    is_unknown: &'r Cell<bool>,
}

impl<'de> Deserializer<'de> for Members<'_, 'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> serde_json::Result<V::Value> {
        let Members { name, form, json, is_unknown } = self;
        match form {
            Form::Internal { tag } => json.deserialize_map(AfterTag { tag: Tag::new(tag, name, is_unknown), visitor }),
            Form::Adjacent { tag, content } => {
                let rest = Single { key: Some(content), json };
                visitor.visit_map(TagFirst { tag: Tag::new(tag, name, is_unknown), rest })
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Tag<'r> {
    key: Option<&'static str>,
    value: Option<&'r str>,
    is_unknown: &'r Cell<bool>,
}

impl<'r> Tag<'r> {
    fn new(key: &'static str, value: &'r str, is_unknown: &'r Cell<bool>) -> Tag<'r> {
        Tag { key: Some(key), value: Some(value), is_unknown }
    }
}

/// Visits the tag and then the data's members.
struct AfterTag<'r, V> {
    tag: Tag<'r>,
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for AfterTag<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, rest: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(TagFirst { tag: self.tag, rest })
    }
}

struct TagFirst<'r, A> {
    tag: Tag<'r>,
    rest: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for TagFirst<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.tag.key.take() {
            Some(key) => seed.deserialize(StrDeserializer::new(key)).map(Some),
            None => self.rest.next_key_seed(seed),
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let Some(name) = self.tag.value.take() else { return self.rest.next_value_seed(seed) };
        seed.deserialize(StrDeserializer::<DecodeError>::new(name)).map_err(|error| {
            self.tag.is_unknown.set(matches!(error, DecodeError::UnknownVariant(_)));
            A::Error::custom(error)
        })
    }
}

/// A map with one member, whose value is the whole text.
struct Single<'r, 'de> {
    key: Option<&'static str>,
    json: Reader<'r, 'de>,
}

impl<'de> MapAccess<'de> for Single<'_, 'de> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> serde_json::Result<Option<K::Value>> {
        self.key.take().map(|key| seed.deserialize(StrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> serde_json::Result<T::Value> {
        seed.deserialize(&mut *self.json)
    }
}

#[derive(Clone, Copy)]
enum Key<'n> {
    Text(&'n str),
    Bytes(&'n [u8]),
}

/// An external enum as JSON has it: a map with one member.
struct Entry<'n, 'de> {
    key: Key<'n>,
    data: &'de str,
}

impl<'de> Deserializer<'de> for Entry<'_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        visitor.visit_map(EntryMap { key: Some(self.key), data: self.data })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Decoded<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct EntryMap<'n, 'de> {
    key: Option<Key<'n>>,
    data: &'de str,
}

impl<'de> MapAccess<'de> for EntryMap<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Decoded<Option<K::Value>> {
        match self.key.take() {
            None => Ok(None),
            Some(Key::Text(name)) => seed.deserialize(StrDeserializer::new(name)).map(Some),
            Some(Key::Bytes(name)) => seed.deserialize(BytesDeserializer::new(name)).map(Some),
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Decoded<T::Value> {
        Content(self.data).read(|json| seed.deserialize(json))
    }
}
