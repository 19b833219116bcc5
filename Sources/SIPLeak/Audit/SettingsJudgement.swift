import Addressing
import Conntrack
import Firewall
import HostNetwork
import SystemPackage

/// Judges the kernel's settings; pure.
struct SettingsJudgement {
  private let observation: Observation
  private let settings: ConntrackSettings
  /// What a command needs before it to act in the namespace observed.
  private let entering: String
  private var result: [JudgedSetting] = []

  /// Every setting, judged; in the same order always.
  static func all(of observation: Observation) -> [JudgedSetting] {
    var judgement = SettingsJudgement(observation)
    judgement.judgeTable()
    judgement.judgeRecords()
    judgement.judgeTimeouts()
    judgement.judgeTCP()
    judgement.judgeHelpers()
    judgement.judgeReversePath()
    return judgement.result
  }

  private init(_ observation: Observation) {
    self.observation = observation
    settings = observation.settings
    entering =
      observation.host.namespace.map {
        "nsenter --net=\(EscapedText.shellWord(NamespaceOwner($0).path.string)) "
      } ?? ""
  }

  private static let prefix = "net.netfilter.nf_conntrack_"

  private mutating func add(
    _ name: String, _ value: (some CustomStringConvertible)?, _ level: JudgedSetting.Level,
    _ text: String, set new: String? = nil
  ) {
    // The table's size is one for all namespaces, and only the first one's may be written.
    let entering = ["max", "buckets"].contains(name) ? "" : entering
    let name = Self.prefix + name
    result.append(
      JudgedSetting(
        name, value?.description, level, text,
        new.map { "\(entering)sysctl -w \(name)=\($0)" }))
  }

  /// A setting that couldn't be read, if it couldn't.
  ///
  /// - Returns: The value.
  private mutating func known<Value>(_ name: String, _ value: Value?) -> Value? {
    if value == nil {
      result.append(JudgedSetting(Self.prefix + name, nil, .unknown, "could not be read"))
    }
    return value
  }

  // MARK: the table

  private mutating func judgeTable() {
    let count = known("count", settings.count)
    let most = known("max", settings.max)
    if let count { add("count", count, .fine, "entries in the table") }
    if let most {
      guard let count, most > 0 else {
        add("max", most, .fine, most == 0 ? "no limit" : "entries the table may have")
        return judgeBuckets(most)
      }
      let share = UInt64(count) * 100 / UInt64(most)
      let (double, isLarge) = most.multipliedReportingOverflow(by: 2)
      let more = isLarge ? nil : String(double)
      switch share {
      case 90...:
        add(
          "max", most, .matters,
          "the table is \(share)% full (\(Quantity.grouped(count)) of \(Quantity.grouped(most))): "
            + "when it is full, packets of new flows are dropped, calls among them", set: more)
      case 75...: add("max", most, .minor, "the table is \(share)% full", set: more)
      default: add("max", most, .fine, "the table is \(share)% full")
      }
    }
    judgeBuckets(most)
  }

  private mutating func judgeBuckets(_ most: UInt32?) {
    guard let buckets = known("buckets", settings.buckets) else { return }
    if let most, buckets > 0, most / buckets >= 8 {
      add(
        "buckets", buckets, .minor,
        "up to \(most / buckets) entries share a bucket: each packet's lookup is slower",
        set: String(most))
    } else {
      add("buckets", buckets, .fine, "buckets, shared by all network namespaces")
    }
  }

  // MARK: what is recorded

  private mutating func judgeRecords() {
    if let accounting = known("acct", settings.accounting) {
      if accounting {
        add("acct", 1, .fine, "flows count packets and bytes")
      } else {
        add(
          "acct", 0, .matters,
          "flows carry no packet counters, so that a flow is alive shows in its timeout alone; "
            + "it counts in those that begin afterwards", set: "1")
      }
    }
    if let timestamps = known("timestamp", settings.timestamps) {
      if timestamps {
        add("timestamp", 1, .fine, "flows carry the time they began")
      } else {
        add("timestamp", 0, .minor, "flows don't tell how old they are", set: "1")
      }
    }
    if let events = known("events", settings.events) {
      switch events {
      case 0:
        add("events", 0, .minor, "no events are sent: nothing can follow flows live", set: "2")
      case 2:
        add(
          "events", 2, .fine,
          "events are sent while somebody listens; flows that began before send none")
      default: add("events", events, .fine, "events are sent")
      }
    }
  }

  // MARK: timeouts

  /// What Asterisk's `qualify` and most trunks' OPTIONS come at, in seconds.
  private static let usualKeepalive: UInt32 = 60
  /// Longer than any kernel's own choice by far.
  private static let longTimeout: UInt32 = 600

  private mutating func judgeTimeouts() {
    if let seconds = known("udp_timeout", settings.udpTimeout) {
      if seconds > Self.longTimeout {
        add(
          "udp_timeout", seconds, .matters,
          "a UDP flow stays open \(Quantity.duration(Double(seconds))) after its last packet, "
            + "answered or not: so does every hole", set: "30")
      } else {
        add("udp_timeout", seconds, .fine, "seconds a UDP flow lives after its last packet")
      }
    }
    guard let seconds = known("udp_timeout_stream", settings.udpStreamTimeout) else { return }
    let length = Quantity.duration(Double(seconds))
    if seconds <= Self.usualKeepalive {
      add(
        "udp_timeout_stream", seconds, .matters,
        "a call's flow ends after \(length) of silence, and SIP keepalives often come only every "
          + "\(Self.usualKeepalive) s: between two of them a trunk is a stranger again",
        set: "120")
    } else if seconds > Self.longTimeout {
      add(
        "udp_timeout_stream", seconds, .matters,
        "a leak stays open \(length) after its last packet", set: "120")
    } else {
      add("udp_timeout_stream", seconds, .fine, "seconds a UDP stream lives after its last packet")
    }
  }

  private mutating func judgeTCP() {
    guard let loose = known("tcp_loose", settings.tcpLoose) else { return }
    if loose, !observation.endpoints.tcpPorts.isEmpty {
      add(
        "tcp_loose", 1, .matters,
        "a TCP flow that was deleted is picked up again by the server's next segment, and the "
          + "peer is in once more", set: "0")
    } else {
      add(
        "tcp_loose", loose ? 1 : 0, .fine,
        loose ? "no TCP port is looked at" : "a TCP flow begins with a SYN")
    }
  }

  // MARK: helpers

  private mutating func judgeHelpers() {
    // Since 6.0 there is none; where others could be read, this one is not there.
    if let automatic = settings.automaticHelpers {
      if automatic {
        add(
          "helper", 1, .matters,
          "helpers take every flow to their port unasked, also a stranger's, and let in whom it "
            + "names", set: "0")
      } else {
        add("helper", 0, .fine, "a flow gets a helper by a rule only")
      }
    }
    guard let helper = settings.sipHelper else {
      result.append(
        JudgedSetting(
          "nf_conntrack_sip", nil, .unknown, "whether the kernel has the SIP helper is not known"))
      return
    }
    guard helper.isLoaded else {
      result.append(JudgedSetting("nf_conntrack_sip", "absent", .fine, "no SIP helper"))
      return
    }
    let isUsed = usesHelper
    parameter(
      "sip_direct_signalling", helper.directSignalling, isUsed,
      "once the PBX has registered through the SIP helper, anybody may send to it")
    parameter(
      "sip_direct_media", helper.directMedia, isUsed,
      "a call through the SIP helper opens the ports it names to anybody")
  }

  /// A parameter that is safe as 1.
  private mutating func parameter(
    _ name: String, _ value: Bool?, _ isUsed: Bool, _ harm: String
  ) {
    let path = "/sys/module/nf_conntrack_sip/parameters/\(name)"
    guard let value else {
      result.append(
        JudgedSetting(
          path, nil, .unknown,
          "only root of the whole machine can read it"
            + (isUsed ? ", and the SIP helper is in use" : "; the SIP helper is not in use")))
      return
    }
    guard !value else {
      result.append(JudgedSetting(path, "1", .fine, "the other end alone is let in"))
      return
    }
    result.append(
      JudgedSetting(
        path, "0", isUsed ? .matters : .minor, isUsed ? harm : harm + "; it is not in use",
        "echo 1 > \(path)"))
  }

  /// Whether a rule or a flow shows that the SIP helper works here.
  private var usesHelper: Bool {
    if settings.automaticHelpers == true { return true }
    func isSIP(_ name: String?) -> Bool { name?.hasPrefix("sip") == true }
    if observation.expectations.contains(where: { isSIP($0.helper) })
      || observation.sample.flows.contains(where: { isSIP($0.helper) })
    {
      return true
    }
    return observation.sample.firewall.snapshot.rulesets.contains { ruleset in
      ruleset.tables.contains { table in
        table.chains.contains { chain in
          chain.rules.contains { rule in
            rule.target?.name == "CT"
              && rule.target?.options.contains {
                $0.name == "--helper" && isSIP($0.arguments.first)
              } == true
          }
        }
      }
    }
  }

  // MARK: rp_filter

  /// A spoofed carrier looks like the carrier unless the reverse path is checked (facts A7).
  private mutating func judgeReversePath() {
    let known = observation.network.reversePathFilter
    let used = Set(observation.network.peerRoutes.compactMap { $0.route?.interface })
    let isManyWays = observation.network.peerRoutes.contains { $0.isInterfaceCertain == false }
    for interface in observation.network.interfaces where !interface.isLoopback {
      let name = ReversePath.name(interface.name)
      guard let value = known[interface.name] else {
        result.append(JudgedSetting(name, nil, .unknown, "could not be read"))
        continue
      }
      let level: JudgedSetting.Level =
        value != 0 ? .fine : used.contains(interface.name) ? .matters : .minor
      let text =
        switch value {
        case 0: ReversePath.harm
        case 2: "a source must lead back by some interface"
        default: "a source must lead back by the interface it came by"
        }
      // Strict checking drops what comes by another way than the answer goes.
      let command = "\(entering)sysctl -w \(ReversePath.assignable(interface.name))=1"
      result.append(
        JudgedSetting(
          name, String(value), level,
          value == 0 && isManyWays
            ? text + "; 1 drops what comes by another way than it goes" : text,
          value == 0 ? command : nil))
    }
    if observation.network.interfaces.isEmpty {
      result.append(
        JudgedSetting("net.ipv4.conf.*.rp_filter", nil, .unknown, "could not be read"))
    }
  }
}

/// Names of `rp_filter`.
enum ReversePath {
  static let harm =
    "a packet with a forged allowed source cannot be told from the allowed one's"

  /// The name as `sysctl` prints it.
  static func name(_ interface: String) -> String { "net.ipv4.conf.\(interface).rp_filter" }

  /// The name as a shell and `sysctl -w` take it: a dot in the interface's name needs slashes.
  static func assignable(_ interface: String) -> String {
    let name =
      interface.contains(".") ? "net/ipv4/conf/\(interface)/rp_filter" : Self.name(interface)
    return EscapedText.shellWord(name)
  }
}
