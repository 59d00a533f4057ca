//! Space that is set aside for the day when the disk is full.
//!
//! What is in the write-ahead log can only be moved into the file if the file can grow, and a purge first needs room in
//! the log. So a file of zeros beside the store takes that space beforehand, and is removed when it is needed.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use super::paths::beside;

/// Makes the reserve if there is none of this size. A failure is ignored: then the disk is full already.
pub(super) fn fill(path: &Path, bytes: u64) {
    let reserve = beside(path, "-reserve");
    let filled = || -> io::Result<()> {
        if std::fs::metadata(&reserve).is_ok_and(|file| file.len() >= bytes) {
            return Ok(());
        }
        let _ = std::fs::remove_file(&reserve);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&reserve)?;
        // Written, because a file system may keep no space for what is only a length.
        let zeros = vec![0; 64 << 10];
        let mut left = bytes;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
            file.write_all(zeros.get(..part).unwrap_or_default())?;
            left = left.saturating_sub(part as u64);
        }
        file.sync_all()
    };
    if filled().is_err() {
        release(path);
    }
}

/// Gives the reserve back to the file system. `false` if there is none.
pub(super) fn release(path: &Path) -> bool {
    std::fs::remove_file(beside(path, "-reserve")).is_ok()
}
