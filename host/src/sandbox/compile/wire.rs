//! What worker, starter and compiler say to each other.
//!
//! Worker to starter: the limits, and a socket. Worker to compiler, over that socket: a [`Job`], then the file. Back: the code
//! or a refusal from the compiler, and from the starter how the compiler ended.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::{CompileLimits, LoadError};

/// What the compiler has to know beside the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// The file's name, for messages.
    pub(super) file: String,
    /// The largest file, in bytes.
    pub(super) largest: usize,
    /// Memory of one run, in bytes.
    pub(super) memory: usize,
    /// Of the engine that is to run the code.
    pub(super) compatibility: u64,
}

/// What comes back.
pub(super) enum Reply {
    /// The code follows, with so many bytes.
    Code { length: u64 },
    /// The file is no plugin.
    Refused(LoadError),
    /// The compiler is gone; nothing follows.
    Ended(Cause),
}

/// What a compiler ended by.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Cause {
    /// It has said all.
    Done,
    /// Its time limit.
    Time,
    /// Its memory limit.
    Memory,
    /// Something else.
    Crash(String),
}

/// The longest text of a job, a refusal or a cause.
const LONGEST: u32 = 64 << 10;

/// The most code that is taken from a compiler: StarlingMonkey makes 36 MB.
const MOST_CODE: u64 = 512 << 20;

const CODE: u8 = b'C';
const REFUSED: u8 = b'R';
const ENDED: u8 = b'E';

/// Asks the starter for a compiler at the other end of `socket`.
pub(super) fn send(starter: &UnixStream, limits: CompileLimits, socket: &UnixStream) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&sockets));
    let milliseconds = u64::try_from(limits.time.as_millis()).unwrap_or(u64::MAX);
    let (time, memory) = (milliseconds.to_le_bytes(), limits.memory.to_le_bytes());
    sendmsg(starter, &[IoSlice::new(&time), IoSlice::new(&memory)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next that the worker asks for; `None` when the worker is gone.
pub(super) fn receive(worker: &UnixStream) -> io::Result<Option<(CompileLimits, UnixStream)>> {
    let (mut time, mut memory) = ([0; 8], [0; 8]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut time), IoSliceMut::new(&mut memory)];
    let received = recvmsg(worker, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let socket = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    let socket: OwnedFd = socket.ok_or_else(|| io::Error::other("no socket came with the limits"))?;
    let time = Duration::from_millis(u64::from_le_bytes(time));
    Ok(Some((CompileLimits { time, memory: u64::from_le_bytes(memory) }, socket.into())))
}

/// Hands a compiler its job and the file, and says that this was all.
pub(super) fn write_job(compiler: &mut UnixStream, job: &Job, wasm: &[u8]) -> io::Result<()> {
    write_text(compiler, job)?;
    compiler.write_all(wasm)?;
    compiler.shutdown(Shutdown::Write)
}

/// The same at the other end.
pub(super) fn read_job(worker: &mut impl Read) -> io::Result<(Job, Vec<u8>)> {
    let job: Job = read_text(worker)?;
    let mut wasm = Vec::new();
    worker.take(job.largest as u64 + 1).read_to_end(&mut wasm)?;
    Ok((job, wasm))
}

pub(super) fn write_code(worker: &mut impl Write, code: &[u8]) -> io::Result<()> {
    worker.write_all(&[CODE])?;
    worker.write_all(&(code.len() as u64).to_le_bytes())?;
    worker.write_all(code)
}

pub(super) fn write_refusal(worker: &mut impl Write, refusal: &LoadError) -> io::Result<()> {
    worker.write_all(&[REFUSED])?;
    write_text(worker, refusal)
}

pub(super) fn write_end(worker: &mut impl Write, cause: &Cause) -> io::Result<()> {
    worker.write_all(&[ENDED])?;
    write_text(worker, cause)
}

/// The next of what comes back.
pub(super) fn read_reply(compiler: &mut impl Read) -> io::Result<Reply> {
    let mut kind = [0];
    compiler.read_exact(&mut kind)?;
    match kind[0] {
        CODE => {
            let mut length = [0; 8];
            compiler.read_exact(&mut length)?;
            let length = u64::from_le_bytes(length);
            if length > MOST_CODE {
                return Err(io::Error::other(format!(
                    "{length} bytes of code; at most {MOST_CODE} are taken"
                )));
            }
            Ok(Reply::Code { length })
        }
        REFUSED => read_text(compiler).map(Reply::Refused),
        ENDED => read_text(compiler).map(Reply::Ended),
        other => Err(io::Error::other(format!("byte {other} where a reply begins"))),
    }
}

fn write_text(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&text)
}

fn read_text<T: for<'a> Deserialize<'a>>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::Error::other(format!("a text of {length} bytes")));
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
