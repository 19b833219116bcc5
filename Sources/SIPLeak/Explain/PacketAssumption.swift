import Addressing
import Firewall

/// Something a question about a packet leaves unsaid and that is then taken to be as usual.
///
/// A walk whose verdict hangs on one says so.
public enum PacketAssumption: String, Sendable, Hashable, CaseIterable {
  /// It came in by no bridge port.
  case noBridge = "it came in by no bridge port"
  /// It was not taken out of an IPsec tunnel or transport.
  case noSecurity = "it did not come through IPsec"
  /// It has no IPv6 extension headers.
  case noExtensionHeaders = "it has no IPv6 extension headers"
  /// A TCP flow begins with SYN and goes on with ACK.
  case usualFlags = "its TCP flags are SYN if NEW, else ACK with or without PSH"
  /// ICMP is a ping or its answer.
  case echo = "it is an ICMP echo request, or the reply to one"
  /// No helper expected its flow.
  case notExpected = "no helper expected its flow"
  /// No nat rule changed its flow; assumed only where the rules have none that could have.
  case notTranslated = "no nat rule translated its flow"

  /// `IPS_SRC_NAT` and `IPS_DST_NAT`.
  static let translated: UInt32 = 0x30

  /// Makes a packet one of which this is not known.
  func forget(_ packet: inout Packet) {
    switch self {
    case .noBridge: packet.bridgePort = nil
    case .noSecurity: packet.isDecapsulated = nil
    case .noExtensionHeaders: packet.hasExtensionHeaders = nil
    case .usualFlags: packet.tcpFlags = nil
    case .echo: packet.icmp = nil
    case .notExpected:
      packet.connection.knownStatus &= ~1
      packet.connection.helper = nil
    case .notTranslated: packet.connection.knownStatus &= ~Self.translated
    }
  }
}

/// Which assumptions the rules of a snapshot can be sensitive to.
struct AskedAssumptions: Sendable {
  private var asked: Set<PacketAssumption> = []
  /// Families whose rules translate, or may do so unseen.
  private var translating: Set<AddressFamily> = []

  init(_ snapshot: FirewallSnapshot) {
    for filter in snapshot.unseen {
      translating.formUnion(filter.family.map { [$0] } ?? AddressFamily.allCases)
    }
    for ruleset in snapshot.rulesets {
      for table in ruleset.tables {
        for chain in table.chains {
          for rule in chain.rules {
            for clause in rule.matches { note(clause) }
            if let target = rule.target, Self.translators.contains(target.name) {
              translating.insert(ruleset.family)
            }
          }
        }
      }
    }
  }

  private static let translators: Set<String> = [
    "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "SAME", "SYNPROXY",
  ]

  /// The question, with an answered flow known not to be translated where no rule could have done it.
  func completed(_ question: PacketQuestion) -> PacketQuestion {
    guard question.assumptions.contains(.notExpected),
      !translating.contains(question.packet.family)
    else { return question }
    var result = question
    result.packet.connection.knownStatus |= PacketAssumption.translated
    result.assumptions.insert(.notTranslated)
    return result
  }

  private mutating func note(_ clause: MatchClause) {
    switch clause.name {
    case "physdev": asked.insert(.noBridge)
    case "policy": asked.insert(.noSecurity)
    case "rt", "hbh", "dst", "frag", "srh", "ipv6header", "ah": asked.insert(.noExtensionHeaders)
    case "tcp":
      if clause.options.contains(where: { $0.name == "--tcp-flags" || $0.name == "--syn" }) {
        asked.insert(.usualFlags)
      }
    case "icmp", "icmp6", "icmpv6": asked.insert(.echo)
    case "helper": asked.insert(.notExpected)
    case "conntrack": asked.formUnion([.notExpected, .notTranslated])
    default: break
    }
  }

  /// Those of a question that the verdict hangs on.
  func decisive(
    of question: PacketQuestion, _ walk: Walk, _ evaluation: Evaluation
  ) -> [PacketAssumption] {
    PacketAssumption.allCases.filter { assumption in
      guard asked.contains(assumption), question.assumptions.contains(assumption) else {
        return false
      }
      var packet = question.packet
      assumption.forget(&packet)
      return evaluation.walkAsRouted(packet, to: question.path).walk.verdict != walk.verdict
    }
  }
}
