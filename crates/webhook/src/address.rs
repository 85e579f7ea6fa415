//! Which addresses a delivery may go to: the globally reachable unicast ones, and for development loopback.
//!
//! An endpoint's URL is somebody else's word. Whoever can choose it must not be able to make Clawback talk to what only Clawback
//! reaches: the machine itself, its network, a cloud's metadata. So what the registries of special-purpose addresses do not call
//! globally reachable is refused: IANA's *IPv4 Special-Purpose Address Registry* and *IPv6 Special-Purpose Address Registry* (RFC 6890
//! and its successors), and multicast. Of IPv6 only `2000::/3` is unicast that was ever handed out (IANA, *IPv6 Global Unicast Address
//! Assignments*), so the rest needs no row to be refused; it has one where a person is told more by it.
//!
//! Addresses that carry an IPv4 address are judged by that one where today's networks use them (mapped, and NAT64's well-known prefix),
//! and refused where they no longer do (compatible, 6to4, Teredo).
//!
//! What no table can tell: a NAT64 with a prefix of its network's own, and public addresses that a network uses for inner services. Where
//! there are such, deliveries need a firewall besides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an endpoint may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Public,
    /// Loopback too, and nothing else besides.
    Development,
}

/// Why no delivery goes to `address`; `None` when one may.
pub(crate) fn refusal(address: IpAddr, reach: Reach) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refusal_v4(address, reach),
        IpAddr::V6(address) => refusal_v6(address, reach),
    }
}

fn refusal_v4(address: Ipv4Addr, reach: Reach) -> Option<&'static str> {
    if address.is_loopback() && reach == Reach::Development {
        return None;
    }
    let within = |(network, length, _): &&([u8; 4], u32, _)| {
        (address.to_bits() ^ Ipv4Addr::from(*network).to_bits()).leading_zeros() >= *length
    };
    REFUSED_V4.iter().find(within).map(|(_, _, why)| *why)
}

fn refusal_v6(address: Ipv6Addr, reach: Reach) -> Option<&'static str> {
    if address.is_loopback() && reach == Reach::Development {
        return None;
    }
    if let Some(mapped) = address.to_ipv4_mapped() {
        return refusal_v4(mapped, reach);
    }
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() {
        return refusal_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)), Reach::Public);
    }
    let within = |(network, length, _): &&([u16; 8], u32, _)| {
        (address.to_bits() ^ Ipv6Addr::from(*network).to_bits()).leading_zeros() >= *length
    };
    let outside = || (address.segments()[0] & 0xe000 != 0x2000).then_some("not global unicast (RFC 4291)");
    REFUSED_V6.iter().find(within).map(|(_, _, why)| *why).or_else(outside)
}

/// Network, length of its prefix, what it is. The first that fits is named.
const REFUSED_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 32, "unspecified (RFC 1122)"),
    ([0, 0, 0, 0], 8, "of this network only (RFC 791)"),
    ([10, 0, 0, 0], 8, "private (RFC 1918)"),
    ([100, 64, 0, 0], 10, "shared by a carrier's customers (RFC 6598)"),
    ([127, 0, 0, 0], 8, "loopback (RFC 1122)"),
    ([169, 254, 0, 0], 16, "link-local, where clouds keep metadata (RFC 3927)"),
    ([172, 16, 0, 0], 12, "private (RFC 1918)"),
    ([192, 0, 0, 0], 24, "for protocols (RFC 6890)"),
    ([192, 0, 2, 0], 24, "for documentation (RFC 5737)"),
    ([192, 88, 99, 0], 24, "a 6to4 relay's, given up (RFC 7526)"),
    ([192, 168, 0, 0], 16, "private (RFC 1918)"),
    ([198, 18, 0, 0], 15, "for benchmarks (RFC 2544)"),
    ([198, 51, 100, 0], 24, "for documentation (RFC 5737)"),
    ([203, 0, 113, 0], 24, "for documentation (RFC 5737)"),
    ([224, 0, 0, 0], 4, "multicast (RFC 5771)"),
    ([255, 255, 255, 255], 32, "broadcast (RFC 919)"),
    ([240, 0, 0, 0], 4, "reserved (RFC 1112)"),
];

const REFUSED_V6: &[([u16; 8], u32, &str)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified (RFC 4291)"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback (RFC 4291)"),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, "IPv4-compatible, given up (RFC 4291)"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "a local network's NAT64 (RFC 8215)"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discarded (RFC 6666)"),
    ([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "a dummy (RFC 9780)"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo (RFC 4380)"),
    ([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, "for benchmarks (RFC 5180)"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "for protocols (RFC 2928)"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "for documentation (RFC 3849)"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4, whose relays are given up (RFC 7526)"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "for documentation (RFC 9637)"),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "for segment routing (RFC 9602)"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "private (RFC 4193)"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local (RFC 4291)"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local, given up (RFC 3879)"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast (RFC 4291)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Each block by its first and last address, and the neighbours on both sides: `""` is one that may be delivered to.
    const TABLE: &[(&str, &str)] = &[
        // RFC 1122, RFC 791: this host, this network
        ("0.0.0.0", "unspecified"),
        ("0.0.0.1", "this network"),
        ("0.255.255.255", "this network"),
        ("1.0.0.0", ""),
        // RFC 1918: private, 10/8
        ("9.255.255.255", ""),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("11.0.0.0", ""),
        // RFC 6598: carrier-grade NAT, 100.64/10
        ("100.63.255.255", ""),
        ("100.64.0.0", "carrier"),
        ("100.127.255.255", "carrier"),
        ("100.128.0.0", ""),
        // RFC 1122: loopback, 127/8
        ("126.255.255.255", ""),
        ("127.0.0.0", "loopback"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("128.0.0.0", ""),
        // RFC 3927: link-local, 169.254/16
        ("169.253.255.255", ""),
        ("169.254.0.0", "link-local"),
        ("169.254.169.254", "metadata"),
        ("169.254.255.255", "link-local"),
        ("169.255.0.0", ""),
        // RFC 1918: private, 172.16/12
        ("172.15.255.255", ""),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("172.32.0.0", ""),
        // RFC 6890: protocol assignments, 192.0.0/24; RFC 5737: TEST-NET-1, 192.0.2/24
        ("191.255.255.255", ""),
        ("192.0.0.0", "protocols"),
        ("192.0.0.255", "protocols"),
        ("192.0.1.0", ""),
        ("192.0.1.255", ""),
        ("192.0.2.0", "documentation"),
        ("192.0.2.255", "documentation"),
        ("192.0.3.0", ""),
        // RFC 7526: 6to4 relay anycast, 192.88.99/24
        ("192.88.98.255", ""),
        ("192.88.99.0", "6to4"),
        ("192.88.99.255", "6to4"),
        ("192.88.100.0", ""),
        // RFC 1918: private, 192.168/16
        ("192.167.255.255", ""),
        ("192.168.0.0", "private"),
        ("192.168.255.255", "private"),
        ("192.169.0.0", ""),
        // RFC 2544: benchmarks, 198.18/15
        ("198.17.255.255", ""),
        ("198.18.0.0", "benchmarks"),
        ("198.19.255.255", "benchmarks"),
        ("198.20.0.0", ""),
        // RFC 5737: TEST-NET-2 and -3
        ("198.51.99.255", ""),
        ("198.51.100.0", "documentation"),
        ("198.51.100.255", "documentation"),
        ("198.51.101.0", ""),
        ("203.0.112.255", ""),
        ("203.0.113.0", "documentation"),
        ("203.0.113.255", "documentation"),
        ("203.0.114.0", ""),
        // RFC 5771: multicast, 224/4; RFC 1112: reserved, 240/4; RFC 919: broadcast
        ("223.255.255.255", ""),
        ("224.0.0.0", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.0", "reserved"),
        ("255.255.255.254", "reserved"),
        ("255.255.255.255", "broadcast"),
        // RFC 4291: unspecified, loopback, IPv4-compatible (::/96)
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", "compatible"),
        ("::127.0.0.1", "compatible"),
        ("::8.8.8.8", "compatible"),
        ("::255.255.255.255", "compatible"),
        ("::1:0:0", "not global unicast"),
        // RFC 4291: IPv4-mapped, ::ffff:0:0/96, as the IPv4 address that a socket would connect to
        ("::fffe:ffff:ffff", "not global unicast"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:8.8.8.8", ""),
        ("::ffff:255.255.255.255", "broadcast"),
        ("::1:0:0:0", "not global unicast"),
        // RFC 2765: IPv4-translated, ::ffff:0:0:0/96
        ("::ffff:0:127.0.0.1", "not global unicast"),
        ("::ffff:0:8.8.8.8", "not global unicast"),
        // RFC 6052: NAT64's well-known prefix, 64:ff9b::/96
        ("64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
        ("64:ff9b::0.0.0.0", "unspecified"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::192.168.0.1", "private"),
        ("64:ff9b::8.8.8.8", ""),
        ("64:ff9b::255.255.255.255", "broadcast"),
        ("64:ff9b::1:0:0", "not global unicast"),
        // RFC 8215: a network's own NAT64, 64:ff9b:1::/48
        ("64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
        ("64:ff9b:1::", "NAT64"),
        ("64:ff9b:1::8.8.8.8", "NAT64"),
        ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "NAT64"),
        ("64:ff9b:2::", "not global unicast"),
        // RFC 6666: discard-only, 100::/64; RFC 9780: dummy, 100:0:0:1::/64
        ("ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
        ("100::", "discarded"),
        ("100::ffff:ffff:ffff:ffff", "discarded"),
        ("100:0:0:1::", "dummy"),
        ("100:0:0:1:ffff:ffff:ffff:ffff", "dummy"),
        ("100:0:0:2::", "not global unicast"),
        // RFC 4291: global unicast, 2000::/3
        ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
        ("2000::", ""),
        ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
        // RFC 4380: Teredo, 2001::/32; RFC 5180: benchmarks, 2001:2::/48; RFC 2928: all of 2001::/23 (ORCHID, AMT, …)
        ("2001::", "Teredo"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
        ("2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo"),
        ("2001:1::", "protocols"),
        ("2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "protocols"),
        ("2001:2::", "benchmarks"),
        ("2001:2:0:ffff:ffff:ffff:ffff:ffff", "benchmarks"),
        ("2001:2:1::", "protocols"),
        ("2001:10::", "protocols"),
        ("2001:20::", "protocols"),
        ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "protocols"),
        ("2001:200::", ""),
        // RFC 3849: documentation, 2001:db8::/32
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", ""),
        ("2001:db8::", "documentation"),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
        ("2001:db9::", ""),
        // RFC 7526: 6to4, 2002::/16, whatever IPv4 address is in it
        ("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
        ("2002::", "6to4"),
        ("2002:7f00:1::", "6to4"),
        ("2002:808:808::", "6to4"),
        ("2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4"),
        ("2003::", ""),
        // RFC 9637: documentation, 3fff::/20
        ("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
        ("3fff::", "documentation"),
        ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
        ("3fff:1000::", ""),
        ("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
        ("4000::", "not global unicast"),
        // RFC 9602: segment routing, 5f00::/16
        ("5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
        ("5f00::", "segment"),
        ("5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "segment"),
        ("5f01::", "not global unicast"),
        // RFC 4193: unique local, fc00::/7
        ("fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
        ("fc00::", "private"),
        ("fd00:ec2::254", "private"),
        ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"),
        ("fe00::", "not global unicast"),
        // RFC 4291: link-local, fe80::/10; RFC 3879: site-local, fec0::/10; multicast, ff00::/8
        ("fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
        ("fe80::", "link-local"),
        ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"),
        ("fec0::", "site-local"),
        ("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local"),
        ("ff00::", "multicast"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"),
        // RFC 7535, RFC 7450: in the registries, and globally reachable (AS112, AMT)
        ("192.31.196.1", ""),
        ("192.52.193.1", ""),
        ("192.175.48.1", ""),
        ("2620:4f:8000::1", ""),
        // Somebody's servers
        ("93.184.215.14", ""),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", ""),
    ];

    #[test]
    fn every_block_ends_where_the_registry_says() {
        for (text, expected) in TABLE {
            let found = refusal(text.parse().unwrap(), Reach::Public);
            assert_eq!(found.is_none(), expected.is_empty(), "{text}: {found:?}");
            assert!(found.unwrap_or_default().contains(expected), "{text}: {found:?}, not {expected:?}");
        }
    }

    #[test]
    fn development_reaches_loopback_and_nothing_else_besides() {
        let gained = |address| refusal(address, Reach::Public) != refusal(address, Reach::Development);
        let gained: Vec<_> = TABLE.iter().map(|(text, _)| *text).filter(|text| gained(text.parse().unwrap())).collect();
        assert_eq!(gained, ["127.0.0.0", "127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"]);
        let still = gained.iter().filter_map(|text| refusal(text.parse().unwrap(), Reach::Development));
        assert_eq!(still.count(), 0);
    }

    #[test]
    fn every_row_is_reached() {
        let rows = REFUSED_V4.iter().map(|row| row.2).chain(REFUSED_V6.iter().map(|row| row.2));
        let named: Vec<_> = TABLE.iter().filter_map(|(text, _)| refusal(text.parse().unwrap(), Reach::Public)).collect();
        for row in rows {
            assert!(named.contains(&row), "{row}");
        }
    }
}
