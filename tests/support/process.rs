//! A child process whose output is kept and which never outlives its test.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use super::eventually;

pub struct Process {
    child: Child,
    output: Arc<Mutex<Output>>,
}

#[derive(Default)]
struct Output {
    text: String,
    /// When each line came, and where it ends in `text`.
    arrivals: Vec<(Instant, usize)>,
    /// Whether no more of it is read.
    ignored: bool,
}

impl Process {
    /// Starts `command`. Fails with `hint` when there is no such program.
    #[track_caller]
    pub fn start(command: &mut Command, hint: &str) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {:?}: {e}; {hint}", command.get_program()));
        let output = Arc::default();
        keep_lines(child.stdout.take().expect("it is piped"), &output);
        keep_lines(child.stderr.take().expect("it is piped"), &output);
        Self { child, output }
    }

    /// All that it wrote so far, to standard output and to standard error.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }

    /// The lines of what it wrote so far, each with the time at which it came.
    pub fn lines(&self) -> Vec<(Instant, String)> {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let mut start = 0;
        let line = |&(arrived, end): &(Instant, usize)| {
            let line = output.text[start..end].trim_end().to_owned();
            start = end;
            (arrived, line)
        };
        output.arrivals.iter().map(line).collect()
    }

    /// Stops reading what it writes, as a reader does that hangs.
    pub fn stop_reading(&self) {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).ignored = true;
    }

    /// Its number among the processes.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it wrote `text`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let wrote = eventually(&format!("it wrote {text:?}"), || {
            let over = self.status().is_some();
            match self.output().contains(text) {
                false if over => Some(false),
                seen => seen.then_some(true),
            }
        });
        assert!(wrote, "it ended without having written {text:?}:\n{}", self.output());
    }

    /// Sends a signal by its name: `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        // The shell's own `kill`: a program of that name is not on every machine.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(sent.expect("a shell runs").success(), "cannot send {name} to process {pid}");
    }

    /// How it ended, if it did.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its status is known")
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the process ended", || self.status())
    }

    /// Ends it without giving it a chance to do anything more (`kill -9`).
    pub fn kill(&mut self) {
        self.child.kill().expect("it is ours to kill");
        self.child.wait().expect("it was started here");
    }

    /// Its resident memory, in KiB.
    pub fn resident_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
        line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keep_lines(source: impl Read + Send + 'static, output: &Arc<Mutex<Output>>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.text.push_str(&String::from_utf8_lossy(&line));
            output.text.push('\n');
            let end = output.text.len();
            output.arrivals.push((Instant::now(), end));
            if output.ignored {
                drop(output);
                loop {
                    thread::park();
                }
            }
        }
    });
}
