import Addressing

/// A base chain's place on a packet's way.
struct HookPoint: Sendable {
  var table: String
  var chain: String
  var stage: Stage

  var isNAT: Bool { table == "nat" }

  /// The names of the kernel's hooks as iptables writes them.
  static let baseChains: Set<String> = [
    "PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING",
  ]
}

extension PacketPath {
  /// The base chains up to the routing decision, in the kernel's order of priorities.
  static let beforeRouting = [
    HookPoint(table: "raw", chain: "PREROUTING", stage: .raw),
    HookPoint(table: "mangle", chain: "PREROUTING", stage: .prerouting),
    HookPoint(table: "nat", chain: "PREROUTING", stage: .prerouting),
  ]

  /// The base chains after it.
  var afterRouting: [HookPoint] {
    switch self {
    case .input:
      [
        HookPoint(table: "mangle", chain: "INPUT", stage: .delivery),
        HookPoint(table: "filter", chain: "INPUT", stage: .delivery),
        HookPoint(table: "security", chain: "INPUT", stage: .delivery),
        HookPoint(table: "nat", chain: "INPUT", stage: .delivery),
      ]
    case .forward:
      [
        HookPoint(table: "mangle", chain: "FORWARD", stage: .delivery),
        HookPoint(table: "filter", chain: "FORWARD", stage: .delivery),
        HookPoint(table: "security", chain: "FORWARD", stage: .delivery),
        HookPoint(table: "mangle", chain: "POSTROUTING", stage: .postrouting),
        HookPoint(table: "nat", chain: "POSTROUTING", stage: .postrouting),
      ]
    }
  }

  /// The netfilter hooks passed, as ``UnseenFilter/hooks`` names them.
  var hooks: Set<String> {
    switch self {
    case .input: ["ingress", "prerouting", "input"]
    case .forward: ["ingress", "prerouting", "forward", "postrouting", "egress"]
    }
  }
}
