import Addressing
import Conntrack
import Lab

/// Many leaks on one host, and the measurements made of their blocks.
struct BlocksBenchmark {
  let bench: Bench
  /// `nft` or `legacy`.
  let backend: String

  private var pbx: LabHost { bench.lab.pbx }
  /// Files in the private `/run`.
  private static let state = "/run/sipleak-bench.state"
  private static let script = "/run/sipleak-bench.peer"

  /// The carriers' addresses that are sent from.
  private static let carriers = 200

  /// Gives the carrier more addresses.
  func addCarriers() async throws {
    let lines = (1..<Self.carriers).map { "addr add 198.51.100.\(10 + $0)/32 dev eth0\n" }
    try await bench.lab.carrier.run(["ip", "-batch", "-"], input: lines.joined())
  }

  /// Puts the reference ruleset into the backend that is measured, and nothing into the other.
  func loadRules() async throws {
    try await pbx.run(["nft", "flush", "ruleset"])
    for family in AddressFamily.allCases {
      let name = family == .ipv4 ? "iptables" : "ip6tables"
      try await pbx.run([name + "-\(backend)-restore"], input: ReferenceRuleset.text(family))
    }
  }

  /// The address of a source.
  private static func source(_ number: Int) -> IPAddress {
    IPAddress(ipv4: 0x0a00_0000 + UInt32(number) + 1)
  }

  /// A flow of each source that the rules would refuse now.
  private func leak(_ count: Int) async throws {
    _ = try await pbx.attempt(["conntrack", "-F"])
    let sip = Endpoint(pbx.address4, 5060)
    let made = try pbx.load(
      (0..<count).lazy.map { number in
        Flow(
          from: Endpoint(Self.source(number), UInt16(1024 + number % 60_000)), to: sip,
          isAnswered: true, seconds: 86_400)
      })
    guard made.created == count else {
      throw BenchError(description: "the table could not be filled: \(made)")
    }
  }

  private func block(_ more: [String], at most: Int) -> [String] {
    [bench.sipleak, "block", "--apply", "--at-most", "\(most)", "--state", Self.state] + more
  }

  /// Forgets what was blocked before: doubling times are not what is measured.
  private func clear() async throws {
    _ = try await bench.watch.measure([bench.sipleak, "purge", "--no-history"])
    try await pbx.run(["rm", "-rf", Self.state])
    try await pbx.run(["mkdir", Self.state])
  }

  private func members() async throws -> Int {
    let text = try await pbx.run(["ipset", "save"]).output
    return text.split(separator: "\n").count { $0.hasPrefix("add sipleak4 ") }
  }

  /// That a block did what is measured: every source is in the set, and no flow is left.
  private func prove(_ count: Int) async throws {
    let members = try await members()
    let flows = try await pbx.run(["conntrack", "-C"]).output.filter(\.isNumber)
    guard members == count, flows == "0" else {
      throw BenchError(description: "\(members) of \(count) are blocked, \(flows) flows are left")
    }
  }

  /// All sources in one run, beside `iptables -I` for each.
  func speed(_ count: Int, rounds: Int) async throws {
    say("\n## \(count) sources, iptables-\(backend)\n")
    var blocked = Contender(name: "sipleak block --apply, until all are blocked", commands: [])
    var whole = Contender(name: "the whole of it, proved (--verify-after 0s)", commands: [])
    var usual = Contender(name: "as it is without options: 2 s between two proofs", commands: [])
    for _ in 0..<rounds {
      for options in [["--verify-after", "0s"], []] {
        try await clear()
        try await leak(count)
        let run = try await bench.watch.measure(block(options, at: count))
        try await prove(count)
        if options.isEmpty { usual.runs.append(run) } else { whole.runs.append(run) }
      }
      try await clear()
      try await leak(count)
      let text = try await pbx.run(
        [bench.bench, "until", "blocked"] + block(["--verify-after", "0s"], at: count)
      ).output
      try await prove(count)
      guard let seconds = Double(text.filter { !$0.isWhitespace }) else {
        throw BenchError(description: "no time: \(text)")
      }
      blocked.runs.append(Measurement(seconds: seconds, processor: 0, peak: 0, status: 0))
    }
    try await clear()
    // The peer, once: it takes a minute, and longer the more rules there are.
    var tenth = Contender(name: "iptables -I for the first tenth of them", commands: [])
    tenth.runs = [try await insert(0..<count / 10)]
    var peer = Contender(name: "iptables -I for each", commands: [])
    var rest = try await insert(count / 10..<count)
    rest.seconds += tenth.runs[0].seconds
    rest.processor += tenth.runs[0].processor
    peer.runs = [rest]
    say("| what | median | range | processor | peak memory | iptables -I to it |")
    say("|---|---|---|---|---|---|")
    for contender in [blocked, whole, usual] {
      say(row(contender) + " \((peer.median / contender.median).digits(0)) times |")
    }
    for contender in [tenth, peer] { say(row(contender) + " |") }
    // What so many rules cost a packet, while they stand.
    let rates = try await rates(rounds: 1)
    say(
      "\nPackets beside the \(count) rules of iptables -I: established "
        + "\(rates.established.digits(0)), new \(rates.new.digits(0)) a second\n")
    try await loadRules()
  }

  private func insert(_ numbers: Range<Int>) async throws -> Measurement {
    let addresses = numbers.map { "\(Self.source($0))" }.joined(separator: "\n")
    try await pbx.run(["tee", Self.script], input: addresses + "\n")
    return try await bench.watch.measure([
      "sh", "-c",
      "while read -r a; do iptables-\(backend) -w -I INPUT -s $a -p udp --dport 5060 -j DROP "
        + "|| exit 3; done <\(Self.script)",
    ])
  }

  private func row(_ contender: Contender) -> String {
    "| \(contender.name) | \(contender.median.digits(2)) s | "
      + "\(contender.range.least.digits(2)) to \(contender.range.most.digits(2)) s | "
      + (contender.peak == 0
        ? "| |"
        : "\(contender.processor.digits(2)) s | "
          + "\((Double(contender.peak) / 1024).digits(0)) MiB |")
  }

  /// A hundred thousand sources: what every verb takes then.
  func long(_ count: Int, rounds: Int) async throws {
    say("\n## \(count) sources, iptables-\(backend)\n")
    let names = [
      "block --apply --verify-after 0s", "the same again: nothing to block", "audit",
      "unblock of one", "purge",
    ]
    var verbs = names.map { Contender(name: $0, commands: []) }
    for _ in 0..<max(1, rounds / 2) {
      try await clear()
      try await leak(count)
      let watch = bench.watch
      let apply = block(["--verify-after", "0s"], at: count)
      verbs[0].runs.append(try await watch.measure(apply))
      try await prove(count)
      verbs[1].runs.append(try await watch.measure(apply))
      verbs[2].runs.append(
        try await watch.measure([bench.sipleak, "audit", "--state", Self.state]))
      verbs[3].runs.append(
        try await watch.measure([
          bench.sipleak, "unblock", "\(Self.source(7))", "--state", Self.state,
        ]))
      guard try await members() == count - 1 else {
        throw BenchError(description: "unblock did not lift one block")
      }
      verbs[4].runs.append(
        try await watch.measure([bench.sipleak, "purge", "--state", Self.state]))
      guard try await members() == 0 else { throw BenchError(description: "purge left blocks") }
    }
    say("| what | median | range | processor | peak memory |")
    say("|---|---|---|---|---|")
    for verb in verbs { say(row(verb)) }
  }

  /// Packets of somebody who is not blocked, beside so many blocks.
  func packets(_ counts: [Int], rounds: Int) async throws {
    say("\n## Packets of the carrier, iptables-\(backend)\n")
    var established = counts.map { _ in [Double]() }
    var new = established
    for _ in 0..<rounds {
      for (index, count) in counts.enumerated() {
        try await clear()
        if count > 0 {
          try await leak(count)
          _ = try await bench.watch.measure(block(["--verify-after", "0s"], at: count))
          try await prove(count)
        }
        let rates = try await rates(rounds: 3)
        established[index].append(rates.established)
        new[index].append(rates.new)
      }
    }
    try await clear()
    say("| blocks | established, packets a second | to none | new | to none |")
    say("|---|---|---|---|---|")
    func ratio(_ runs: [[Double]], _ index: Int) -> String {
      // Of runs made one after another: a slow minute slows both.
      Contender.median(zip(runs[index], runs[0]).map { $0 / $1 }).digits(2)
    }
    for (index, count) in counts.enumerated() {
      say(
        "| \(count) | \(Contender.median(established[index]).digits(0)) | "
          + "\(ratio(established, index)) | \(Contender.median(new[index]).digits(0)) | "
          + "\(ratio(new, index)) |")
    }
  }

  /// Packets a second that reach the socket, of one flow that was answered and of many that were not.
  private func rates(rounds: Int) async throws -> (established: Double, new: Double) {
    var established: [Double] = []
    var new: [Double] = []
    for _ in 0..<rounds {
      established.append(try await rate(["--established"]))
      new.append(try await rate(["--sockets", "1000", "--addresses", "\(Self.carriers)"]))
    }
    return (Contender.median(established), Contender.median(new))
  }

  private func rate(_ options: [String]) async throws -> Double {
    _ = try await pbx.attempt(["conntrack", "-F"])
    let pbx = pbx
    let program = bench.bench
    async let counting = pbx.run([program, "count"])
    _ = try await bench.lab.carrier.run(
      [program, "flood", "--to", "\(pbx.address4)"] + options)
    let text = try await counting.output.filter { !$0.isWhitespace }
    guard let rate = Double(text) else { throw BenchError(description: "no rate: \(text)") }
    return rate
  }
}
