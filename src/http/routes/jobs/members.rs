//! Finds the names of a struct's JSON members from its `Deserialize` implementation.

use serde::{
    Deserializer,
    de::{DeserializeOwned, Error, Visitor, value},
    forward_to_deserialize_any,
};

/// Returns the names of a struct's members.
pub(crate) fn member_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut collector = Collector(&[]);
    // Always fails, after it has the names.
    let _ = T::deserialize(&mut collector);
    collector.0
}

struct Collector(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut Collector {
    type Error = value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        members: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, value::Error> {
        self.0 = members;
        Err(Error::custom("only the names are needed"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(Error::custom("it is not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}
