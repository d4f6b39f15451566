//! Compiles all guests to WebAssembly and writes `guests.rs`, which names each file by a constant.
//!
//! Cargo runs this again when a guest or the contract in `wit/` changed, and the cargo that it starts builds only what
//! that change touches.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let root = Path::new("../..").canonicalize()?;
    for source in ["guest-tasks", "tests/guests", "wit", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let builder = Builder { root: &root, target_dir: out.join("guests") };

    let built = builder.build("wasm32-wasip1", &["--package=divide", "--package=guests"])?;
    let examples = builder.build("wasm32-wasip1", &["--package=guests", "--examples"])?.join("examples");
    let ready = builder.build("wasm32-wasip2", &["--package=divide"])?;
    let assembled = assemble(&root.join("tests/guests/wat"), &out.join("wat"))?;

    let mut guests = guests_in(&built, "")?;
    guests.extend(guests_in(&examples, "")?);
    guests.extend(guests_in(&ready, "_COMPONENT")?);
    guests.extend(guests_in(&assembled, "")?);
    fs::write(out.join("guests.rs"), constants(&guests)?)?;
    Ok(())
}

struct Builder<'a> {
    root: &'a Path,
    target_dir: PathBuf,
}

impl Builder<'_> {
    /// Builds guests and returns the folder where they are.
    fn build(&self, target: &str, what: &[&str]) -> Result<PathBuf> {
        require_target(target)?;
        let status = Command::new(env::var("CARGO")?)
            .current_dir(self.root)
            .args(["build", "--locked", "--profile=guest", "--target", target, "--target-dir"])
            .arg(&self.target_dir)
            .args(what)
            // These were meant for the host's code: flags for its machine, and clippy in the compiler's place.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .status()?;
        if !status.success() {
            return Err(format!("the guests do not compile for {target}: {status}").into());
        }
        Ok(self.target_dir.join(target).join("guest"))
    }
}

fn require_target(target: &str) -> Result<()> {
    let output =
        Command::new(env::var("RUSTC")?).args(["--print=target-libdir", "--target", target]).output()?;
    if Path::new(String::from_utf8(output.stdout)?.trim()).is_dir() {
        return Ok(());
    }
    Err(format!("the target {target} is not installed: run `rustup target add {target}`").into())
}

/// Turns each `.wat` file into a `.wasm` file, into a folder that holds nothing else.
fn assemble(sources: &Path, folder: &Path) -> Result<PathBuf> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    for source in files(sources, "wat")? {
        let name = source.file_name().ok_or("a listed file has a name")?;
        fs::write(folder.join(name).with_extension("wasm"), wat::parse_file(&source)?)?;
    }
    Ok(folder.to_owned())
}

/// The guests in a folder, each with the name of its constant.
fn guests_in(folder: &Path, suffix: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut guests = Vec::new();
    for file in files(folder, "wasm")? {
        let name = file.file_stem().and_then(|s| s.to_str()).ok_or("guests have plain names")?;
        // Cargo keeps a second copy of each example, with a hash in its name.
        if !name.contains('-') {
            guests.push((format!("{}{suffix}", name.to_uppercase()), file));
        }
    }
    Ok(guests)
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn constants(guests: &[(String, PathBuf)]) -> Result<String> {
    let mut text = String::new();
    for (name, path) in guests {
        writeln!(text, "/// Where `{}` is.", path.file_name().unwrap_or_default().display())?;
        writeln!(text, "pub const {name}: &str = {path:?};")?;
    }
    writeln!(text, "/// The names of all constants.\npub const NAMES: &[&str] = &[")?;
    for (name, _) in guests {
        writeln!(text, "    {name:?},")?;
    }
    writeln!(text, "];")?;
    Ok(text)
}
