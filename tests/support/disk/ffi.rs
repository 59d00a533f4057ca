//! The C face of the disk: a SQLite VFS. The only unsafe code of the project.
//!
//! Every function here is called by SQLite, with the pointers that SQLite's interface promises: the VFS that was
//! registered below, and files that [`x_open`] has filled in.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

use super::state::{Code, REGION, Shared};

/// An open file, as SQLite holds it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    shared: &'static Shared,
    handle: usize,
}

/// A VFS that SQLite knows, until it is dropped.
pub struct Registered {
    name: CString,
    vfs: *mut ffi::sqlite3_vfs,
    shared: &'static Shared,
}

// SAFETY: `vfs` is used to unregister only, which SQLite guards with a lock of its own.
unsafe impl Send for Registered {}
// SAFETY: as above; `shared` is a mutex.
unsafe impl Sync for Registered {}

impl Registered {
    pub fn name(&self) -> &str {
        self.name.to_str().expect("the name is ours")
    }

    pub fn shared(&self) -> &'static Shared {
        self.shared
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: registered by `register` and not yet unregistered. The memory stays: a connection may still be open.
        unsafe { ffi::sqlite3_vfs_unregister(self.vfs) };
    }
}

/// Makes a disk known to SQLite. Leaks a few hundred bytes: open files refer to them.
pub fn register() -> Registered {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let name = CString::new(format!("disk-{}", NEXT.fetch_add(1, Ordering::Relaxed))).expect("no NUL in it");
    let shared: &'static Shared = Box::leak(Box::new(Shared::new()));
    let z_name: &'static CStr = Box::leak(name.clone().into_boxed_c_str());
    static ALONE: Once = Once::new();
    // Counting the memory in use takes a lock that all threads share. If SQLite has begun already it goes on counting: this
    // is about speed only.
    // SAFETY: takes one integer. It refuses by itself if SQLite has begun, and `Once` lets no other disk begin meanwhile.
    ALONE.call_once(|| {
        let _refused = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int) };
    });
    // SAFETY: starts SQLite if need be and gives its own VFS, which is never unregistered.
    let base = unsafe {
        ffi::sqlite3_initialize();
        &*ffi::sqlite3_vfs_find(std::ptr::null())
    };
    let vfs = Box::into_raw(Box::new(ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<File>() as c_int,
        mxPathname: 512,
        pNext: std::ptr::null_mut(),
        zName: z_name.as_ptr(),
        pAppData: std::ptr::from_ref(shared).cast_mut().cast(),
        xOpen: Some(x_open),
        xDelete: Some(x_delete),
        xAccess: Some(x_access),
        xFullPathname: Some(x_full_pathname),
        // None of these looks at the VFS that it is called with.
        xDlOpen: base.xDlOpen,
        xDlError: base.xDlError,
        xDlSym: base.xDlSym,
        xDlClose: base.xDlClose,
        xRandomness: base.xRandomness,
        xSleep: base.xSleep,
        xCurrentTime: base.xCurrentTime,
        xGetLastError: base.xGetLastError,
        xCurrentTimeInt64: base.xCurrentTimeInt64,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }));
    // SAFETY: `vfs` and everything that it points to lives for ever.
    let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
    assert_eq!(code, ffi::SQLITE_OK);
    Registered { name, vfs, shared }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: Some(x_shm_map),
    xShmLock: Some(x_shm_lock),
    xShmBarrier: Some(x_shm_barrier),
    xShmUnmap: Some(x_shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn code(result: Code) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

/// # Safety
/// `vfs` is one that [`register`] made.
unsafe fn disk(vfs: *mut ffi::sqlite3_vfs) -> &'static Shared {
    // SAFETY: pAppData was made from a reference that lives for ever.
    unsafe { &*(*vfs).pAppData.cast::<Shared>() }
}

/// # Safety
/// `file` was filled in by [`x_open`].
unsafe fn opened(file: *mut ffi::sqlite3_file) -> (&'static Shared, usize) {
    // SAFETY: by the contract above; SQLite gives szOsFile bytes, aligned for a pointer.
    let file = unsafe { &*file.cast::<File>() };
    (file.shared, file.handle)
}

/// The last part of a path: a disk has one directory.
///
/// # Safety
/// `path` is NUL-terminated.
unsafe fn file_name<'a>(path: *const c_char) -> &'a str {
    // SAFETY: by the contract above.
    let path = unsafe { CStr::from_ptr(path) }.to_str().expect("tests use UTF-8 paths");
    path.rsplit('/').next().unwrap_or(path)
}

unsafe extern "C" fn x_open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives szOsFile bytes; without methods it does not call close on a file that failed to open.
    unsafe { (*file).pMethods = std::ptr::null() };
    // SAFETY: `vfs` is ours; a name that is not null is NUL-terminated.
    let (shared, name) = unsafe { (disk(vfs), (!name.is_null()).then(|| file_name(name))) };
    match shared.lock().open(name, flags) {
        Ok(handle) => {
            // SAFETY: as above; `out_flags` may be null.
            unsafe {
                file.cast::<File>().write(File { base: ffi::sqlite3_file { pMethods: &METHODS }, shared, handle });
                if let Some(out_flags) = out_flags.as_mut() {
                    *out_flags = flags;
                }
            }
            ffi::SQLITE_OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn x_delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: `vfs` is ours, the name is NUL-terminated.
    let (shared, name) = unsafe { (disk(vfs), file_name(name)) };
    code(shared.lock().delete(name, sync_directory != 0))
}

unsafe extern "C" fn x_access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: `vfs` is ours, the name is NUL-terminated.
    let (shared, name) = unsafe { (disk(vfs), file_name(name)) };
    // The guard goes before the answer is written: nothing of SQLite's runs under the lock.
    let answer = shared.lock().exists(name);
    answer.map_or_else(
        |code| code,
        |exists| {
            // SAFETY: SQLite gives a place for the answer.
            unsafe { *out = c_int::from(exists) };
            ffi::SQLITE_OK
        },
    )
}

unsafe extern "C" fn x_full_pathname(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, size: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the name is NUL-terminated.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if name.len() > size as usize {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: `out` has `size` bytes, which was checked to be enough.
    unsafe { std::ptr::copy_nonoverlapping(name.as_ptr().cast(), out, name.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    let (shared, handle) = unsafe { opened(file) };
    shared.lock().close(handle);
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_read(file: *mut ffi::sqlite3_file, to: *mut c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: the file is open; SQLite gives a buffer of `amount` bytes.
    let ((shared, handle), buffer) = unsafe { (opened(file), std::slice::from_raw_parts_mut(to.cast::<u8>(), amount as usize)) };
    code(shared.lock().read(handle, offset as u64, buffer))
}

unsafe extern "C" fn x_write(file: *mut ffi::sqlite3_file, from: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: the file is open; SQLite gives `amount` bytes.
    let ((shared, handle), bytes) = unsafe { (opened(file), std::slice::from_raw_parts(from.cast::<u8>(), amount as usize)) };
    code(shared.lock().write(handle, offset as u64, bytes))
}

unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is open.
    let (shared, handle) = unsafe { opened(file) };
    code(shared.lock().truncate(handle, size as u64))
}

unsafe extern "C" fn x_sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let (shared, handle) = unsafe { opened(file) };
    code(shared.lock().sync(handle))
}

unsafe extern "C" fn x_file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: the file is open.
    let (shared, handle) = unsafe { opened(file) };
    let answer = shared.lock().size(handle);
    answer.map_or_else(
        |code| code,
        |size| {
            // SAFETY: SQLite gives a place for the answer.
            unsafe { *out = size as i64 };
            ffi::SQLITE_OK
        },
    )
}

unsafe extern "C" fn x_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let (shared, handle) = unsafe { opened(file) };
    code(shared.lock().lock(handle, level))
}

unsafe extern "C" fn x_unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let (shared, handle) = unsafe { opened(file) };
    shared.lock().unlock(handle, level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: the file is open.
    let (shared, handle) = unsafe { opened(file) };
    let answer = shared.lock().is_reserved(handle);
    answer.map_or_else(
        |code| code,
        |reserved| {
            // SAFETY: SQLite gives a place for the answer.
            unsafe { *out = c_int::from(reserved) };
            ffi::SQLITE_OK
        },
    )
}

unsafe extern "C" fn x_file_control(_file: *mut ffi::sqlite3_file, _operation: c_int, _argument: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn x_sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    4_096
}

/// What SQLite takes every disk for: a write damages no byte beside it.
unsafe extern "C" fn x_device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn x_shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    make: c_int,
    out: *mut *mut c_void,
) -> c_int {
    assert_eq!(size as usize, REGION);
    // SAFETY: the file is open.
    let (shared, handle) = unsafe { opened(file) };
    let answer = shared.lock().map(handle, region as usize, make != 0);
    let (code, pointer) = match answer {
        Ok(pointer) => (ffi::SQLITE_OK, pointer.unwrap_or(std::ptr::null_mut())),
        Err(code) => (code, std::ptr::null_mut()),
    };
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = pointer };
    code
}

unsafe extern "C" fn x_shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let (shared, handle) = unsafe { opened(file) };
    code(shared.lock().memory_lock(handle, first as usize, count as usize, flags))
}

unsafe extern "C" fn x_shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: the file is open.
    let (shared, _) = unsafe { opened(file) };
    // Taking a lock is a barrier.
    drop(shared.lock());
}

unsafe extern "C" fn x_shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: the file is open.
    let (shared, handle) = unsafe { opened(file) };
    shared.lock().unmap(handle);
    ffi::SQLITE_OK
}
