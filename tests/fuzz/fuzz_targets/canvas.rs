#![no_main]

fuzz::program!("canvas");
