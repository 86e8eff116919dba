//! JSON for people to read.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

/// `value` on one line, with a space after each `,` and `:`, as Python writes it.
pub(crate) fn line(value: &(impl Serialize + ?Sized)) -> serde_json::Result<String> {
    write(value, Spaced)
}

/// `value` with a line for every item.
pub(crate) fn indented(
    value: &(impl Serialize + ?Sized),
    indent: &str,
) -> serde_json::Result<String> {
    write(value, PrettyFormatter::with_indent(indent.as_bytes()))
}

fn write(
    value: &(impl Serialize + ?Sized),
    formatter: impl Formatter,
) -> serde_json::Result<String> {
    let mut text = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut text, formatter))?;
    // serde_json writes nothing but UTF-8.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
