//! Free TCP ports on loopback, for servers and roles whose port must be known before they start.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the range from which the kernel draws ports for outgoing connections (32768 and up), so that no connection takes a port
/// between our look and the server's bind.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

static DRAWN: AtomicU32 = AtomicU32::new(0);

/// A port nobody listens on. Each call gives another one; processes that run side by side start at different places.
pub fn free() -> u16 {
    (0..COUNT).map(|_| candidate()).find(|&port| is_free(port)).expect("12,000 ports are not all taken at once")
}

fn candidate() -> u16 {
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    // 101 is prime to 12,000: neighbouring process ids, as parallel test binaries have, start 101 ports apart.
    let offset = process::id().wrapping_mul(101).wrapping_add(drawn) % COUNT;
    u16::try_from(FIRST + offset).expect("32,000 fits")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_calls_give_two_ports() {
        assert_ne!(free(), free());
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(held.local_addr().unwrap().port()));
    }
}
