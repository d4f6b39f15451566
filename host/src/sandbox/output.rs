//! What a guest writes: the end of it is kept, in bounded memory.
//!
//! Invariant: writing never fails and never waits. (wasmtime's own in-memory pipe returns an error when it is
//! full, and a guest that cannot print panics.)

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

/// The captured end of a guest's output.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Output {
    /// The last bytes, as text that is safe to show: what is not UTF-8 is replaced, and control characters
    /// other than line feed and tab are made visible (`␛`).
    pub tail: String,
    /// How many bytes were written before those in `tail` and dropped.
    pub dropped: u64,
}

/// The most of the output of several runs that is kept, in bytes.
const LONGEST_OF_SEVERAL: usize = 64 << 10;

impl Output {
    /// Adds what was written after this. Of very much only the end is kept.
    pub fn append(&mut self, later: &Self) {
        self.tail.push_str(&later.tail);
        self.dropped += later.dropped;
        let begin = self.tail.ceil_char_boundary(self.tail.len().saturating_sub(LONGEST_OF_SEVERAL));
        self.dropped += begin as u64;
        self.tail.drain(..begin);
    }
}

/// Takes what is written and keeps the last bytes of it. Clones write to the same place.
#[derive(Clone)]
pub(super) struct Capture {
    tail: Arc<Mutex<Tail>>,
}

struct Tail {
    /// At most twice `keep` bytes, so that each byte is moved once at most.
    bytes: Vec<u8>,
    keep: usize,
    written: u64,
}

impl Capture {
    /// Keeps the last `keep` bytes.
    pub(super) fn new(keep: usize) -> Self {
        Self { tail: Arc::new(Mutex::new(Tail { bytes: Vec::new(), keep, written: 0 })) }
    }

    /// The kept bytes, and how many were written in all. Leaves nothing behind.
    pub(super) fn take(&self) -> (Vec<u8>, u64) {
        // A panic elsewhere cannot leave the tail half written, so a poisoned lock is as good as another.
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.trim();
        (std::mem::take(&mut tail.bytes), std::mem::take(&mut tail.written))
    }

    /// The kept bytes as text. Leaves nothing behind.
    pub(super) fn take_text(&self) -> Output {
        let (bytes, written) = self.take();
        let dropped = written - bytes.len() as u64;
        let cut =
            if dropped > 0 { bytes.iter().take(3).take_while(|b| is_continuation(**b)).count() } else { 0 };
        let text = String::from_utf8_lossy(&bytes[cut..]);
        Output { tail: text.chars().map(visible).collect(), dropped: dropped + cut as u64 }
    }

    fn push(&self, more: &[u8]) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.written += more.len() as u64;
        let more = &more[more.len().saturating_sub(tail.keep)..];
        tail.bytes.extend_from_slice(more);
        if tail.bytes.len() > 2 * tail.keep {
            tail.trim();
        }
    }
}

impl Tail {
    fn trim(&mut self) {
        let excess = self.bytes.len().saturating_sub(self.keep);
        self.bytes.drain(..excess);
    }
}

/// A byte that does not begin a character: the rest of one whose beginning was dropped.
fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// Control characters become the pictures that Unicode has for them, so that no terminal obeys a guest.
pub(super) fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

impl StdoutStream for Capture {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl IsTerminal for Capture {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl OutputStream for Capture {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        // Also what one call may make the host allocate.
        Ok(64 << 10)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Capture {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Capture {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(keep: usize, writes: &[&[u8]]) -> (String, u64) {
        let capture = Capture::new(keep);
        writes.iter().for_each(|bytes| capture.push(bytes));
        let Output { tail, dropped } = capture.take_text();
        (tail, dropped)
    }

    #[test]
    fn the_last_bytes_are_kept_and_the_others_counted() {
        assert_eq!(captured(4, &[]), (String::new(), 0));
        assert_eq!(captured(4, &[b"ab", b"cd"]), ("abcd".into(), 0));
        assert_eq!(captured(4, &[b"abc", b"def"]), ("cdef".into(), 2));
        assert_eq!(captured(4, &[b"0123456789"]), ("6789".into(), 6));
        assert_eq!(captured(4, &[b"0".as_slice(); 100]), ("0000".into(), 96));
        assert_eq!(captured(0, &[b"abc"]), (String::new(), 3));
    }

    #[test]
    fn memory_stays_bounded_however_much_is_written() {
        let capture = Capture::new(1000);
        for _ in 0..10_000 {
            capture.push(&[b'x'; 777]);
            assert!(capture.tail.lock().unwrap().bytes.len() <= 2000);
        }
        assert_eq!(capture.take().1, 7_770_000);
    }

    #[test]
    fn shown_text_is_whole_characters_without_control() {
        assert_eq!(
            captured(2, &["é!".as_bytes()]),
            ("!".into(), 2),
            "half a character is dropped with its half"
        );
        assert_eq!(captured(9, &[b"a\xffb"]).0, "a\u{fffd}b");
        assert_eq!(captured(99, &[b"\x1b[31m\tred\r\n\0\x7f"]).0, "␛[31m\tred␍\n␀␡");
        assert_eq!(captured(99, &["\u{9b}1m".as_bytes()]).0, "\u{fffd}1m");
    }
}
