//! Data of archived events, compressed with zstd. Such data is a blob in the archive, and text everywhere else.

use std::borrow::Cow;

use rusqlite::types::ValueRef;

use crate::model::error::{Error, ErrorKind, Result};

/// The data of an event, unpacked if it is packed. `None` if it is neither text nor packed text.
pub(crate) fn text(value: ValueRef<'_>) -> Result<Option<Cow<'_, str>>> {
    match value {
        ValueRef::Text(text) => Ok(std::str::from_utf8(text).ok().map(Cow::Borrowed)),
        ValueRef::Blob(packed) => unpack(packed).map(|text| text.map(Cow::Owned)),
        _ => Ok(None),
    }
}

/// A compressed text; `None` if it would not be shorter.
#[cfg(feature = "zstd")]
pub(crate) fn pack(text: &str) -> Result<Option<Vec<u8>>> {
    const LEVEL: i32 = 3;
    let packed = zstd::bulk::compress(text.as_bytes(), LEVEL);
    let packed = packed.map_err(|error| Error::new(ErrorKind::Internal, "an event cannot be compressed").caused_by(error))?;
    Ok(Some(packed).filter(|packed| packed.len() < text.len()))
}

#[cfg(not(feature = "zstd"))]
pub(crate) fn pack(_: &str) -> Result<Option<Vec<u8>>> {
    Ok(None)
}

#[cfg(feature = "zstd")]
fn unpack(packed: &[u8]) -> Result<Option<String>> {
    // The frame says how long the text is; a damaged one must not ask for all memory.
    const LONGEST: usize = 1 << 30;
    let length = zstd::bulk::Decompressor::upper_bound(packed).filter(|length| *length <= LONGEST);
    let bytes = length.and_then(|length| zstd::bulk::decompress(packed, length).ok());
    // Nothing is what zstd makes of nothing, and no JSON.
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.is_empty()))
}

#[cfg(not(feature = "zstd"))]
fn unpack(_: &[u8]) -> Result<Option<String>> {
    Err(Error::new(ErrorKind::FeatureMissing, "the archive is compressed, and this build cannot read it")
        .advice("build the application with foldlog's feature `zstd`"))
}

#[cfg(all(test, feature = "zstd"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_what_is_damaged_does_not() {
        let long = "{\"text\":\"so it goes\"}".repeat(50);
        let mut packed = pack(&long).unwrap().unwrap();
        assert!(packed.len() < long.len() / 5);
        assert_eq!(text(ValueRef::Blob(&packed)).unwrap().unwrap(), long);
        assert_eq!(pack("{\"a\":1}").unwrap(), None, "it would be longer");
        for at in 0..packed.len() {
            packed[at] ^= 0x55;
            let _ = text(ValueRef::Blob(&packed)).unwrap();
            packed[at] ^= 0x55;
        }
        assert_eq!(text(ValueRef::Blob(b"")).unwrap(), None);
    }
}
