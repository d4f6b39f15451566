//! A command that fails: says why on standard error and exits with code 3.

fn main() {
    eprintln!("the disk is full");
    std::process::exit(3);
}
