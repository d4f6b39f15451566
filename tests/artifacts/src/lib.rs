//! The guests that tests run, compiled to WebAssembly by the build script: one constant each, the path of the file.

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
