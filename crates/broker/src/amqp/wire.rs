//! What stands between the socket and the library: a stream whose frames the library can read.
//!
//! A partner's message may carry what AMQP allows and the library's parser does not: text that is not UTF-8 breaks the connection,
//! tables nested a few thousand deep overflow the stack and end the process. The message would be delivered again to the next
//! worker, and to the next. So frames that carry a partner's words are looked at here first, and what cannot be read is made
//! readable in place ([`clean`]); everything else passes untouched. TLS is below this stream.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_rs::{
    Runtime, Tokio, TokioRuntime,
    traits::{Reactor, RuntimeKit},
    util::RuntimeParts,
};
use futures_util::{AsyncRead, AsyncWrite, Stream};
use lapin::{
    AsyncTcpStream,
    tcp::{AMQPUriTcpExt, TLSConfig},
    uri::AMQPUri,
};

mod clean;

/// Bytes asked of the socket at once.
const CHUNK: usize = 64 * 1024;

/// A method or header larger than this is no answer of a broker. RabbitMQ negotiates frames of 128 KiB.
const MAX_FRAME: usize = 4 * 1024 * 1024;

type Socket = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// The runtime the library runs on: tokio, with this module's streams for sockets.
pub(super) type WireRuntime = Runtime<RuntimeParts<Tokio, Wire>>;

#[derive(Debug, Clone)]
pub(super) struct Wire(TokioRuntime);

/// For the tokio runtime this is called in.
pub(super) fn runtime() -> WireRuntime {
    Runtime::new(RuntimeParts::new(Tokio::current(), Wire(TokioRuntime::tokio_current())))
}

/// Connects within `within`, over TLS for `amqps`.
pub(super) async fn connect<RK>(uri: AMQPUri, within: Duration, runtime: Runtime<RK>) -> lapin::Result<AsyncTcpStream<Cleaned>>
where
    RK: RuntimeKit,
{
    drop(runtime);
    let tokio = TokioRuntime::tokio_current();
    let connecting = AMQPUriTcpExt::connect_with_config_async(&uri, TLSConfig::default(), &tokio);
    let socket = tokio::time::timeout(within, connecting).await;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {within:?}"));
    Ok(AsyncTcpStream::Plain(Cleaned::new(socket.map_err(late)??)))
}

impl Reactor for Wire {
    type TcpStream = Cleaned;
    type Sleep = tokio::time::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Cleaned, _>(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn sleep(&self, span: Duration) -> Self::Sleep {
        self.0.sleep(span)
    }

    fn interval(&self, span: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(span)
    }

    fn tcp_connect_addr(&self, address: SocketAddr) -> impl Future<Output = io::Result<Cleaned>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(Cleaned::new(AsyncTcpStream::Plain(connecting.await?))) }
    }
}

/// Reads are cleaned, writes pass.
pub(super) struct Cleaned<S = Socket> {
    inner: S,
    /// `start..clean` may be read on, `clean..end` is the beginning of a frame that is not complete.
    buffer: Vec<u8>,
    start: usize,
    clean: usize,
    end: usize,
    /// Bytes still to come that need no look.
    untouched: usize,
}

impl<S> Cleaned<S> {
    fn new(inner: S) -> Self {
        Self { inner, buffer: vec![0; CHUNK], start: 0, clean: 0, end: 0, untouched: 0 }
    }

    /// Moves `clean` as far as frames are complete.
    fn look(&mut self) -> io::Result<()> {
        while self.clean < self.end {
            if self.untouched > 0 {
                let passed = self.untouched.min(self.end - self.clean);
                self.clean += passed;
                self.untouched -= passed;
                continue;
            }
            let Some(frame) = clean::Frame::at(&self.buffer[self.clean..self.end]) else { break };
            if !frame.needs_a_look {
                self.untouched = frame.length;
                continue;
            }
            if frame.length > MAX_FRAME {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the broker sent a frame of no sensible size"));
            }
            if frame.length > self.end - self.clean {
                break;
            }
            clean::clean(&mut self.buffer[self.clean..self.clean + frame.length]);
            self.clean += frame.length;
        }
        Ok(())
    }

    /// Room for at least one more byte behind what is there.
    fn make_room(&mut self) {
        if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.clean -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() + CHUNK, 0);
        }
    }

    fn hand_on(&mut self, targets: &mut [IoSliceMut<'_>]) -> usize {
        let before = self.start;
        for target in targets {
            let length = target.len().min(self.clean - self.start);
            target[..length].copy_from_slice(&self.buffer[self.start..self.start + length]);
            self.start += length;
        }
        let handed = self.start - before;
        if self.start == self.end {
            (self.start, self.clean, self.end) = (0, 0, 0);
        }
        handed
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cleaned<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, target: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read_vectored(cx, &mut [IoSliceMut::new(target)])
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        targets: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        while this.start == this.clean {
            this.make_room();
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut this.buffer[this.end..]))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            this.end += read;
            this.look()?;
        }
        Poll::Ready(Ok(this.hand_on(targets)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cleaned<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{AsyncReadExt, FutureExt, io::Cursor};

    use super::*;

    /// Gives a byte, then several, then all it can, as sockets do.
    struct Dribble(Cursor<Vec<u8>>, usize);

    impl AsyncRead for Dribble {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, target: &mut [u8]) -> Poll<io::Result<usize>> {
            self.1 = self.1 * 3 % 1_009 + 1;
            let length = self.1.min(target.len());
            Pin::new(&mut self.0).poll_read(cx, &mut target[..length])
        }
    }

    #[test]
    fn frames_arrive_whole_and_in_order_however_the_bytes_come() {
        let mut sent = Vec::new();
        for number in 0..500_usize {
            let kind = [1, 2, 3, 8][number % 4];
            // Methods and headers of classes unknown here, which pass as they are.
            let payload = vec![0; 14 + number * 7 % 700 * (number % 50)];
            sent.extend(frame(kind, &payload));
        }
        let mut received = Vec::new();
        Cleaned::new(Dribble(Cursor::new(sent.clone()), 1)).read_to_end(&mut received).now_or_never().unwrap().unwrap();
        assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    }

    #[test]
    fn a_frame_of_no_sensible_size_is_an_error_and_no_allocation() {
        let head = [1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0];
        let mut received = Vec::new();
        let mut stream = Cleaned::new(Cursor::new(head.to_vec()));
        let error = stream.read_to_end(&mut received).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1], &size[..], payload, &[0xce]].concat()
    }
}
