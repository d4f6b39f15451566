#![no_main]

fuzz::program!("values");
