#![no_main]

fuzz::program!("message");
