//! Source of the bytes: a file, or the binary itself.
//!
//! The first bytes of a file show what it is, whatever it is called: xz and gzip are unpacked, UTF-16 becomes UTF-8, and what can't be
//! read as CSV at all is told by its name.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::PathBuf,
};

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE};
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;

use super::{
    Error,
    rows::{Damage, Rows},
};

const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
/// The first bytes of what can't be read, and what it is and what to do about it.
const FOREIGN: [(&[u8], &str); 7] = [
    (b"PK\x03\x04", "is a workbook (.xlsx, .ods) or another zip archive: save the sheet as \"CSV UTF-8\", or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "is an old workbook (.xls): save the sheet as \"CSV UTF-8\""),
    (b"%PDF", "is a PDF document: get the table as CSV"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd: unpack it, as with `unzstd`"),
    (b"BZh", "is compressed by bzip2: unpack it, as with `bunzip2`"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it"),
    (b"\xff\xfe\0\0", "is UTF-32: save it as UTF-8"),
];
/// Number of a file's first bytes that say what it is.
const HEAD_BYTES: u64 = 8;
/// How much is read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Something to import.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Separator of its fields; by default what its first line says.
        separator: Option<char>,
    },
    /// Something that came with the binary.
    Embedded {
        /// What to call it.
        name: &'static str,
        /// What is in it.
        bytes: &'static [u8],
    },
}

/// A reader of either: unpacked, and UTF-8 if it is what it seems to be.
pub type Reader = Box<dyn BufRead + Send>;

impl Source {
    /// Its rows, from the first one.
    pub fn rows(&self) -> Result<Rows<Reader>, Error> {
        match self {
            Self::Embedded { bytes, .. } => Ok(Rows::new(Box::new(*bytes), None)),
            Self::File { separator, .. } => Ok(Rows::new(self.open()?, *separator)),
        }
    }

    /// An error of [`Rows`] in this source.
    pub fn damaged(&self, (line, damage): (u64, Damage)) -> Error {
        Error::Damaged { file: self.to_string(), line, damage }
    }

    fn open(&self) -> Result<Reader, Error> {
        let Self::File { path, .. } = self else { return Ok(Box::new(io::empty())) };
        let failed = |source| Error::Open { file: self.to_string(), source };
        let file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Error::NotAFile { file: self.to_string() });
        }
        let (head, packed) = self.head(BufReader::with_capacity(BUFFER_BYTES, file))?;
        let unpacked: Reader = if head.starts_with(XZ_MAGIC) {
            buffered(XzDecoder::new_multi_decoder(packed))
        } else if head.starts_with(GZIP_MAGIC) {
            buffered(MultiGzDecoder::new(packed))
        } else {
            Box::new(packed)
        };
        let (head, unpacked) = self.head(unpacked)?;
        if let Some((_, reason)) = FOREIGN.into_iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(Error::Foreign { file: self.to_string(), reason });
        }
        Ok(match utf16(&head) {
            Some(decoder) => Box::new(Utf16 { reader: unpacked, decoder, text: Vec::new(), taken: 0, end: None }),
            None => Box::new(unpacked),
        })
    }

    /// The first bytes of `reader`, and a reader that begins with them.
    fn head<R: BufRead>(&self, mut reader: R) -> Result<(Vec<u8>, impl BufRead + use<R>), Error> {
        let mut head = Vec::new();
        let read = reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head);
        read.map_err(|error| self.damaged((1, error.into())))?;
        Ok((head.clone(), Cursor::new(head).chain(reader)))
    }
}

fn buffered(reader: impl Read + Send + 'static) -> Reader {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, reader))
}

/// The decoder of a text that begins with `head`, where it is UTF-16: with a byte order mark, or with a zero byte in its first character,
/// as every letter of a header has one.
fn utf16(head: &[u8]) -> Option<Decoder> {
    match *head {
        [0xff, 0xfe, ..] => Some(UTF_16LE.new_decoder_with_bom_removal()),
        [0xfe, 0xff, ..] => Some(UTF_16BE.new_decoder_with_bom_removal()),
        [first, 0, second, 0, ..] if first != 0 && second != 0 => Some(UTF_16LE.new_decoder_without_bom_handling()),
        [0, first, 0, second, ..] if first != 0 && second != 0 => Some(UTF_16BE.new_decoder_without_bom_handling()),
        _ => None,
    }
}

/// A text is not the UTF-16 that it began as.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("this is not UTF-16")]
pub struct NotUtf16;

/// UTF-16 as UTF-8.
struct Utf16<R> {
    reader: R,
    decoder: Decoder,
    /// Text that was decoded last, in UTF-8, and how many bytes of it are taken.
    text: Vec<u8>,
    taken: usize,
    /// End of the text after that, once it is known to be the last: an error where the text is not whole.
    end: Option<Result<(), NotUtf16>>,
}

impl<R: BufRead> BufRead for Utf16<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.taken == self.text.len() {
            match self.end {
                Some(Ok(())) => return Ok(&[]),
                Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                None => {}
            }
            let coded = self.reader.fill_buf()?;
            let is_last = coded.is_empty();
            let room = self.decoder.max_utf8_buffer_length_without_replacement(coded.len());
            self.text.resize(room.ok_or(io::ErrorKind::OutOfMemory)?, 0);
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(coded, &mut self.text, is_last);
            self.reader.consume(read);
            self.text.truncate(written);
            self.taken = 0;
            self.end = match result {
                DecoderResult::Malformed(..) => Some(Err(NotUtf16)),
                _ => is_last.then_some(Ok(())),
            };
        }
        Ok(&self.text[self.taken..])
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount;
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => path.display().fmt(f),
            Self::Embedded { name, .. } => f.write_str(name),
        }
    }
}
