//! A command that fails for now: says why on standard error and exits with code 75, which asks for a retry.

fn main() {
    eprintln!("the line is busy");
    std::process::exit(75);
}
