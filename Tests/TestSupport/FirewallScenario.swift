public import Addressing
public import Firewall

/// A firewall and packets sent to it: all that a comparison of the walk with the kernel needs.
public struct FirewallScenario: Sendable {
  /// A packet and where it goes after routing.
  public struct Sent: Sendable {
    /// The packet, with its length, payload and the flow it belongs to.
    public var packet: Packet
    /// Where it goes after routing.
    public var path: PacketPath

    /// Makes one.
    public init(packet: Packet, path: PacketPath) {
      self.packet = packet
      self.path = path
    }
  }

  /// The family of all rules and packets.
  public var family: AddressFamily
  /// The rulesets in `iptables-save` form.
  public var saves: [Backend: String] = [:]
  /// The sets the rules ask for.
  public var sets: [AddressSet] = []
  /// The packets, in the order they are sent.
  public var packets: [Sent] = []

  /// Makes an empty one.
  public init(family: AddressFamily) { self.family = family }

  /// The backends in use, in the order they are loaded.
  ///
  /// Not that in which packets meet them: the chain registered last comes first (facts D8).
  public var backends: [Backend] { [.legacy, .nft].filter { saves[$0] != nil } }

  /// How many packets one reading of the counters can tell apart.
  public static let batchSize = 8

  /// The IP length of a packet by its number: 64 and a power of four.
  ///
  /// The bytes a rule counted, less 64 for each packet, are then the packets in base four: which
  /// were counted and how often, up to three times.
  public static func length(of number: Int) -> UInt32 {
    64 + (1 << (2 * UInt32(number % batchSize)))
  }

  /// The addresses of the host that the firewall is on.
  public static let localAddresses = [
    "192.0.2.5", "192.0.2.6", "10.77.3.1", "127.0.0.1", "2001:db8::5", "2001:db8::6", "fd77::1",
    "::1",
  ].compactMap { IPAddress($0) }

  /// The sets as `ipset restore` reads them.
  public var setText: String {
    var text = ""
    for set in sets {
      let family = set.family.map { $0 == .ipv4 ? " family inet" : " family inet6" } ?? ""
      let options = set.createOptions.map { " " + $0 }.joined()
      text += "create \(set.name) \(set.type)\(family)\(options)\n"
      for entry in set.entries {
        text += "add \(set.name) \(entry.element)\(entry.isException ? " nomatch" : "")\n"
      }
    }
    return text
  }
}
