extension ConditionCompiler {
  /// Matches whose answer cannot be had from an observation, and what kind of thing they hang on.
  static let knownUndecidable: [String: Missing] = {
    var result: [String: Missing] = [:]
    func add(_ kind: UnknownReason.Kind, _ why: String, _ names: [String]) {
      for name in names { result[name] = Missing(kind, "match \"\(name)\" \(why)") }
    }
    add(
      .rate, "hangs on a rate, a count or chance",
      [
        "limit", "hashlimit", "dstlimit", "statistic", "random", "nth", "quota", "quota2",
        "connlimit", "iplimit", "rateest", "fuzzy", "nfacct",
      ])
    add(.geography, "hangs on where an address is said to be", ["geoip", "asn"])
    add(
      .payload, "hangs on what is in the packet",
      [
        "layer7", "ipp2p", "ndpi", "osf", "tcpmss", "gradm", "opendpi", "rtp", "webstr", "tls",
        "ah", "esp", "ipcomp", "ecn", "ipv4options", "length2", "frag", "hbh", "dst", "rt", "mh",
        "srh", "ipv6header", "eui64",
      ])
    add(
      .memory, "hangs on memory that is not in the ruleset",
      ["condition", "psd", "lscan", "account", "ipset", "pknock", "connlabel", "bgp"])
    add(
      .fact, "asks what was not observed",
      [
        "cgroup", "cluster", "cpu", "devgroup", "realm", "socket", "ipvs", "iface", "ifname",
        "vlan", "connmark2", "unclean", "dhcpmac", "l2tp",
      ])
    return result
  }()
}
