public import Addressing

/// The firewall of a telephone system as it is found in the field, in `iptables-save` form.
///
/// The rule that accepts established flows stands before every SIP rule, the carrier's and the
/// office's networks are allowed to reach SIP, and a last rule rejects the rest: sound, and open to
/// every flow that is already in the table.
public enum ReferenceRuleset {
  /// The filter table alone: what the careless reload flushes and loads again.
  ///
  /// - Parameter family: IPv4 for `iptables-restore`, IPv6 for `ip6tables-restore`.
  /// - Returns: The text for that program.
  public static func filter(_ family: AddressFamily) -> String {
    let v4 = family == .ipv4
    return """
      *filter
      :INPUT ACCEPT [0:0]
      :FORWARD ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      -A INPUT -p \(v4 ? "icmp" : "ipv6-icmp") -m comment --comment "000 accept all icmp requests" -j ACCEPT
      -A INPUT -i lo -m comment --comment "001 accept all to lo interface" -j ACCEPT
      -A INPUT -m state --state RELATED,ESTABLISHED -m comment --comment "002 accept related established" -j ACCEPT
      -A INPUT -p tcp -m tcp --dport 22 -m comment --comment "010 accept ssh" -j ACCEPT
      -A INPUT -s \(v4 ? "198.51.100.0/24" : "2001:db8:c::/64") -p udp -m udp --dport 5060 -m comment --comment "100 accept sip from carrier" -j ACCEPT
      -A INPUT -s \(v4 ? "192.0.2.0/28" : "2001:db8:5::/64") -p udp -m udp --dport 5060 -m comment --comment "101 accept sip from office" -j ACCEPT
      -A INPUT -p udp -m udp --dport 10000:20000 -m comment --comment "120 accept rtp" -j ACCEPT
      -A INPUT -m comment --comment "999 reject all other requests" -j REJECT --reject-with \(v4 ? "icmp-host-prohibited" : "icmp6-adm-prohibited")
      COMMIT

      """
  }

  /// A nat table with one rule.
  ///
  /// As long as it stands, packets are tracked even while the filter table is empty: without it a
  /// flushed firewall tracks nothing, and the reload closes what the flush opened (facts A1).
  ///
  /// - Parameter family: The family the rule is for.
  /// - Returns: The text for `iptables-restore` or `ip6tables-restore`.
  public static func nat(_ family: AddressFamily) -> String {
    """
    *nat
    :PREROUTING ACCEPT [0:0]
    :INPUT ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A POSTROUTING -s \(family == .ipv4 ? "10.99.0.0/24" : "fd00:99::/64") -m comment --comment "300 masquerade phones" -j MASQUERADE
    COMMIT

    """
  }

  /// Both tables.
  ///
  /// - Parameter family: The family the rules are for.
  /// - Returns: The text for `iptables-restore` or `ip6tables-restore`.
  public static func text(_ family: AddressFamily) -> String { nat(family) + filter(family) }
}

extension LabHost {
  /// Loads the reference ruleset for both families.
  ///
  /// - Throws: ``LabError`` when a tool refuses it.
  public func loadReferenceRuleset() async throws(LabError) {
    for family in AddressFamily.allCases {
      try await restore(ReferenceRuleset.text(family), family: family)
    }
  }

  /// Reloads the firewall the careless way: flush first, load afterwards.
  ///
  /// Between `iptables -F` and `iptables-restore` everything is accepted, and tracked as long as a
  /// nat rule stands: whoever is answered in that time stays answered (facts A1).
  ///
  /// - Parameters:
  ///   - ruleset: The filter table to load afterwards; the reference ruleset's by default.
  ///   - family: The family to reload.
  ///   - whileOpen: What happens between the two commands.
  /// - Throws: ``LabError`` when a tool fails, or what the closure throws; the ruleset is loaded
  ///   again in any case.
  public func carelessReload(
    _ ruleset: String? = nil, family: AddressFamily = .ipv4,
    whileOpen: () async throws -> Void
  ) async throws {
    try await run([family == .ipv4 ? "iptables" : "ip6tables", "-F"])
    let text = ruleset ?? ReferenceRuleset.filter(family)
    do {
      try await whileOpen()
    } catch {
      try await restore(text, family: family)
      throw error
    }
    try await restore(text, family: family)
  }
}
