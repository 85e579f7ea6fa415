//! The request body that knows whether it was ever asked for.
//!
//! Whether a call that failed had an effect cannot be read from an error: an error kind says where the client noticed, not what
//! left the machine. This body can tell. HTTP/1.1 asks it for its data in the same loop that would write the request's head, before
//! anything is flushed. So while it was never asked, not a byte has left; and once the [`Gate`] is closed it refuses to answer, so
//! that none ever will, whoever still holds the request: a connection task, a pool, a retry that nobody asked for.
//!
//! Closing and asking race; one compare-and-exchange decides. The order for whoever judges is therefore: close first, then judge.
//!
//! The same first poll checks `send_by`, on real time: the caller's clock may be moved meanwhile, and no call is late for that. A process that was stopped between its last check and this one wakes up here, and sends
//! nothing. It must answer at once: a body that is *pending* first lets the head out, and some servers act on a head alone.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use clawback_domain::{Time, clock};
use http_body::{Body, Frame, SizeHint};

const OPEN: u8 = 0;
const ASKED: u8 = 1;
const CLOSED: u8 = 2;

/// The body of a call that may be sent once at most, and not after `send_by`.
pub(crate) struct GatedBody {
    data: Option<Bytes>,
    state: Arc<AtomicU8>,
    send_by: SendBy,
}

/// Kept by the caller. Closes when dropped, so that a cancelled call is never sent later.
pub(crate) struct Gate(Arc<AtomicU8>);

/// `data` must not be empty: an empty body is never asked for, and would prove nothing.
pub(crate) fn gated(data: Bytes, send_by: SendBy) -> (GatedBody, Gate) {
    debug_assert!(!data.is_empty());
    let state = Arc::new(AtomicU8::new(OPEN));
    (GatedBody { data: Some(data), state: state.clone(), send_by }, Gate(state))
}

impl Gate {
    /// Closes the gate. `true`: nothing of the request has left, and nothing ever will. `false`: it may have.
    pub(crate) fn close(&self) -> bool {
        self.0.compare_exchange(OPEN, CLOSED, SeqCst, SeqCst) != Err(ASKED)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.close();
    }
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(data) = self.data.take() else { return Poll::Ready(None) };
        if self.send_by.has_passed() {
            // Lost against a closed gate or won: either way nothing is handed over, and the state never becomes ASKED.
            let _ = self.state.compare_exchange(OPEN, CLOSED, SeqCst, SeqCst);
            return Poll::Ready(Some(Err(io::Error::other("send_by has passed"))));
        }
        Poll::Ready(Some(match self.state.compare_exchange(OPEN, ASKED, SeqCst, SeqCst) {
            Ok(_) => Ok(Frame::data(data)),
            Err(_) => Err(io::Error::other("the call was given up before it was sent")),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    /// Exact, so that the request goes out with a `Content-Length` and in one piece.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// The last moment to send, on the system's wall time and on a clock that counts suspension.
///
/// Wall time may be set back while we wait; boot time may not. Boot time says nothing where the system has no such clock; wall time
/// does. Each covers the other's blind side. Neither is the caller's clock, which says only how much time is left: it may follow a
/// stand-in's that is moved by days, and a call under way is not late for that.
#[derive(Clone, Copy)]
pub(crate) struct SendBy {
    wall: Time,
    boot: Option<Duration>,
}

impl SendBy {
    /// `then` is a moment of the clock that says `now`.
    pub(crate) fn new(then: Time, now: Time) -> Self {
        Self::measured(then, now, Utc::now(), boot_time())
    }

    fn measured(then: Time, now: Time, wall: Time, boot: Option<Duration>) -> Self {
        let over = TimeDelta::microseconds(1);
        let Some(left) = (then - now).to_std().ok() else { return Self { wall: wall - over, boot } };
        Self { wall: clock::after(wall, left), boot: boot.map(|boot| boot.saturating_add(left)) }
    }

    fn has_passed(&self) -> bool {
        self.is_over(Utc::now(), boot_time())
    }

    fn is_over(&self, wall: Time, boot: Option<Duration>) -> bool {
        wall > self.wall || matches!((self.boot, boot), (Some(last), Some(now)) if now > last)
    }
}

/// Time since boot, suspension included. `None` where the system has no such clock: there wall time alone decides.
#[cfg(target_os = "linux")]
fn boot_time() -> Option<Duration> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Some(Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?))
}

#[cfg(not(target_os = "linux"))]
fn boot_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn in_ten_seconds() -> SendBy {
        SendBy::new(clock::after(Time::UNIX_EPOCH, TEN), Time::UNIX_EPOCH)
    }

    fn ask(body: &mut GatedBody) -> Option<Result<Bytes, String>> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(frame) => frame.map(|frame| frame.map(|f| f.into_data().unwrap()).map_err(|e| e.to_string())),
            Poll::Pending => panic!("a pending body lets the request's head out"),
        }
    }

    #[test]
    fn an_unasked_body_is_never_sent_and_never_will_be() {
        let (mut body, gate) = gated(Bytes::from_static(b"{}"), in_ten_seconds());
        assert!(gate.close());
        assert!(ask(&mut body).unwrap().is_err());
        assert!(gate.close(), "the verdict stands");
    }

    #[test]
    fn a_dropped_gate_is_closed() {
        let (mut body, gate) = gated(Bytes::from_static(b"{}"), in_ten_seconds());
        drop(gate);
        assert!(ask(&mut body).unwrap().is_err());
    }

    #[test]
    fn an_asked_body_may_have_been_sent_and_is_given_once() {
        let (mut body, gate) = gated(Bytes::from_static(b"{}"), in_ten_seconds());
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(2), false));
        assert_eq!(ask(&mut body), Some(Ok(Bytes::from_static(b"{}"))));
        assert!(!gate.close());
        assert_eq!((ask(&mut body), body.is_end_stream()), (None, true));
    }

    #[test]
    fn a_body_asked_after_send_by_refuses_and_was_never_sent() {
        let passed = SendBy::new(Time::UNIX_EPOCH, Time::UNIX_EPOCH + TimeDelta::microseconds(1));
        let (mut body, gate) = gated(Bytes::from_static(b"{}"), passed);
        assert_eq!(ask(&mut body), Some(Err("send_by has passed".into())));
        assert!(gate.close());
    }

    #[test]
    fn either_clock_ends_the_time_to_send() {
        let (start, boot) = (Time::UNIX_EPOCH, Duration::from_secs(1_000));
        let send_by = SendBy::measured(clock::after(start, TEN), start, start, Some(boot));
        let is_over = |wall: Duration, awake: Duration| send_by.is_over(clock::after(start, wall), Some(boot + awake));
        assert!(!is_over(TEN, TEN));
        assert!(is_over(TEN + Duration::from_micros(1), TEN));
        assert!(is_over(Duration::ZERO, TEN * 2), "wall time was set back while the machine slept");
        assert!(!send_by.is_over(clock::after(start, TEN), None), "without boot time wall time decides");
    }

    #[test]
    fn the_callers_clock_says_how_much_time_is_left_and_no_more() {
        let (here, boot) = (Time::UNIX_EPOCH, Some(Duration::from_secs(1_000)));
        for ahead in [Duration::ZERO, Duration::from_secs(6 * 86_400)] {
            let now = clock::after(here, ahead);
            let send_by = SendBy::measured(clock::after(now, TEN), now, here, boot);
            assert!(!send_by.is_over(clock::after(here, TEN), boot.map(|boot| boot + TEN)), "{ahead:?}");
            assert!(send_by.is_over(clock::after(here, TEN * 2), boot), "{ahead:?}");
        }
    }

    #[test]
    fn a_moment_out_of_every_range_does_not_panic() {
        assert!(!SendBy::new(Time::MAX_UTC, Time::UNIX_EPOCH).has_passed());
        assert!(SendBy::new(Time::MIN_UTC, Time::UNIX_EPOCH).has_passed());
        assert!(!SendBy::new(Time::MAX_UTC, Time::MIN_UTC).has_passed());
    }
}
