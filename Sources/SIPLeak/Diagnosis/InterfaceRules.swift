import Addressing
import Firewall
import HostNetwork

extension Differential {
  /// Interfaces that are tried besides those a route leads by.
  private static let mostInterfaces = 32

  /// Whether a rule that would decide otherwise asks for an interface the peer does not come by.
  mutating func interfaceRule() -> Explanation {
    let asked =
      peer == nil ? (suspects.prefix(Self.mostSuspects) + strangers()).uniqued() : suspects
    if ways.asked.allSatisfy({ $0 == "lo" }) {
      return Explanation(
        .interfaceRule, .ruledOut, "no rule asks for an interface other than lo")
    }
    var doubt: Explanation?
    for source in asked {
      let isStranger = !suspects.contains(source)
      let seen = arrivals(of: source)
      for arrival in seen {
        let others = seen.filter { $0.door == arrival.door && $0.walk.isCertain }
        guard arrival.walk.isCertain, others.allSatisfy({ $0.isAccepted == arrival.isAccepted })
        else {
          doubt = doubt ?? self.doubt(arrival, among: others)
          continue
        }
        for other in otherInterfaces(than: arrival.way) {
          let there = self.arrival(
            of: source, at: arrival.door,
            by: InboundWays.Way(interface: other, all: [other]))
          guard there.walk.isCertain, there.isAccepted != arrival.isAccepted else { continue }
          if let found = difference(arrival, there, other, isStranger: isStranger) { return found }
        }
      }
    }
    if let doubt { return doubt }
    let names = Listing.words(ways.asked.filter { $0 != "lo" })
    return Explanation(
      .interfaceRule, .ruledOut,
      "no rule for another interface (\(names)) would decide otherwise")
  }

  /// Why nothing can be said of a packet: its verdict is not certain, or not the same by each way
  /// that a route leads to its source.
  private func doubt(_ arrival: Arrival, among others: [Arrival]) -> Explanation {
    guard arrival.walk.isCertain else {
      return Explanation(
        .interfaceRule, .cannotTell, "it hangs on \(Listing.reasons(arrival.walk.unknowns))",
        command: walkCommand(arrival))
    }
    let whom = suspects.contains(arrival.source) ? "\(arrival.source)" : "a stranger"
    return Explanation(
      .interfaceRule, .cannotTell,
      "it hangs on the interface, and by which of \(Listing.words(others.flatMap(\.way.all))) "
        + "\(whom) comes is not known",
      others.map {
        Evidence(
          "\($0.isAccepted ? "accepts" : "refuses") by \(Listing.words($0.way.all))",
          rule: $0.walk.decidingRule)
      }, command: "ip route get \(arrival.source)")
  }

  /// Interfaces that rules name and the packet does not come by, whether or not they exist.
  private func otherInterfaces(than way: InboundWays.Way) -> [String] {
    ways.asked.filter { pattern in
      pattern != "lo" && !way.all.contains { InboundWays.matches(pattern, $0) }
    }.prefix(Self.mostInterfaces).map { $0.hasSuffix("+") ? $0.dropLast() + "0" : $0 }
  }

  /// What to say of a packet that another interface would have given another fate.
  private func difference(
    _ here: Arrival, _ there: Arrival, _ other: String, isStranger: Bool
  ) -> Explanation? {
    let known = Set(here.walk.path.map(\.rule))
    let missed = there.walk.path.map(\.rule).filter { reference in
      !known.contains(reference)
        && snapshot.rule(reference)?.options("-i").isEmpty == false
    }
    guard let rule = missed.last else { return nil }
    let comes = here.way.all.isEmpty ? "another" : Listing.words(here.way.all)
    let whom = isStranger ? "anybody" : "\(here.source)"
    let exists = observation.network.interfaces.contains { $0.name == other }
    let ghost = exists ? "" : ", which this host does not have"
    if here.isAccepted {
      return Explanation(
        .interfaceRule, .supported,
        "\(rule.named) would refuse \(whom), but asks for \(other)\(ghost); it comes by \(comes)",
        [
          Evidence("refuses by \(other) only", rule: rule),
          Evidence("accepts by \(comes)", rule: here.walk.decidingRule),
        ], command: walkCommand(here))
    }
    // A rule for everything on an inside interface is meant for others than this peer.
    guard !isStranger, let syntax = snapshot.rule(rule),
      syntax.asks("set") || syntax.asks("iprange") || !syntax.options("-s").isEmpty
    else { return nil }
    return Explanation(
      .interfaceRule, .supported,
      "\(rule.named) would accept \(whom), but asks for \(other)\(ghost); it comes by \(comes)",
      [
        Evidence("accepts by \(other) only", rule: rule),
        Evidence("refuses by \(comes)", rule: here.walk.decidingRule),
      ], command: walkCommand(here))
  }

  /// The command that walks a first packet.
  func walkCommand(_ arrival: Arrival) -> String {
    let way = arrival.way.interface.map { " in \($0)" } ?? ""
    let packet =
      "\(arrival.door.transport) \(arrival.source) -> \(arrival.door.wire)\(way) state new"
    return "sipleak explain \(ShellWord.quoted(packet))"
  }
}
