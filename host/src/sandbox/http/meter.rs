//! How much a run may still send and receive, and a connection that holds to it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::HttpOptions;

/// What all requests of one run together have used.
#[derive(Default)]
pub(super) struct Used {
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    sent: AtomicU64,
    received: AtomicU64,
}

/// Holds one place among the requests that are under way at once.
pub(super) struct Place(Arc<Used>);

impl Used {
    /// Begins another request, or says which limit forbids it.
    pub fn begin(self: &Arc<Self>, options: &HttpOptions) -> Result<Place, String> {
        if self.calls.fetch_add(1, Ordering::Relaxed) >= options.calls {
            return Err(format!("a run may make {} requests", options.calls));
        }
        let place = Place(self.clone());
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= options.at_once {
            return Err(format!("a run may make {} requests at once", options.at_once));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bytes that a run may send, and as many that it may receive; heads of messages count.
#[derive(Clone)]
pub(super) struct Meter {
    pub used: Arc<Used>,
    pub most: u64,
}

impl Meter {
    pub fn has_sent_too_much(&self) -> bool {
        self.used.sent.load(Ordering::Relaxed) > self.most
    }

    pub fn has_received_too_much(&self) -> bool {
        self.used.received.load(Ordering::Relaxed) > self.most
    }

    fn count(&self, counter: &AtomicU64, bytes: usize) -> io::Result<()> {
        let sum = counter.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if sum > self.most {
            return Err(io::Error::other(format!("a run may transfer {} bytes each way", self.most)));
        }
        Ok(())
    }
}

/// What a connection is made of.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that ends when the run has transferred too much.
pub(super) struct Metered {
    pub stream: Box<dyn Stream>,
    pub meter: Meter,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        let read = into.filled().len() - before;
        match self.meter.count(&self.meter.used.received, read) {
            Ok(()) => polled,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What is too much is not begun to be sent.
        if self.meter.used.sent.load(Ordering::Relaxed) + bytes.len() as u64 > self.meter.most {
            return Poll::Ready(Err(self
                .meter
                .count(&self.meter.used.sent, bytes.len())
                .expect_err("it is more than there may be")));
        }
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.meter.count(&self.meter.used.sent, written)?;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
