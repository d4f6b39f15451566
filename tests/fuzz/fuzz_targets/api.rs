#![no_main]

fuzz::program!("api");
