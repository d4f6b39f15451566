//! What is left within the walls, tried from inside: each test runs itself once more in a process of its own.

use std::{
    env, fs,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    thread,
};

use super::*;

/// Set for the process inside.
const INSIDE: &str = "HOST_TEST_INSIDE";

/// Runs the test of this name once more, with `inside` in the place of what stands outside.
fn in_a_process(name: &str, inside: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return inside();
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "--test-threads", "1", name]);
    let output = command.env(INSIDE, "yes").stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{}: {text}", output.status);
}

/// What the kernel says of this thread: the number after `name`.
fn status(of: &str, name: &str) -> String {
    let line = of.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn is_denied<T>(tried: io::Result<T>) -> bool {
    tried.err().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[test]
fn what_compiles_cannot_open_a_file_connect_or_start_a_program() {
    in_a_process("walls::tests::what_compiles_cannot_open_a_file_connect_or_start_a_program", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let before = fs::metadata("/etc/passwd").is_ok();
        around_compiler(4 << 30, Duration::from_secs(30)).unwrap();
        assert!(before && is_denied(fs::read("/etc/passwd")));
        assert!(is_denied(fs::metadata("/etc/passwd")));
        assert!(is_denied(fs::read("/proc/self/environ")));
        assert!(is_denied(fs::write("/tmp/walls", "x")));
        assert!(is_denied(fs::read_dir("/")));
        assert!(is_denied(TcpStream::connect(address)));
        assert!(is_denied(TcpListener::bind("127.0.0.1:0")));
        assert!(is_denied(UdpSocket::bind("127.0.0.1:0")));
        assert!(is_denied(UnixStream::pair()));
        assert!(is_denied(Command::new("/bin/true").spawn()));
        assert!(is_denied(
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
                .map_err(io::Error::from)
        ));
        thread::spawn(|| assert!(is_denied(fs::read("/etc/passwd")))).join().unwrap();
        assert!(is_denied(fs::read("/etc/passwd")), "and it lives on");
    });
}

#[test]
fn what_starts_those_that_compile_can_start_this_program_and_write_nothing() {
    in_a_process(
        "walls::tests::what_starts_those_that_compile_can_start_this_program_and_write_nothing",
        || {
            around_starter().unwrap();
            let status_of_this = fs::read_to_string("/proc/thread-self/status").unwrap();
            assert_eq!(status(&status_of_this, "NoNewPrivs"), "1");
            assert_eq!(status(&status_of_this, "CapEff"), "0000000000000000");
            assert!(is_denied(fs::read("/etc/passwd")));
            assert!(is_denied(fs::write("/tmp/walls", "x")));
            assert!(is_denied(Command::new("/bin/true").spawn()));
            let this = Command::new("/proc/self/exe").arg("--version").output();
            assert!(this.is_ok(), "{this:?}");
        },
    );
}

#[test]
fn a_worker_opens_its_own_files_and_connections_and_nothing_else() {
    in_a_process("walls::tests::a_worker_opens_its_own_files_and_connections_and_nothing_else", || {
        let folder = tempfile::tempdir().unwrap();
        let [plugins, cache] = ["plugins", "cache"].map(|name| folder.path().join(name));
        for path in [&plugins, &cache] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "x").unwrap();
        }
        let missing = around_worker(&Needs { read: vec![plugins.clone()], write: vec![cache.clone()] });
        assert!(missing.iter().all(|line| line.starts_with("it runs as root")), "{missing:?}");

        assert_eq!(fs::read_to_string(plugins.join("file")).unwrap(), "x");
        assert_eq!(fs::read_dir(&plugins).unwrap().count(), 1);
        fs::write(cache.join("new"), "y").unwrap();
        fs::rename(cache.join("new"), cache.join("file")).unwrap();
        fs::read("/etc/hosts").unwrap();
        fs::read("/proc/self/status").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        thread::spawn(|| ()).join().unwrap();

        let elsewhere = move || {
            assert!(is_denied(fs::write(plugins.join("file"), "z")));
            assert!(is_denied(fs::write(plugins.join("new"), "z")));
            assert!(is_denied(fs::read("/etc/passwd")));
            assert!(is_denied(fs::read_dir("/")));
            assert!(is_denied(fs::write(folder.path().join("new"), "z")));
            assert!(is_denied(Command::new("/bin/true").spawn()));
            assert!(is_denied(Command::new("/proc/self/exe").spawn()));
        };
        thread::spawn(elsewhere).join().unwrap();
        let socket = |family| {
            // SAFETY: it makes a socket, or fails.
            let made = unsafe { libc::socket(family, libc::SOCK_RAW, 0) };
            if made < 0 { Err(io::Error::last_os_error()) } else { Ok(made) }
        };
        assert!(is_denied(socket(libc::AF_PACKET)) && is_denied(socket(libc::AF_ALG)));
        // SAFETY: it fails.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
        assert!(unshared < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM));
    });
}
