#![no_main]

fuzz::program!("body");
