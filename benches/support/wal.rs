//! What commits write to the write-ahead log, counted from outside: SQLite keeps the number of its frames in the header of
//! the `-shm` file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// A page of 4,096 bytes and its header.
pub const FRAME_BYTES: f64 = 4_120.0;

/// Where the log's end and its salt are in the header; the salt changes when the log begins anew.
const FRAMES: usize = 16;
const SALT: usize = 32;

pub struct Wal {
    index: File,
    frames: u32,
    salt: [u8; 8],
}

impl Wal {
    /// The log of a file that is open in this process.
    pub fn of(path: &Path) -> Wal {
        let mut name = path.as_os_str().to_owned();
        name.push("-shm");
        let mut wal = Wal { index: File::open(name).unwrap(), frames: 0, salt: [0; 8] };
        wal.written();
        wal
    }

    /// Frames written since the last call.
    pub fn written(&mut self) -> u32 {
        let mut header = [0u8; 48];
        self.index.seek(SeekFrom::Start(0)).unwrap();
        self.index.read_exact(&mut header).unwrap();
        let frames = u32::from_ne_bytes(header[FRAMES..FRAMES + 4].try_into().unwrap());
        let salt = header[SALT..SALT + 8].try_into().unwrap();
        let written = if salt == self.salt { frames - self.frames } else { frames };
        (self.frames, self.salt) = (frames, salt);
        written
    }
}
