//! The binary: parses, runs, prints the error chain, exits.

fn main() {}
