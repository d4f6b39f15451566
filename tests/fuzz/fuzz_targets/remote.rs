#![no_main]

fuzz::program!("remote");
