internal import Addressing

/// What the tools want of a use of an extension beyond each option for itself.
struct ExtensionRequirements: Sendable {
  /// Of each group at least one option has to be there.
  private var needed: [[String]] = []
  /// Of each group at most one.
  private var exclusive: [[String]] = []
  /// Without `-p` the kernel refuses the rule.
  private var needsProtocol = false

  /// What should have stood there, if something is missing or too much.
  ///
  /// An option that is not known may stand for any: a newer version's use is not judged.
  func fault(
    _ options: [RuleOption], of spec: ExtensionSpec, hasProtocol: Bool, family: AddressFamily
  ) -> String? {
    guard let fault = fault(options, spec, hasProtocol, family) else { return nil }
    return options.allSatisfy { spec.options[$0.name] != nil } ? fault : nil
  }

  private func fault(
    _ options: [RuleOption], _ spec: ExtensionSpec, _ hasProtocol: Bool, _ family: AddressFamily
  ) -> String? {
    func has(_ name: String) -> Bool { options.contains { $0.name == name } }
    for group in needed where !group.contains(where: has) {
      return "\(spec.name) with " + group.joined(separator: " or ")
    }
    for group in exclusive where group.count(where: has) > 1 {
      return "\(spec.name) with only one of " + group.joined(separator: ", ")
    }
    if hasProtocol { return nil }
    if needsProtocol, spec.name != "ah" || family == .ipv4 { return "-p with \(spec.name)" }
    return Self.portsNeedProtocol(options, family) ? "-p with the ports of \(spec.name)" : nil
  }

  /// Whether a target's options hold something that only some protocols have.
  private static func portsNeedProtocol(_ options: [RuleOption], _ family: AddressFamily) -> Bool {
    options.contains { option in
      switch option.name {
      case "--to-ports": true
      case "--to-destination", "--to-source":
        option.arguments.first.flatMap { OptionValue.portPart($0, family) } != nil
      case "--reject-with": option.arguments.first == "tcp-reset"
      case "--ecn-tcp-cwr", "--ecn-tcp-ece", "--ecn-tcp-remove": true
      default: false
      }
    }
  }

  /// By extension.
  ///
  /// A line is `NAME:` and words: `a|b` at least one of them, `a^b` at most one, `-p` a
  /// protocol. Sources: the extensions' final checks and the kernel's `xt_check_match`.
  static let all: [String: ExtensionRequirements] = {
    var result: [String: ExtensionRequirements] = [:]
    for line in text.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let name = String(line[..<colon])
      var requirements = result[name] ?? ExtensionRequirements()
      for word in line[line.index(after: colon)...].split(separator: " ") {
        if word == "-p" {
          requirements.needsProtocol = true
        } else if word.contains("^") {
          requirements.exclusive.append(word.split(separator: "^").map { "--" + $0 })
        } else {
          requirements.needed.append(word.split(separator: "|").map { "--" + $0 })
        }
      }
      result[name] = requirements
    }
    return result
  }()

  private static let text = """
    addrtype: src-type|dst-type limit-iface-in^limit-iface-out
    ah: -p
    cluster: cluster-total-nodes cluster-local-node|cluster-local-nodemask cluster-hash-seed
    comment: comment
    connbytes: connbytes connbytes-dir connbytes-mode
    connlimit: connlimit-upto|connlimit-above connlimit-upto^connlimit-above
    connlimit: connlimit-saddr^connlimit-daddr
    connmark: mark
    conntrack: ctstate|ctproto|ctorigsrc|ctorigdst|ctreplsrc|ctrepldst|ctorigsrcport|ctorigdstport|ctreplsrcport|ctrepldstport|ctstatus|ctexpire|ctdir
    cpu: cpu
    dccp: -p
    dscp: dscp|dscp-class dscp^dscp-class
    ecn: ecn-tcp-cwr|ecn-tcp-ece|ecn-ip-ect
    esp: -p
    frag: fraglast^fragmore
    hashlimit: hashlimit-upto|hashlimit-above hashlimit-name
    helper: helper
    hl: hl-eq|hl-lt|hl-gt hl-eq^hl-lt^hl-gt
    icmp: -p
    icmp6: -p
    iprange: src-range|dst-range
    length: length
    mac: mac-source
    mark: mark
    mh: -p
    multiport: sports|dports|ports -p
    nfacct: nfacct-name
    osf: genre -p
    pkttype: pkt-type
    quota: quota
    realm: realm
    sctp: -p
    state: state
    statistic: mode
    string: string|hex-string algo
    tcp: -p
    tcpmss: mss -p
    tos: tos
    ttl: ttl-eq|ttl-lt|ttl-gt ttl-eq^ttl-lt^ttl-gt
    udp: -p
    udplite: -p
    AUDIT: type
    CHECKSUM: checksum-fill
    CLASSIFY: set-class
    CONNMARK: set-xmark|save-mark|restore-mark|and-mark|or-mark|xor-mark|set-mark
    CONNSECMARK: save|restore
    DNAT: to-destination
    DNPT: src-pfx dst-pfx
    DSCP: set-dscp|set-dscp-class set-dscp^set-dscp-class
    ECN: ecn-tcp-remove|ecn-tcp-cwr|ecn-tcp-ece|ecn-ip-ect
    HL: hl-set|hl-inc|hl-dec hl-set^hl-inc^hl-dec
    HMARK: hmark-mod
    IDLETIMER: timeout label
    MARK: set-xmark|set-mark|and-mark|or-mark|xor-mark
    MASQUERADE:
    NETMAP: to
    REDIRECT:
    REJECT:
    SECMARK: selctx
    SNAT: to-source
    SNPT: src-pfx dst-pfx
    SYNPROXY: -p
    TCPMSS: set-mss|clamp-mss-to-pmtu -p
    TCPOPTSTRIP: -p
    TEE: gateway
    TOS: set-tos|and-tos|or-tos|xor-tos
    TPROXY: on-port -p
    TTL: ttl-set|ttl-inc|ttl-dec ttl-set^ttl-inc^ttl-dec
    """
}
