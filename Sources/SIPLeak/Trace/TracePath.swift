import Addressing
import Firewall

/// The base chains a packet passes, in the kernel's order, and what leads on from them.
enum TracePath {
  /// One base chain.
  struct Stop: Hashable {
    var table: String
    var chain: String

    /// Whether rules here see the packet addressed as on the wire.
    var isOnWire: Bool { chain == "PREROUTING" }
  }

  /// The base chains of a path.
  static func stops(_ path: PacketPath) -> [Stop] {
    let before = ["raw", "mangle", "nat"].map { Stop(table: $0, chain: "PREROUTING") }
    switch path {
    case .input:
      return before
        + ["mangle", "filter", "security", "nat"].map { Stop(table: $0, chain: "INPUT") }
    case .forward:
      return before + ["mangle", "filter", "security"].map { Stop(table: $0, chain: "FORWARD") }
        + ["mangle", "nat"].map { Stop(table: $0, chain: "POSTROUTING") }
    }
  }

  /// Tables in the order a packet meets them first.
  static let tables = ["raw", "mangle", "nat", "filter", "security"]
}

/// What a rule does with a packet that matches it, as far as a trace has to know.
enum TraceEffect: Hashable {
  /// Goes on to the next rule.
  case none
  case accept
  case refuse(Verdict)
  case `return`
  case jump(String)
  case goto(String)
  /// Given a destination or source by the nat table, which ends that table.
  case translate
  /// Handed to something whose answer is not in the rules.
  case outside

  /// Targets after which the next rule is met.
  private static let harmless: Set<String> = [
    "MARK", "CONNMARK", "NOTRACK", "CT", "SET", "TTL", "HL", "TOS", "DSCP", "ECN", "IPV4OPTSSTRIP",
    "HMARK", "IPMARK", "LOG", "ULOG", "NFLOG", "TRACE", "AUDIT", "LOGMARK", "ACCOUNT", "RATEEST",
    "LED", "IDLETIMER", "CLASSIFY", "CHECKSUM", "TCPMSS", "TCPOPTSTRIP", "SECMARK", "CONNSECMARK",
    "TEE", "NETFLOW", "SNPT", "DNPT",
  ]

  /// Reads the effect of a rule's target.
  init(_ rule: Rule, in table: Table) {
    guard let target = rule.target else {
      self = .none
      return
    }
    switch target.name {
    case "ACCEPT": self = .accept
    case "DROP": self = .refuse(.drop)
    case "REJECT": self = .refuse(.reject)
    case "TARPIT", "STEAL": self = .refuse(.drop)
    case "RETURN": self = .return
    case "DNAT", "REDIRECT", "NETMAP", "SNAT", "MASQUERADE", "SAME": self = .translate
    case let name where Self.harmless.contains(name): self = .none
    case let name where table.chain(name) != nil:
      self = target.isGoto ? .goto(name) : .jump(name)
    default: self = .outside
    }
  }

  /// Whether a packet may leave the chain here.
  var decides: Bool { self != .none }
}

extension Table {
  /// The chains that can be reached from one, itself included.
  func reached(from start: String) -> Set<String> {
    var known: Set<String> = [start]
    var open = [start]
    while let name = open.popLast() {
      for rule in chain(name)?.rules ?? [] {
        guard let target = rule.target?.name, chain(target) != nil, known.insert(target).inserted
        else { continue }
        open.append(target)
      }
    }
    return known
  }
}
