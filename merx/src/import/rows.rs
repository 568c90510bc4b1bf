//! Rows of a CSV file (RFC 4180), strictly.
//!
//! Readers at large are lenient: to them a quote that is never closed makes one field of all the rest of the file, and a file that ends
//! in the middle of a row is fine. Here both are damage, told with the line, and a row is never greater than [`MAX_ROW_BYTES`].

use std::io::{self, BufRead, Read};

/// The most bytes of a row.
pub const MAX_ROW_BYTES: u64 = 1 << 20;

/// Why a file can't be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It ends in the middle of a row.
    #[error("the file ends in the middle of this row: it was cut off. Get it whole")]
    CutOff,
    /// A quote is opened and never closed.
    #[error("a quote is opened here and not closed before the file ends: close it, or write a quote within a field as \"\"")]
    Unclosed,
    /// Something stands behind a quoted field.
    #[error("there is text behind a closing quote of this row: write a quote within a field as \"\"")]
    AfterQuote,
    /// Not UTF-8.
    #[error("this line is not UTF-8: convert the file, as with `iconv -f latin1 -t utf-8`")]
    NotUtf8,
    /// Longer than any row.
    #[error("a row is longer than {MAX_ROW_BYTES} bytes: a quote is not closed, or this is no CSV file")]
    TooLong,
    /// The compressed data is cut off or damaged.
    #[error("the compressed data ends or is damaged after this line ({0}): get the file whole")]
    Compressed(String),
    /// The disk or the network.
    #[error("the file can't be read on after this line: {0}")]
    Unreadable(String),
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        // The operating system's errors have a number; the decompressor's don't.
        if error.raw_os_error().is_some() { Self::Unreadable(error.to_string()) } else { Self::Compressed(error.to_string()) }
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The line that it begins on, from 1.
    pub line: u64,
    /// Its fields, without their quotes.
    pub fields: Vec<String>,
    /// Whether a line break ends it. The last row of a file may do without, but then it may have been cut off.
    pub is_terminated: bool,
}

/// Reads rows. Blank lines are none.
pub struct Rows<R> {
    reader: R,
    /// The last line that was read.
    line: u64,
    bytes: Vec<u8>,
    /// How many fields the first row had.
    width: Option<usize>,
}

/// Where in a row the reading is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote within a quoted field: it was the closing one, unless another follows.
    Closed,
}

impl<R: BufRead> Rows<R> {
    /// The rows of `reader`.
    pub fn new(reader: R) -> Self {
        Self { reader, line: 0, bytes: Vec::new(), width: None }
    }

    /// The next row; `None` at the end. Errors come with the line that they are about.
    pub fn next(&mut self) -> Result<Option<Record>, (u64, Damage)> {
        let mut is_terminated = loop {
            match self.read_line(MAX_ROW_BYTES).map_err(|damage| (self.line, damage))? {
                None => return Ok(None),
                Some(_) if self.bytes.is_empty() => {}
                Some(is_terminated) => break is_terminated,
            }
        };
        let line = self.line;
        let mut row = Row { fields: Vec::with_capacity(self.width.unwrap_or(0)), field: String::new(), place: Place::FieldStart };
        let mut room = MAX_ROW_BYTES;
        loop {
            let text = str::from_utf8(&self.bytes).map_err(|_| (self.line, Damage::NotUtf8))?;
            row.take(text).map_err(|damage| (line, damage))?;
            if row.place != Place::Quoted {
                break;
            }
            row.field.push('\n');
            room = room.saturating_sub(self.bytes.len() as u64 + 1);
            is_terminated = self.read_line(room).map_err(|damage| (line, damage))?.ok_or((line, Damage::Unclosed))?;
        }
        row.fields.push(row.field);
        let width = *self.width.get_or_insert(row.fields.len());
        if !is_terminated && row.fields.len() < width {
            return Err((line, Damage::CutOff));
        }
        Ok(Some(Record { line, fields: row.fields, is_terminated }))
    }

    /// Reads a line without its break, and says whether it had one; `None` at the end of the file.
    fn read_line(&mut self, limit: u64) -> Result<Option<bool>, Damage> {
        self.bytes.clear();
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.bytes)?;
        if read == 0 {
            return if limit == 0 { Err(Damage::TooLong) } else { Ok(None) };
        }
        self.line += 1;
        let is_terminated = self.bytes.last() == Some(&b'\n');
        if is_terminated {
            self.bytes.pop();
            if self.bytes.last() == Some(&b'\r') {
                self.bytes.pop();
            }
        } else if read as u64 == limit {
            return Err(Damage::TooLong);
        }
        if self.line == 1 && self.bytes.starts_with(b"\xef\xbb\xbf") {
            self.bytes.drain(..3);
        }
        Ok(Some(is_terminated))
    }
}

/// A row as far as it was read.
struct Row {
    fields: Vec<String>,
    field: String,
    place: Place,
}

impl Row {
    fn take(&mut self, text: &str) -> Result<(), Damage> {
        for char in text.chars() {
            self.place = match (self.place, char) {
                (Place::FieldStart, '"') => Place::Quoted,
                (Place::FieldStart | Place::Plain | Place::Closed, ',') => {
                    self.fields.push(std::mem::take(&mut self.field));
                    Place::FieldStart
                }
                (Place::Quoted, '"') => Place::Closed,
                (Place::Closed, '"') | (Place::Quoted, _) => {
                    self.field.push(char);
                    Place::Quoted
                }
                (Place::Closed, _) => return Err(Damage::AfterQuote),
                (Place::FieldStart | Place::Plain, _) => {
                    self.field.push(char);
                    Place::Plain
                }
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row's line, and its fields.
    type Read = (u64, Vec<String>);

    fn all(bytes: &[u8]) -> Result<Vec<Read>, (u64, Damage)> {
        let mut rows = Rows::new(bytes);
        let mut read = Vec::new();
        while let Some(record) = rows.next()? {
            read.push((record.line, record.fields));
        }
        Ok(read)
    }

    fn fields(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn quotes_line_breaks_and_blank_lines_are_read_as_rfc_4180_says() {
        let read = all(b"\xef\xbb\xbfa,b\r\n\n\"x, \"\"y\"\"\",\"1\n2\"\r\n5\" plate,\n,").unwrap();
        let expected =
            [(1, fields(&["a", "b"])), (3, fields(&["x, \"y\"", "1\n2"])), (5, fields(&["5\" plate", ""])), (6, fields(&["", ""]))];
        assert_eq!(read, expected);
    }

    #[test]
    fn damage_is_told_with_its_line() {
        assert_eq!(all(b"a,b\n1,2\n3"), Err((3, Damage::CutOff)));
        assert_eq!(all(b"a,b\n1,\"2\n3,4\n"), Err((2, Damage::Unclosed)));
        assert_eq!(all(b"a,b\n1,\"2\n3,\"4\"\n"), Err((2, Damage::AfterQuote)));
        assert_eq!(all(b"a,b\n1,2\n\xa3,4\n"), Err((3, Damage::NotUtf8)));
        assert_eq!(all(b"a,b\n1,2,3\n4\n").unwrap().len(), 3, "rows of another length are for the importer to judge");
    }

    #[test]
    fn a_row_has_an_end() {
        let mut bytes = b"a\n\"".to_vec();
        bytes.extend(std::iter::repeat_n(*b"xxxxxxx\n", 1 << 18).flatten());
        assert_eq!(all(&bytes), Err((2, Damage::TooLong)));
        assert_eq!(all(&vec![b'x'; 2 << 20]), Err((1, Damage::TooLong)));
    }
}
