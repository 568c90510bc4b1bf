//! Where the bytes come from: a file, xz-compressed or not, or the binary itself.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
};

use liblzma::bufread::XzDecoder;

use super::{
    Error,
    rows::{Damage, Rows},
};

/// What an xz stream begins with, whatever the file is called.
const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";
/// How much is read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Something to import.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Something that came with the binary.
    Embedded {
        /// What to call it.
        name: &'static str,
        /// What is in it.
        bytes: &'static [u8],
    },
}

/// A reader of either, decompressed.
pub type Reader = Box<dyn BufRead + Send>;

impl Source {
    /// Its rows, from the first one.
    pub fn rows(&self) -> Result<Rows<Reader>, Error> {
        Ok(Rows::new(self.open()?))
    }

    /// An error of [`Rows`] in this source.
    pub fn damaged(&self, (line, damage): (u64, Damage)) -> Error {
        Error::Damaged { file: self.to_string(), line, damage }
    }

    fn open(&self) -> Result<Reader, Error> {
        match self {
            Self::Embedded { bytes, .. } => Ok(Box::new(*bytes)),
            Self::File(path) => {
                let failed = |source| Error::Open { file: self.to_string(), source };
                let file = File::open(path).map_err(failed)?;
                if !file.metadata().map_err(failed)?.is_file() {
                    return Err(Error::NotAFile { file: self.to_string() });
                }
                let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
                if reader.fill_buf().map_err(failed)?.starts_with(XZ_MAGIC) {
                    return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, XzDecoder::new_multi_decoder(reader))));
                }
                Ok(Box::new(reader))
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Embedded { name, .. } => f.write_str(name),
        }
    }
}
