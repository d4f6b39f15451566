//! A command whose result is no JSON.

fn main() {
    println!("hello, I am done");
}
