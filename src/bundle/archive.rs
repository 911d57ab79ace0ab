//! A bundle as one file: a tar archive of plain files only, in the order of the index.
//!
//! The reader knows which file must come next and accepts no other. So a name in an archive is only compared.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use tar::{EntryType, Header};

use super::{Size, refused};
use crate::error::{Error, Kind, Result};

/// tar's block, in bytes.
const BLOCK: usize = 512;

/// An archive that is read once, from its beginning.
pub(crate) struct BundleReader<R> {
    name: String,
    input: R,
    /// What remains of the current file, and of the padding after it.
    left: u64,
    filling: u64,
    /// A header that was read before it was asked for.
    next: Option<Header>,
}

impl BundleReader<File> {
    /// Whether a file looks like a tar archive: the magic that both POSIX and GNU write.
    pub(crate) fn is_one(path: &Path) -> Result<bool> {
        let mut block = Vec::new();
        let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
        file.take(BLOCK as u64).read_to_end(&mut block).map_err(|error| Error::io("read", path, error))?;
        Ok(block.get(257..262) == Some(b"ustar"))
    }
}

impl<R: Read> BundleReader<R> {
    /// `name` is for messages.
    pub(crate) fn new(name: impl Into<String>, input: R) -> BundleReader<R> {
        BundleReader { name: name.into(), input, left: 0, filling: 0, next: None }
    }

    /// Whether the next file has this name.
    pub(super) fn comes(&mut self, name: &str) -> Result<bool> {
        let header = self.header()?;
        let comes = header.path_bytes().as_ref() == name.as_bytes();
        self.next = Some(header);
        Ok(comes)
    }

    /// The next file, which must have this name and size.
    pub(super) fn open(&mut self, name: &str, size: Size) -> Result<CurrentFile<'_, R>> {
        let header = self.header()?;
        let found = header.path_bytes();
        if found.as_ref() != name.as_bytes() {
            let found = String::from_utf8_lossy(&found).escape_debug().to_string();
            return Err(refused(format!("{} does not contain what its index says", self.name))
                .because(format!("expected {name}, got `{}`", found.chars().take(200).collect::<String>())));
        }
        // Only plain files: links, devices, directories, sparse files and extended headers have other types.
        if header.entry_type() != EntryType::Regular {
            return Err(refused(format!("{name} of the bundle is not a plain file")));
        }
        let found = header.entry_size().map_err(|error| self.broken().because(error))?;
        size.check(name, found)?;
        self.left = found;
        self.filling = found.wrapping_neg() % BLOCK as u64;
        Ok(CurrentFile { archive: self })
    }

    /// Checks that only tar's end follows: two blocks of zeros.
    pub(super) fn finish(mut self) -> Result<()> {
        self.skip()?;
        let mut end = Vec::new();
        let wanted = 2 * BLOCK;
        let read = (&mut self.input).take(wanted as u64 + 1).read_to_end(&mut end);
        read.map_err(|error| self.unreadable(error))?;
        if end.len() < wanted {
            return Err(self.cut_short());
        }
        if end.len() > wanted || end.iter().any(|byte| *byte != 0) {
            return Err(refused(format!("{} continues after its end", self.name)));
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Header> {
        if let Some(header) = self.next.take() {
            return Ok(header);
        }
        self.skip()?;
        let mut header = Header::new_old();
        self.input.read_exact(header.as_mut_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.cut_short(),
            _ => self.unreadable(error),
        })?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(self.cut_short());
        }
        // In the checksum, its own eight bytes count as spaces.
        let sum = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        if header.cksum().ok() != Some(sum) {
            return Err(self.broken());
        }
        Ok(header)
    }

    /// Skips what remains of the current file.
    fn skip(&mut self) -> Result<()> {
        let left = self.left + self.filling;
        let passed = io::copy(&mut (&mut self.input).take(left), &mut io::sink());
        let passed = passed.map_err(|error| self.unreadable(error))?;
        (self.left, self.filling) = (0, 0);
        if passed == left { Ok(()) } else { Err(self.cut_short()) }
    }

    fn cut_short(&self) -> Error {
        refused(format!("{} ends before all files of its index", self.name))
    }

    fn broken(&self) -> Error {
        refused(format!("{} is not a valid tar archive", self.name))
    }

    fn unreadable(&self, error: io::Error) -> Error {
        Error::new(Kind::Io, format!("could not read {}", self.name)).because(error)
    }
}

/// The bytes of the current file.
pub(super) struct CurrentFile<'a, R> {
    archive: &'a mut BundleReader<R>,
}

impl<R: Read> Read for CurrentFile<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.archive.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.archive.input.read(&mut buffer[..most])?;
        self.archive.left -= count as u64;
        Ok(count)
    }
}

/// Writes the header of a plain file, without anything of this machine, its user or the time of day.
pub(super) fn write_header(to: &mut impl Write, name: &str, size: u64, mode: u32) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    to.write_all(header.as_bytes())
}

/// Writes the padding after a file.
pub(super) fn write_filling(to: &mut impl Write, size: u64) -> io::Result<()> {
    let filling = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or_default();
    to.write_all(&[0; BLOCK][..filling])
}

/// Writes the end of the archive.
pub(super) fn write_end(to: &mut impl Write) -> io::Result<()> {
    to.write_all(&[0; 2 * BLOCK])?;
    to.flush()
}
