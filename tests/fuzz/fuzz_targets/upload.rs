#![no_main]

fuzz::program!("upload");
