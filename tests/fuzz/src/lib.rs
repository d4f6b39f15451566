//! Between libFuzzer and the targets. By default libFuzzer comes with the crate `libfuzzer-sys`, as `cargo fuzz` wants it.
//! `tests/fuzz/run` does without it: that crate has C code compiled in another way than the tests, and all that stands on any
//! would have to be built once more.

mod targets;

use std::path::{Path, PathBuf};

#[doc(hidden)]
#[cfg(feature = "libfuzzer-sys")]
pub use libfuzzer_sys;

/// Makes the program of the target `name`.
#[cfg(feature = "libfuzzer-sys")]
#[macro_export]
macro_rules! program {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(init: $crate::begin($name), |bytes: &[u8]| $crate::take($name, bytes));
    };
}

/// Makes the program of the target `name`.
#[cfg(not(feature = "libfuzzer-sys"))]
#[macro_export]
macro_rules! program {
    ($name:literal) => {
        /// Called by libFuzzer before all else.
        #[unsafe(no_mangle)]
        pub extern "C" fn LLVMFuzzerInitialize(_: *const (), _: *const ()) -> i32 {
            $crate::begin($name);
            0
        }

        /// Called by libFuzzer with each input.
        ///
        /// # Safety
        ///
        /// There are `size` bytes at `data`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> i32 {
            // libFuzzer's contract says so.
            $crate::take($name, unsafe { std::slice::from_raw_parts(data, size) });
            0
        }
    };
}

/// The target of this name.
fn target(name: &str) -> &'static targets::Target {
    targets::TARGETS.iter().find(|target| target.name == name).expect("each program is named like its target")
}

/// Has the target `name` take `bytes`.
pub fn take(name: &str, bytes: &[u8]) {
    (target(name).take)(bytes);
}

/// Has a panic end the process, which libFuzzer notices; and writes the seeds of the target `name` to the folder `$SEEDS`, if that
/// is set. The guests are those in `$GUESTS`.
pub fn begin(name: &str) {
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        show(panic);
        std::process::abort();
    }));
    let Some(folder) = std::env::var_os("SEEDS").map(PathBuf::from) else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guests = std::env::var_os("GUESTS").unwrap_or_default();
    let guests: Vec<_> = std::env::split_paths(&guests).collect();
    for (number, seed) in (target(name).seeds)(&root, &guests).into_iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed).expect("the folder takes files");
    }
}
