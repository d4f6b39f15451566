//! Assembles `machine_divide.wat` and has it linked into the guest.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    const SOURCE: &str = "src/machine_divide.wat";
    let object = Path::new(&env::var("OUT_DIR")?).join("machine_divide.o");
    fs::write(&object, wat::parse_file(SOURCE)?)?;
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rustc-link-arg-cdylib={}", object.display());
    Ok(())
}
