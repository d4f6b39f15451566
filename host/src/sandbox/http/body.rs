//! The body of a response on its way to a guest.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

use super::meter::Meter;

/// A body whose next part must come within a time.
pub(super) struct Received {
    incoming: Incoming,
    patience: Duration,
    until: Pin<Box<Sleep>>,
    meter: Meter,
}

impl Received {
    pub fn boxed(incoming: Incoming, patience: Duration, meter: Meter) -> UnsyncBoxBody<Bytes, Error> {
        UnsyncBoxBody::new(Self { incoming, patience, until: Box::pin(sleep(patience)), meter })
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            let until = Instant::now() + self.patience;
            self.until.as_mut().reset(until);
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| explained(error, &self.meter))));
        }
        ready!(self.until.as_mut().poll(context));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// What went wrong on a connection: one that was ended by the meter is told by its cause.
pub(super) fn explained(error: hyper::Error, meter: &Meter) -> Error {
    if meter.has_received_too_much() {
        Error::HttpResponseBodySize(Some(meter.most))
    } else if meter.has_sent_too_much() {
        Error::HttpRequestBodySize(Some(meter.most))
    } else if error.is_timeout() {
        Error::HttpResponseTimeout
    } else {
        Error::Hyper(error)
    }
}
