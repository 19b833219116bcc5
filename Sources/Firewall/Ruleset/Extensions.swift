/// How many words an option takes.
enum OptionArity: Equatable {
  /// This many; they are taken whatever they look like, as `getopt` does.
  case exactly(Int)
  /// One that is text: a `!` in front of it is part of it, not a negation.
  case text
  /// As many as follow without a dash: for options that are not known.
  case open
}

/// An option of a known extension.
struct OptionSpec {
  /// The name the save format prints.
  var name: String
  var arity: OptionArity
  /// What its value has to be, where the tools check it.
  var kind: OptionValue?
}

/// A match or target extension and its options.
final class ExtensionSpec: Sendable {
  /// The name the save format prints.
  let name: String
  let options: [String: OptionSpec]
  /// What a use of it must have.
  let requirements: ExtensionRequirements?

  init(name: String, options: [String: OptionSpec], requirements: ExtensionRequirements?) {
    self.name = name
    self.options = options
    self.requirements = requirements
  }

  /// The options that an abbreviation may stand for.
  func completions(of prefix: String) -> [String] { options.keys.filter { $0.hasPrefix(prefix) } }
}

/// The options that iptables and ip6tables 1.8 know, by extension.
///
/// A word `name` takes one argument, `name/N` takes N, `name~` takes one text, `name?` as many as
/// follow, `a=b` is another spelling of `b`; what follows a `:` is what the value has to be, see
/// ``OptionValue``. Sources: iptables-extensions(8) and the option tables
/// of the extensions. An extension that is missing here is kept all the same.
enum Extensions {
  static let matches = parse(
    """
    addrtype: src-type:types dst-type:types limit-iface-in/0 limit-iface-out/0
    ah: ahspi:r32 ahlen:u32 ahres/0
    bpf: object-pinned~ bytecode~
    cgroup: path~ cgroup
    cluster: cluster-total-nodes cluster-local-node cluster-local-nodemask cluster-hash-seed
    comment: comment~
    connbytes: connbytes:r64< connbytes-dir:=original|reply|both
    connbytes: connbytes-mode:=packets|bytes|avgpkt
    connlabel: label~ set/0
    connlimit: connlimit-upto:u32 connlimit-above:u32 connlimit-mask connlimit-saddr/0
    connlimit: connlimit-daddr/0
    connmark: mark:m32
    conntrack: ctstate ctproto ctorigsrc ctorigdst ctreplsrc ctrepldst ctorigsrcport
    conntrack: ctorigdstport ctreplsrcport ctrepldstport ctstatus ctexpire:r32 ctdir
    cpu: cpu:u32
    dccp: sport source-port=sport dport destination-port=dport dccp-types dccp-option:n1-255
    devgroup: src-group dst-group
    dscp: dscp:n0-63 dscp-class
    dst: dst-len dst-opts dst-not-strict/0
    ecn: ecn-tcp-cwr/0 ecn-tcp-ece/0 ecn-ip-ect
    esp: espspi:r32
    eui64:
    frag: fragid fraglen fragres/0 fragfirst/0 fragmore/0 fraglast/0
    hashlimit: hashlimit-upto hashlimit=hashlimit-upto hashlimit-above hashlimit-burst
    hashlimit: hashlimit-mode hashlimit-srcmask hashlimit-dstmask hashlimit-name~
    hashlimit: hashlimit-htable-size hashlimit-htable-max hashlimit-htable-expire
    hashlimit: hashlimit-htable-gcinterval hashlimit-rate-match/0 hashlimit-rate-interval
    hbh: hbh-len hbh-opts hbh-not-strict/0
    helper: helper~
    hl: hl-eq:u8 hl-lt:u8 hl-gt:u8
    icmp: icmp-type
    icmp6: icmpv6-type
    iprange: src-range dst-range
    ipv6header: header soft/0
    ipvs: ipvs/0 vproto vaddr vport vdir vmethod vportctl
    length: length:r16
    limit: limit limit-burst
    mac: mac-source:mac
    mark: mark:m32
    mh: mh-type
    multiport: sports source-ports=sports dports destination-ports=dports ports
    nfacct: nfacct-name~
    osf: genre ttl:n0-2 log:n0-2
    owner: uid-owner gid-owner suppl-groups/0 socket-exists/0
    physdev: physdev-in physdev-out physdev-is-in/0 physdev-is-out/0 physdev-is-bridged/0
    pkttype: pkt-type:=unicast|broadcast|multicast|host|bcast|mcast
    policy: dir pol strict/0 reqid spi proto mode tunnel-src tunnel-dst next/0
    quota: quota:u64
    rateest: rateest~ rateest1~ rateest2~ rateest-delta/0 rateest-lt/0 rateest-gt/0 rateest-eq/0
    rateest: rateest-bps? rateest-bps1? rateest-bps2? rateest-pps? rateest-pps1? rateest-pps2?
    realm: realm
    recent: set/0 rcheck/0 update/0 remove/0 seconds reap/0 hitcount:n0-65535 rttl/0 name~
    recent: rsource/0 rdest/0
    recent: mask
    rpfilter: loose/0 validmark/0 accept-local/0 invert/0
    rt: rt-type rt-segsleft rt-len rt-0-res/0 rt-0-addrs rt-0-not-strict/0
    sctp: sport source-port=sport dport destination-port=dport chunk-types/2
    set: match-set/2 set=match-set return-nomatch/0 update-counters/0 update-subcounters/0
    set: packets-eq packets-lt packets-gt bytes-eq bytes-lt bytes-gt
    socket: transparent/0 nowildcard/0 restore-skmark/0
    srh: srh-next-hdr srh-hdr-len-eq srh-hdr-len-gt srh-hdr-len-lt srh-segs-left-eq
    srh: srh-segs-left-gt srh-segs-left-lt srh-last-entry-eq srh-last-entry-gt srh-last-entry-lt
    srh: srh-tag srh-psid srh-nsid srh-lsid
    state: state
    statistic: mode:=random|nth probability:real every:u32 packet:u32
    string: from to algo string~ hex-string~ icase/0
    tcp: sport source-port=sport dport destination-port=dport tcp-flags/2 syn/0 tcp-option
    tcpmss: mss:r16<
    time: timestart timestop datestart datestop weekdays monthdays utc/0 localtz/0 kerneltz/0
    time: contiguous/0
    tos: tos
    ttl: ttl-eq:u8 ttl=ttl-eq ttl-lt:u8 ttl-gt:u8
    u32: u32~
    udp: sport source-port=sport dport destination-port=dport
    udplite: sport source-port=sport dport destination-port=dport
    """)

  static let targets = parse(
    """
    AUDIT: type:=accept|drop|reject
    CHECKSUM: checksum-fill/0
    CLASSIFY: set-class
    CLUSTERIP: new/0 hashmode clustermac total-nodes local-node hash-init
    CONNMARK: set-xmark:m32 save-mark/0 restore-mark/0 and-mark:u32 or-mark:u32 xor-mark:u32
    CONNMARK: set-mark:m32 nfmask ctmask
    CONNMARK: mask left-shift-mark right-shift-mark
    CONNSECMARK: save/0 restore/0
    CT: notrack/0 helper~ timeout~ ctevents expevents zone:zone zone-orig:zone zone-reply:zone
    DNAT: to-destination:nat random/0 persistent/0 random-fully/0
    DNPT: src-pfx dst-pfx
    DSCP: set-dscp:n0-63 set-dscp-class
    ECN: ecn-tcp-remove/0 ecn-tcp-cwr ecn-tcp-ece ecn-ip-ect
    HL: hl-set:u8 hl-inc:n1-255 hl-dec:n1-255
    HMARK: hmark-tuple hmark-mod hmark-offset hmark-src-prefix hmark-dst-prefix hmark-sport-mask
    HMARK: hmark-dport-mask hmark-spi-mask hmark-sport hmark-dport hmark-spi hmark-proto-mask
    HMARK: hmark-rnd
    IDLETIMER: timeout label~ alarm/0
    LED: led-trigger-id~ led-delay led-always-blink/0
    LOG: log-level:level log-prefix~ log-tcp-sequence/0 log-tcp-options/0 log-ip-options/0
    LOG: log-uid/0
    LOG: log-macdecode/0
    MARK: set-xmark:m32 set-mark:m32 and-mark:u32 or-mark:u32 xor-mark:u32
    MASQUERADE: to-ports:ports random/0 random-fully/0
    NETMAP: to
    NFLOG: nflog-group:u16 nflog-prefix~ nflog-range:u32 nflog-size:u32 nflog-threshold:u16
    NFQUEUE: queue-num:u16 queue-balance:r16! queue-bypass/0 queue-cpu-fanout/0
    NOTRACK:
    RATEEST: rateest-name~ rateest-interval rateest-ewmalog
    REDIRECT: to-ports:ports random/0
    REJECT: reject-with
    SECMARK: selctx~
    SET: add-set/2 del-set/2 map-set/2 exist/0 timeout map-mark/0 map-prio/0 map-queue/0
    SNAT: to-source:nat random/0 random-fully/0 persistent/0
    SNPT: src-pfx dst-pfx
    SYNPROXY: mss wscale sack-perm/0 timestamp/0 ecn/0
    TCPMSS: set-mss:u16 clamp-mss-to-pmtu/0
    TCPOPTSTRIP: strip-options
    TEE: gateway oif
    TOS: set-tos and-tos or-tos xor-tos
    TPROXY: on-port on-ip tproxy-mark
    TRACE:
    TTL: ttl-set:u8 ttl-inc:n1-255 ttl-dec:n1-255
    ULOG: ulog-nlgroup ulog-prefix~ ulog-cprange ulog-qthreshold
    ACCEPT:
    DROP:
    QUEUE:
    RETURN:
    """)

  /// Other names of a match: what `-m` accepts and saves never print.
  static let matchAliases = ["icmpv6": "icmp6", "ipv6-icmp": "icmp6", "mobility-header": "mh"]

  /// The match that `-p` alone brings along, by protocol name or number.
  static func implicitMatch(ofProtocol name: String) -> String? {
    switch name.lowercased() {
    case "tcp", "6": "tcp"
    case "udp", "17": "udp"
    case "icmp", "1": "icmp"
    case "icmpv6", "ipv6-icmp", "58": "icmp6"
    case "sctp", "132": "sctp"
    case "dccp", "33": "dccp"
    case "udplite", "136": "udplite"
    case "ah", "51", "ipv6-auth": "ah"
    case "esp", "50", "ipv6-crypt": "esp"
    case "mh", "mobility-header", "ipv6-mh", "135": "mh"
    default: nil
    }
  }

  private static func parse(_ text: String) -> [String: ExtensionSpec] {
    var options: [String: [String: OptionSpec]] = [:]
    for line in text.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let name = String(line[..<colon])
      var known = options[name] ?? [:]
      for word in line[line.index(after: colon)...].split(separator: " ") {
        if !word.contains(":"), let equals = word.firstIndex(of: "=") {
          let canonical = "--" + word[word.index(after: equals)...]
          known["--" + word[..<equals]] = known[canonical]
        } else {
          let spec = option(word)
          known[spec.name] = spec
        }
      }
      options[name] = known
    }
    return Dictionary(
      uniqueKeysWithValues: options.map {
        ($0, ExtensionSpec(name: $0, options: $1, requirements: ExtensionRequirements.all[$0]))
      })
  }

  private static func option(_ whole: Substring) -> OptionSpec {
    if let colon = whole.firstIndex(of: ":") {
      var spec = option(whole[..<colon])
      spec.kind = OptionValue(whole[whole.index(after: colon)...])
      return spec
    }
    let word = whole
    if let slash = word.firstIndex(of: "/") {
      let count = Int(word[word.index(after: slash)...]) ?? 1
      return OptionSpec(name: "--" + word[..<slash], arity: .exactly(count))
    }
    switch word.last {
    case "~": return OptionSpec(name: "--" + word.dropLast(), arity: .text)
    case "?": return OptionSpec(name: "--" + word.dropLast(), arity: .open)
    default: return OptionSpec(name: "--" + word, arity: .exactly(1))
    }
  }
}
