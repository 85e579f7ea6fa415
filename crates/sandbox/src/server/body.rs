//! Bodies: requests up to a bound, answers that may break off.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// No documented request comes near it.
pub(super) const MAX_REQUEST: usize = 64 * 1024;

/// How a connection ends without an answer, or within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("a fault resets the connection")]
    Reset,
    #[error("a fault never answers")]
    Hung,
    #[error("a fault cuts the body")]
    Cut,
}

/// The request's body; `None` when it is too large or broke off.
pub(super) async fn read(mut incoming: Incoming) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if whole.len() + data.len() > MAX_REQUEST {
            return None;
        }
        whole.extend_from_slice(&data);
    }
    Some(whole.freeze())
}

/// The body of an answer. A cut one promises all its bytes, sends half, and breaks off.
pub(super) enum Answer {
    Whole(Option<Bytes>),
    Cut { promised: u64, half: Option<Bytes>, flushed: bool },
}

impl Answer {
    pub(super) fn whole(body: impl Into<Bytes>) -> Self {
        Answer::Whole(Some(body.into()))
    }

    pub(super) fn cut(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Answer::Cut { promised: body.len() as u64, half: Some(body.slice(..body.len() / 2)), flushed: false }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        match self {
            Answer::Whole(body) => Poll::Ready(body.take().map(Ok)),
            Answer::Cut { half: half @ Some(_), .. } => Poll::Ready(half.take().map(Ok)),
            // The half is flushed while the body is pending, and would be lost with the connection otherwise.
            Answer::Cut { flushed: flushed @ false, .. } => {
                *flushed = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Answer::Cut { .. } => Poll::Ready(Some(Err(Broken::Cut))),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.next(cx).map(|next| next.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Answer::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Answer::Whole(body) => body.as_ref().map_or(0, |body| body.len() as u64),
            Answer::Cut { promised, .. } => *promised,
        })
    }
}
