import Addressing
import Firewall
import HostNetwork

extension Differential {
  /// Whether somebody may send with an address that the rules admit (facts A7).
  ///
  /// Conntrack cannot tell him from the real one; only a reverse path check, or the distance his
  /// packets have travelled, can.
  mutating func spoofedSource() -> Explanation {
    let all = hopCounts
    if let odd = all.first(where: { one in
      (suspects.isEmpty || suspects.contains(one.address)) && oddity(of: one, among: all) != nil
    }), let why = oddity(of: odd, among: all) {
      return Explanation(.spoofedSource, .supported, why, command: capture)
    }
    if let peer {
      let seen = arrivals(of: peer)
      if !seen.isEmpty, seen.allSatisfy(\.isRefused) {
        return Explanation(
          .spoofedSource, .ruledOut,
          "the rules admit no packet with its address: forging it would gain nothing")
      }
    }
    let family = peer?.family ?? .ipv4
    let worth = PrefixSet.union(admissions().filter { $0.family == family }.map(\.possibly))
    if worth.isEmpty {
      return Explanation(
        .spoofedSource, .ruledOut, "no source is admitted as NEW: forging one would gain nothing")
    }
    if FlowJudge.strangers(family).allSatisfy(worth.contains) {
      return Explanation(
        .spoofedSource, .ruledOut, "anybody is admitted as himself: nobody needs to forge")
    }
    let guards = snapshot.rules(family: family) { $0.checksReversePath }
    let world = ways.outside(family).flatMap { $0.isEmpty ? nil : $0 }
    let outside = world ?? ways.all.flatMap(\.all)
    if guards.isEmpty {
      guard family == .ipv4 else {
        return Explanation(
          .spoofedSource, .cannotTell, "rp_filter is IPv4's alone, and no rpfilter rule stands",
          command: "ip6tables -t raw -A PREROUTING -m rpfilter --invert -j DROP")
      }
      if let open = openInterfaces(outside) { return open }
    }
    let evidence =
      guards.map { Evidence("drops what comes by another way than its route", rule: $0.reference) }
      + settings(outside)
    guard let world else {
      // Without a default route each way brings its own networks and nobody else's.
      return Explanation(
        .spoofedSource, .ruledOut, "what comes by another way than its address's is dropped",
        evidence)
    }
    return reachable(worth, family, outside: world, evidence)
  }

  /// The answer where an interface does not check, or is not known to; else `nil`.
  private func openInterfaces(_ outside: [String]) -> Explanation? {
    let values = observation.network.reversePathFilter
    let evidence = settings(outside)
    let open = outside.filter { values[$0] == 0 }
    if let first = open.first {
      return Explanation(
        .spoofedSource, .cannotTell,
        "rp_filter is 0 on \(Listing.words(open)): who forges an allowed source is let in as it",
        evidence,
        // With several ways out, strict checking drops who answers by another one.
        command: outside.count == 1 ? "sysctl -w \(Self.setting(first))=1" : capture)
    }
    let loose = outside.filter { values[$0] == 2 }
    if let first = loose.first {
      return Explanation(
        .spoofedSource, .cannotTell,
        "rp_filter is 2 on \(Listing.words(loose)): any source that has a route passes", evidence,
        command: outside.count == 1 ? "sysctl -w \(Self.setting(first))=1" : nil)
    }
    let unknown = outside.filter { values[$0] == nil }
    if outside.isEmpty || !unknown.isEmpty {
      return Explanation(
        .spoofedSource, .cannotTell,
        "rp_filter is not known"
          + (unknown.isEmpty ? "" : " on \(Listing.words(unknown))"), evidence,
        command: "sysctl net.ipv4.conf")
    }
    return nil
  }

  /// The answer where every interface checks: it tells only ways apart, not senders.
  private func reachable(
    _ worth: PrefixSet, _ family: AddressFamily, outside: [String], _ evidence: [Evidence]
  ) -> Explanation {
    let prefixes = worth.prefixes.filter { $0.family == family }
    var shared: [IPPrefix] = []
    for prefix in prefixes.prefix(256) {
      guard let names = ways.interfaces(to: prefix.address) else {
        return Explanation(
          .spoofedSource, .cannotTell, "by which interface \(prefix) comes is not known", evidence,
          command: "ip route get \(prefix.address)")
      }
      if names.contains(where: outside.contains) { shared.append(prefix) }
    }
    let names = Listing.words(outside)
    if !shared.isEmpty || prefixes.count > 256 {
      return Explanation(
        .spoofedSource, .cannotTell,
        "\(Listing.words(shared.map(\.description), limit: 2)) comes by \(names) like everybody: "
          + "a reverse path check tells ways apart, not senders", evidence, command: capture)
    }
    return Explanation(
      .spoofedSource, .ruledOut,
      "what comes by \(names) with another way's address is dropped", evidence)
  }

  private func settings(_ names: [String]) -> [Evidence] {
    names.compactMap { name in
      observation.network.reversePathFilter[name].map {
        Evidence(
          "reverse path check: \($0 == 0 ? "none" : $0 == 1 ? "strict" : "loose")",
          setting: .init(name: ReversePath.name(name), value: "\($0)"))
      }
    }
  }

  /// The setting of an interface, as sysctl takes it also where the name holds a dot.
  private static func setting(_ interface: String) -> String {
    ShellWord.quoted(
      interface.contains(".")
        ? "net/ipv4/conf/\(interface)/rp_filter" : "net.ipv4.conf.\(interface).rp_filter")
  }
}

extension Rule {
  /// `-m rpfilter --invert -j DROP` for all packets, not `--loose`.
  fileprivate var checksReversePath: Bool {
    guard target?.name == "DROP", matches.filter({ $0.name != "comment" }).count == 1,
      let clause = matches.first(where: { $0.name == "rpfilter" })
    else { return false }
    return clause.options.contains { $0.name == "--invert" }
      && !clause.options.contains { $0.name == "--loose" }
  }
}
