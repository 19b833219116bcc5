import Addressing
import Conntrack
import Glibc
import Lab
import SystemPackage

/// A lab with a firewall in it, and the measurements that are made there.
struct Bench {
  let lab: Lab
  let watch: Stopwatch
  let sipleak: String
  /// This program, to be run on a host.
  let bench: String
  private let floor: String
  private let threads: Int

  private static let searches = [
    ["conntrack", "-L", "-p", "udp", "--orig-port-dst", "5060"],
    ["conntrack", "-L", "-p", "udp", "--orig-port-src", "5060"],
    ["conntrack", "-L", "-p", "udp", "--reply-port-src", "5060"],
  ]

  /// Opens a lab whose PBX has the reference ruleset and a way to every peer.
  static func open() async throws -> Bench {
    let lab = try await Lab.open()
    do {
      try await lab.pbx.loadReferenceRuleset()
      for family in AddressFamily.allCases {
        try await lab.pbx.run([
          "ip", family == .ipv4 ? "-4" : "-6", "route", "add", "default", "via",
          lab.attacker.address(family).description,
        ])
      }
      return try Bench(lab)
    } catch {
      lab.close()
      throw error
    }
  }

  private init(_ lab: Lab) throws {
    guard let own = PrivateNamespaces.program else {
      throw BenchError(description: "cannot find this program")
    }
    func beside(_ name: String) throws -> String {
      let path = FilePath(own).removingLastComponent().appending(name).string
      guard unsafe access(path, X_OK) == 0 else {
        throw BenchError(description: "\(path) is missing; make bench builds it")
      }
      return path
    }
    self.lab = lab
    bench = own
    sipleak = try beside("sipleak")
    floor = try beside("sipleak-floor")
    threads = min(4, max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    watch = Stopwatch(host: lab.pbx, floor: floor)
  }

  /// A table that was filled.
  struct Filled {
    var mix: TrafficMix
    var seconds: Double

    var text: String {
      let rate = Double(mix.count) / seconds / 1000
      return "\(mix.count) entries, \(mix.sipCount) to SIP, loaded in "
        + "\(seconds.digits(1)) s (\(rate.digits(0)),000 a second)"
    }
  }

  /// Fills the PBX's table, with as many entries as the machine allows.
  func fill(_ wanted: Int) throws -> Filled {
    let settings = try ConntrackSettings.read(in: lab.pbx.namespace)
    var count = wanted
    // Some room for what the lab itself does.
    if let most = settings.max.map({ max(0, Int($0) - 256) }), most < wanted {
      count = most
      say(
        """
        nf_conntrack_max is \(most + 256) here: \(count) entries instead of \(wanted). For more, as root:
          sysctl -w net.netfilter.nf_conntrack_max=\(wanted + wanted / 20)
          sysctl -w net.netfilter.nf_conntrack_buckets=\(wanted.roundedUpToPowerOfTwo)
        """)
    }
    let mix = TrafficMix(count: count, local4: lab.pbx.address4, local6: lab.pbx.address6)
    let start = ContinuousClock.now
    let creations = try FlowTable.create(mix, in: lab.pbx.namespace)
    let seconds = (ContinuousClock.now - start) / .seconds(1)
    guard creations.created == count else {
      throw BenchError(description: "the table could not be filled: \(creations)")
    }
    return Filled(mix: mix, seconds: seconds)
  }

  /// The run from cron on an ordinary host, beside the calls it replaces.
  func cron(rounds: Int) async throws {
    var rules = ReferenceRuleset.text(.ipv4).split(separator: "\n").map(String.init)
    let more = 100 - rules.filter { $0.hasPrefix("-A ") }.count
    guard let last = rules.lastIndex(where: { $0.hasPrefix("-A INPUT") }) else { return }
    rules.insert(
      contentsOf: (0..<more).map {
        "-A INPUT -s 100.64.\($0).0/24 -p udp -m udp --dport 5060 -m comment --comment \"office \($0)\" "
          + "-j ACCEPT"
      }, at: last)
    try await lab.pbx.restore(rules.map { $0 + "\n" }.joined())
    let filled = try fill(5000)
    say("\n## An ordinary host: \(filled.mix.count) flows, 100 rules\n")
    var contenders = [
      Contender(name: "sipleak audit", commands: [[sipleak, "audit"]]),
      Contender(
        name: "iptables-save -c, ip6tables-save -c and the three searches",
        commands: [["iptables-save", "-c"], ["ip6tables-save", "-c"]] + Self.searches),
      Contender(
        name: "iptables-save -c and the first search",
        commands: [["iptables-save", "-c"], Self.searches[0]]),
    ]
    try await watch.race(&contenders, rounds: rounds * 4)
    show(contenders)
    try await lab.pbx.loadReferenceRuleset()
  }

  /// All flows to SIP out of a large table.
  func large(entries: Int, rounds: Int) async throws {
    let filled = try fill(entries)
    let settings = try ConntrackSettings.read(in: lab.pbx.namespace)
    say("\n## A large table: \(filled.text); \(settings.buckets ?? 0) buckets\n")
    try await prove(filled.mix)
    var contenders = [
      Contender(name: "sipleak audit", commands: [[sipleak, "audit"]]),
      Contender(name: "its reading alone", commands: [[bench, "walk"]]),
      Contender(
        name: "the same walks in C, \(threads) threads",
        commands: [[floor, "walk", "\(threads)"]]),
      Contender(name: "conntrack: the three searches", commands: Self.searches),
      Contender(name: "conntrack: the first of them", commands: [Self.searches[0]]),
    ]
    try await watch.race(&contenders, rounds: rounds)
    show(contenders, comparing: 2)
  }

  /// That every contender finds the same flows, before anything is said of their speed.
  private func prove(_ mix: TrafficMix) async throws {
    var ids: Set<Substring> = []
    for search in Self.searches {
      for line in try await watch.output(search + ["-o", "id"]).split(separator: "\n") {
        if let id = line.split(separator: " ").last(where: { $0.hasPrefix("id=") }) {
          ids.insert(id)
        }
      }
    }
    let walked = try await watch.output([bench, "walk"])
    let lines = try await watch.output([sipleak, "audit"]).split(separator: "\n")
    let found = "conntrack \(ids.count), reading \(walked.dropLast()), findings \(lines.count)"
    guard ids.count == mix.sipCount, walked == "\(mix.sipCount)\n", lines.count == mix.sipCount
    else {
      throw BenchError(
        description: "not everybody finds the \(mix.sipCount) flows to SIP: \(found)")
    }
    say("All find the same: \(found)\n")
  }

  /// Prints a table, and what the first contenders take of the time of the others.
  private func show(_ contenders: [Contender], comparing count: Int = 1) {
    let compared = contenders.prefix(count)
    let titles = compared.map { " \($0.name) to it |" }.joined()
    say("| what | median | range | processor | peak memory |" + titles)
    say("|---|---|---|---|---|" + compared.map { _ in "---|" }.joined())
    for (index, contender) in contenders.enumerated() {
      let ratios = compared.map { other in
        index < count ? " |" : " \(other.ratio(to: contender).digits(2)) |"
      }
      say(
        "| \(contender.name) | \(contender.median.digits(3)) s | "
          + "\(contender.range.least.digits(3)) to \(contender.range.most.digits(3)) s | "
          + "\(contender.processor.digits(3)) s | "
          + "\((Double(contender.peak) / 1024).digits(1)) MiB |" + ratios.joined())
    }
  }
}

extension Double {
  /// The number with so many digits behind the point.
  func digits(_ count: Int) -> String {
    var scale = 1.0
    for _ in 0..<count { scale *= 10 }
    let scaled = Int((self * scale).rounded())
    let whole = String(scaled / Int(scale))
    guard count > 0 else { return whole }
    let rest = String(abs(scaled % Int(scale)))
    return whole + "." + String(repeating: "0", count: count - rest.count) + rest
  }
}

extension Int {
  var roundedUpToPowerOfTwo: Int {
    var result = 1
    while result < self { result *= 2 }
    return result
  }
}
