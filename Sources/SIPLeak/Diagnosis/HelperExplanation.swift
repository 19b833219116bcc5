import Addressing
import Conntrack
import Firewall

extension Differential {
  /// Whether a helper's expectation lets packets in (facts A4).
  func helper() -> Explanation {
    let expected = flows.filter { $0.flow.status.contains(.expected) || $0.flow.master != nil }
    let expectations = observation.expectations.filter { expectation in
      !expectation.flags.contains(.inactive)
        && observation.endpoints.contains(
          expectation.tuple.destinationPort, expectation.tuple.transport)
    }
    let asked = suspects
    let admitting = expectations.filter { expectation in
      asked.isEmpty || expectation.admitsAnySource || asked.contains(where: expectation.admits)
    }
    let rules = snapshot.rules { rule in
      rule.target?.name == "CT" && rule.target?.options.contains { $0.name == "--helper" } == true
    }
    var evidence = rules.prefix(Self.listed).map {
      Evidence("gives flows a helper", rule: $0.reference)
    }
    evidence += expectations.prefix(Self.listed).map { expectation in
      Evidence(
        "expected: \(Self.source(of: expectation)) to \(expectation.tuple.destinationEndpoint)",
        prefixes: expectation.admitsAnySource ? [] : [IPPrefix(expectation.tuple.source)])
    }
    evidence += expected.prefix(Self.listed).map {
      Evidence("let in as RELATED by an expectation", flow: $0.ends)
    }
    evidence += settings
    let command = helperCommand(rules)
    if let first = admitting.first(where: \.admitsAnySource) ?? admitting.first {
      return Explanation(
        .helper, .supported,
        "\(Self.source(of: first)) enters \(first.tuple.destinationEndpoint) as RELATED, whatever "
          + "the SIP rules say", evidence, command: command)
    }
    if let first = expected.first {
      return Explanation(
        .helper, .supported, "an expectation let \(first.sides.peer) in as RELATED", evidence,
        command: command)
    }
    if peer == nil || !flows.isEmpty, !asked.isEmpty {
      let why = "none of the flows was expected, and no expectation admits their peers"
      return Explanation(
        .helper, .ruledOut, rules.isEmpty ? "no helper rule; \(why)" : why, evidence)
    }
    if !rules.isEmpty {
      return Explanation(
        .helper, .cannotTell,
        "\(Listing.places(rules.map(\.reference))) gives flows a helper; nothing is expected at SIP now",
        evidence, command: command)
    }
    if mayHaveNativeHelper {
      return Explanation(
        .helper, .cannotTell, "the nft ruleset names a ct helper, which iptables does not show",
        evidence, command: "nft list ruleset")
    }
    let sip = observation.settings.sipHelper
    switch observation.settings.assignsHelpers {
    case true? where sip?.isLoaded != false:
      return Explanation(
        .helper, .cannotTell, "the kernel gives helpers to flows by itself", evidence,
        command: "sysctl -w net.netfilter.nf_conntrack_helper=0")
    default:
      let isAbsent = sip?.isLoaded == false
      return Explanation(
        .helper, .ruledOut,
        "no helper rule, no expectation"
          + (isAbsent ? "; nf_conntrack_sip is not in the kernel" : ""),
        evidence)
    }
  }

  private var settings: [Evidence] {
    let settings = observation.settings
    var result: [Evidence] = []
    if let isLoaded = settings.sipHelper?.isLoaded {
      result.append(
        Evidence(
          isLoaded ? "nf_conntrack_sip is in the kernel" : "nf_conntrack_sip is not in the kernel"))
    }
    if let assigns = settings.assignsHelpers {
      result.append(
        Evidence(
          assigns ? "helpers are assigned without a rule" : "helpers are assigned by rules only",
          setting: .init(
            name: "net.netfilter.nf_conntrack_helper", value: assigns ? "1" : "0")))
    }
    let parameters: [(name: String, value: String?)] = [
      ("ports", settings.sipHelper?.ports?.map { "\($0)" }.joined(separator: ",")),
      ("sip_direct_media", settings.sipHelper?.directMedia.map { $0 ? "1" : "0" }),
      ("sip_direct_signalling", settings.sipHelper?.directSignalling.map { $0 ? "1" : "0" }),
      ("sip_timeout", settings.sipHelper?.timeout.map { "\($0)" }),
    ]
    for (name, value) in parameters {
      guard let value else { continue }
      // 0 lets an expectation admit every source (facts A4, A4d).
      let isOpen = name.hasPrefix("sip_direct") && value == "0"
      result.append(
        Evidence(
          isOpen ? "its expectations admit any source" : "parameter of the helper",
          setting: .init(
            name: "/sys/module/nf_conntrack_sip/parameters/\(name)", value: value)))
    }
    return result
  }

  private var mayHaveNativeHelper: Bool {
    observation.sample.firewall.files["nft.json"].map {
      $0.firstRange(of: Array("\"ct helper\"".utf8)) != nil
    } ?? false
  }

  private func helperCommand(_ rules: [PlacedRule]) -> String? {
    guard let rule = rules.first else { return "conntrack -L expect" }
    return
      "\(tool(rule.reference, rule.family)) -t \(ShellWord.quoted(rule.reference.table)) -D \(ShellWord.quoted(rule.reference.chain)) "
      + "\(rule.reference.index) && conntrack -F expect"
  }

  private static func source(of expectation: Expectation) -> String {
    if expectation.admitsAnySource { return "anybody" }
    return expectation.mask.sourcePort == 0
      ? "\(expectation.tuple.source) from any port" : "\(expectation.tuple.sourceEndpoint)"
  }
}

extension Expectation {
  /// Whether packets of an address are admitted.
  func admits(_ address: IPAddress) -> Bool {
    address.family == tuple.family
      && address.bits & mask.source.bits == tuple.source.bits & mask.source.bits
  }
}
