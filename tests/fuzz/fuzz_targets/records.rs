#![no_main]

fuzz::program!("records");
