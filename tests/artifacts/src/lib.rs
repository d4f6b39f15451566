//! The guests that tests run, compiled to WebAssembly.
