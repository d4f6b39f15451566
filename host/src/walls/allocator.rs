//! The allocator's own thread. It would be there before the first line of this program, and outside of walls that are built
//! later; so it is started when they stand.

use std::{
    ffi::{c_char, c_int, c_void},
    io, ptr,
};

// Linked by the program that uses it; here it is only spoken to.
use tikv_jemallocator as _;

unsafe extern "C" {
    fn _rjem_mallctl(
        name: *const c_char,
        old: *mut c_void,
        old_size: *mut usize,
        new: *mut c_void,
        new_size: usize,
    ) -> c_int;
}

/// Starts it.
pub fn start_background_thread() -> io::Result<()> {
    let mut yes = true;
    // SAFETY: this setting is one `bool`, and nothing is asked for.
    let error = unsafe {
        _rjem_mallctl(
            c"background_thread".as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            (&raw mut yes).cast(),
            size_of::<bool>(),
        )
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
