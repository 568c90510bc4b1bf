//! Rows of a CSV file (RFC 4180), strictly.
//!
//! Lines end with LF, CR LF, or CR, as the first one does. Fields are separated by what the first line has most of: a comma, a semicolon, a tab
//! or `|`, unless the separator is given.
//!
//! Readers at large are lenient: to them a quote that is never closed makes one field of all the rest of the file, and a file that ends
//! in the middle of a row is fine. Here both are damage, told with the line, and a row is never greater than [`MAX_ROW_BYTES`].

use std::io::{self, BufRead};

use super::source::NotUtf16;

/// The most bytes of a row.
pub const MAX_ROW_BYTES: usize = 1 << 20;
/// Separators of fields where none is given; of two that are as frequent in the first line the first one here counts.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];

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
    /// Not UTF-16, although it began so.
    #[error("the file is UTF-16 up to this line and goes on with bytes that are not: get it whole, or save it as UTF-8")]
    NotUtf16,
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
        let is_not_utf16 = error.get_ref().and_then(|inner| inner.downcast_ref::<NotUtf16>()).is_some();
        if is_not_utf16 {
            return Self::NotUtf16;
        }
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
    /// Separator of fields, once it is known.
    separator: Option<char>,
    /// The byte that lines end with, once it is known.
    line_end: Option<u8>,
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
    /// The rows of `reader`, whose fields `separator` separates; by default what the first line says.
    pub fn new(reader: R, separator: Option<char>) -> Self {
        Self { reader, line: 0, bytes: Vec::new(), width: None, separator, line_end: None }
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
            let separator = *self.separator.get_or_insert_with(|| separator_of(text));
            row.take(text, separator).map_err(|damage| (line, damage))?;
            if row.place != Place::Quoted {
                break;
            }
            row.field.push('\n');
            room = room.saturating_sub(self.bytes.len() + 1);
            is_terminated = self.read_line(room).map_err(|damage| (line, damage))?.ok_or((line, Damage::Unclosed))?;
        }
        row.fields.push(row.field);
        let width = *self.width.get_or_insert(row.fields.len());
        if !is_terminated && row.fields.len() < width {
            return Err((line, Damage::CutOff));
        }
        Ok(Some(Record { line, fields: row.fields, is_terminated }))
    }

    /// Reads a line without its end, and says whether it had one; `None` at the end of the file.
    fn read_line(&mut self, limit: usize) -> Result<Option<bool>, Damage> {
        self.bytes.clear();
        let read = match self.line_end {
            Some(line_end) => self.read_until(&[line_end], limit),
            None => self.read_first_line(limit),
        };
        // Anything else is about what comes after the last line that was read.
        self.line += u64::from(read == Err(Damage::TooLong));
        let end = read?;
        if end.is_none() && self.bytes.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        if end == Some(b'\n') && self.bytes.last() == Some(&b'\r') {
            self.bytes.pop();
        }
        if self.line == 1 && self.bytes.starts_with(b"\xef\xbb\xbf") {
            self.bytes.drain(..3);
        }
        Ok(Some(end.is_some()))
    }

    /// Reads the first line, and remembers what ended it: a CR counts where no LF follows it.
    fn read_first_line(&mut self, limit: usize) -> Result<Option<u8>, Damage> {
        let end = self.read_until(b"\r\n", limit)?;
        self.line_end = end;
        if end == Some(b'\r') && self.reader.fill_buf()?.first() == Some(&b'\n') {
            self.reader.consume(1);
            self.line_end = Some(b'\n');
        }
        Ok(end)
    }

    /// Reads on to one of `ends`, and says which it was; none at the end of the file.
    fn read_until(&mut self, ends: &[u8], limit: usize) -> Result<Option<u8>, Damage> {
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let found = buffer.iter().position(|byte| ends.contains(byte));
            let (read, end) = found.map_or((buffer.len(), None), |at| (at, Some(buffer[at])));
            let is_at_end = buffer.is_empty();
            self.bytes.extend_from_slice(&buffer[..read]);
            self.reader.consume(read + usize::from(end.is_some()));
            if self.bytes.len() > limit {
                return Err(Damage::TooLong);
            }
            if is_at_end || end.is_some() {
                return Ok(end);
            }
        }
    }
}

/// Separator that `header` has most of outside quotes; a comma where it has none.
fn separator_of(header: &str) -> char {
    let mut is_quoted = false;
    let mut counts = [0; SEPARATORS.len()];
    for char in header.chars() {
        is_quoted ^= char == '"';
        if let Some(at) = SEPARATORS.iter().position(|separator| *separator == char && !is_quoted) {
            counts[at] += 1;
        }
    }
    let most = counts.iter().max().copied().unwrap_or(0);
    SEPARATORS.into_iter().zip(counts).find(|(_, count)| *count == most).map_or(',', |(separator, _)| separator)
}

/// A row as far as it was read.
struct Row {
    fields: Vec<String>,
    field: String,
    place: Place,
}

impl Row {
    fn take(&mut self, text: &str, separator: char) -> Result<(), Damage> {
        for char in text.chars() {
            self.place = match (self.place, char) {
                (Place::FieldStart, '"') => Place::Quoted,
                (Place::FieldStart | Place::Plain | Place::Closed, char) if char == separator => {
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
        let mut rows = Rows::new(bytes, None);
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
    fn lines_end_as_the_first_one_does() {
        let expected = [(1, fields(&["a", "b"])), (2, fields(&["1", "x\ny"])), (4, fields(&["3", "4"]))];
        for text in ["a,b\n1,\"x\ny\"\n3,4\n", "a,b\r\n1,\"x\r\ny\"\r\n3,4\r\n", "a,b\r1,\"x\ry\"\r3,4\r", "a,b\r1,\"x\ry\"\r3,4"] {
            assert_eq!(all(text.as_bytes()).unwrap(), expected, "{text:?}");
        }
        assert_eq!(all(b"a,b\n1,x\ry\n").unwrap()[1].1, fields(&["1", "x\ry"]), "a CR in a file of other lines is text");
        assert_eq!(all(b"a,b\r1,2\r3"), Err((3, Damage::CutOff)));
        assert_eq!(all(b"a,b\r").unwrap(), [(1, fields(&["a", "b"]))]);
    }

    #[test]
    fn fields_are_separated_by_what_the_first_line_has_most_of() {
        for (text, expected) in [
            ("a;b;c\n1;2,5;3\n", ["1", "2,5", "3"]),
            ("a\tb\tc\n1\t2,5\t3\n", ["1", "2,5", "3"]),
            ("a|b|c\n1|2;5|3\n", ["1", "2;5", "3"]),
            ("a,b;,c\n1,2;5,3\n", ["1", "2;5", "3"]),
            ("\"a;x;y;z\",b,c\n1,2;5,3\n", ["1", "2;5", "3"]),
        ] {
            assert_eq!(all(text.as_bytes()).unwrap()[1].1, expected, "{text:?}");
        }
        let mut given = Rows::new(&b"a;b,c,d\n"[..], Some(';'));
        assert_eq!(given.next().unwrap().unwrap().fields, ["a", "b,c,d"]);
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
