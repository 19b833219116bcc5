import Addressing
import Glibc

/// Addresses and cables of the lab, as input for `ip -batch`.
enum Topology {
  /// The address of a host.
  static func address(_ host: String, _ family: AddressFamily) -> IPAddress {
    let bits: (v4: UInt32, v6: UInt128) =
      switch host {
      case "carrier": (0xc633_640a, 0x2001_0db8_000c_0000_0000_0000_0000_0010)
      case "attacker": (0xcb00_7142, 0x2001_0db8_000a_0000_0000_0000_0000_0066)
      case "other": (0xcb00_7146, 0x2001_0db8_000a_0000_0000_0000_0000_0070)
      default: (0xc000_0205, 0x2001_0db8_0005_0000_0000_0000_0000_0005)
      }
    return family == .ipv4
      ? IPAddress(ipv4: bits.v4) : IPAddress(family: .ipv6, bits: bits.v6)
  }

  private static let peers = ["carrier", "attacker", "other"]
  /// The names of all hosts.
  static let hosts = ["pbx"] + peers

  /// Hardware addresses are fixed, so that neighbours are known and no first packet waits for an
  /// answer to "who has": counts in the tests are exact.
  private static func hardware(_ host: String, ofPBX: Bool) -> String {
    let number = peers.firstIndex(of: host).map { $0 + 1 } ?? 0
    return "02:00:00:00:0\(ofPBX ? 5 : 1):0\(number)"
  }

  /// Makes the namespaces and the cables between them.
  static var cables: String {
    var lines = ["link set lo up", "netns add pbx"]
    for peer in peers {
      lines.append("netns add \(peer)")
      lines.append(
        "link add name to-\(peer) address \(hardware(peer, ofPBX: true)) netns pbx "
          + "type veth peer name eth0 address \(hardware(peer, ofPBX: false)) netns \(peer)")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Gives a host its addresses, neighbours and routes.
  static func network(of host: String, hasIPv6: Bool) -> String {
    let families: [AddressFamily] = hasIPv6 ? [.ipv4, .ipv6] : [.ipv4]
    var lines = ["link set lo up"]
    if host == "pbx" {
      for peer in peers {
        lines.append("link set to-\(peer) up")
      }
      for family in families {
        lines.append(add("pbx", family, to: "to-carrier", length: family.bitWidth))
        // The second addresses, as a host with a leg in each network has them.
        lines.append(add(gateway(of: "carrier", family), to: "to-carrier", family))
        lines.append(add(gateway(of: "attacker", family), to: "to-attacker", family))
        for peer in peers {
          let address = address(peer, family)
          lines.append(
            "neigh add \(address) lladdr \(hardware(peer, ofPBX: false)) dev to-\(peer) nud permanent"
          )
          lines.append(
            "route add \(address)/\(family.bitWidth) dev to-\(peer) src \(Self.address("pbx", family))"
          )
        }
      }
    } else {
      lines.append("link set eth0 up")
      for family in families {
        let gateway = gateway(of: host, family)
        lines.append(add(host, family, to: "eth0", length: family.bitWidth))
        lines.append(
          "neigh add \(gateway) lladdr \(hardware(host, ofPBX: true)) dev eth0 nud permanent")
        lines.append("route add default via \(gateway) dev eth0 onlink")
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Whether every interface of the calling thread's namespace that is switched on has its far end.
  static var isRunning: Bool {
    var first: UnsafeMutablePointer<ifaddrs>?
    guard unsafe getifaddrs(&first) == 0 else { return false }
    defer { unsafe freeifaddrs(first) }
    var next = unsafe first
    while let entry = unsafe next {
      // IFF_UP and IFF_RUNNING
      let flags = unsafe entry.pointee.ifa_flags
      if flags & 0x1 != 0, flags & 0x40 == 0 { return false }
      unsafe next = entry.pointee.ifa_next
    }
    return true
  }

  /// The PBX's address in a peer's network.
  private static func gateway(of host: String, _ family: AddressFamily) -> IPAddress {
    let own = address(host, family)
    let hostBits = family == .ipv4 ? 8 : 64
    return IPAddress(family: family, bits: (own.bits >> hostBits) << hostBits | 1)
  }

  private static func add(
    _ host: String, _ family: AddressFamily, to interface: String, length: Int
  ) -> String {
    let suffix = family == .ipv6 ? " nodad" : ""
    return "addr add \(address(host, family))/\(length) dev \(interface)\(suffix)"
  }

  private static func add(
    _ address: IPAddress, to interface: String, _ family: AddressFamily
  ) -> String {
    family == .ipv4
      ? "addr add \(address)/24 dev \(interface)"
      : "addr add \(address)/64 dev \(interface) nodad"
  }
}
