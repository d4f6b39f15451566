#![no_main]

fuzz::program!("result");
