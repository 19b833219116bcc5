import Addressing
import ArgumentParser
import Conntrack
import Glibc
import Lab

/// `sipleak watch` beside `conntrack -E`, under a load of new flows, in private namespaces.
@main
struct EventsBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sipleak-bench-events",
    abstract: "Follow 20,000 new flows a second with sipleak watch and conntrack -E side by side.",
    discussion: """
      One flow in 10,000 is a leak. All listen at once and are charged for what they use \
      (user and system time); what the kernel spends on sending events is the loader's. Needs no \
      root and leaves nothing behind. Exits with 1 if a leak was not reported.
      """)

  @Option(help: "The sipleak to run; the one beside this program unless given.")
  var sipleak: String?
  @Option(help: "New flows a second.") var rate = 20_000
  @Option(help: "Seconds of load.") var seconds = 60
  @Option(help: "Which load: mixed, flood or answered; all of them unless given.")
  var load: [String] = []
  @Option(help: "Seconds a flow lives: rate times this must fit nf_conntrack_max.")
  var lifetime: UInt32 = 5
  @Option(help: "Bytes of sipleak's receive buffer, to make it lose events.")
  var receiveBuffer: Int?
  @Option(help: "Bytes of conntrack's receive buffer.") var peerBuffer = 8_388_608

  func validate() throws {
    if load.contains(where: { Load(rawValue: $0) == nil }) {
      throw ValidationError("--load takes mixed, flood or answered.")
    }
    if rate < 100 || seconds < 1 { throw ValidationError("Too little load.") }
  }

  func run() async throws {
    do {
      if case .finished(let status) = try PrivateNamespaces.enter() { throw ExitCode(status) }
      guard let own = PrivateNamespaces.program else { throw ExitCode(1) }
      let program =
        sipleak ?? own.split(separator: "/").dropLast().map { "/" + $0 }.joined()
        + "/sipleak"
      var isWhole = true
      let loads = load.isEmpty ? Load.allCases : load.compactMap { Load(rawValue: $0) }
      for load in loads {
        // A table of its own for each: nothing of the last one is left.
        let missed = try await Lab.with { try await run(load, in: $0, program: program) }
        if missed > 0 { isWhole = false }
      }
      throw ExitCode(isWhole ? 0 : 1)
    } catch let error as LabError {
      say("sipleak-bench-events: \(error)")
      throw ExitCode(69)
    }
  }

  /// Runs one load.
  ///
  /// - Returns: How many leaks were not reported.
  private func run(_ load: Load, in lab: Lab, program: String) async throws -> Int {
    try await lab.pbx.loadReferenceRuleset()
    let path = "/run/netns/\(lab.pbx.name)"
    var words = [program, "watch", "--every", "1h"]
    if let receiveBuffer { words += ["--receive-buffer", "\(receiveBuffer)"] }
    let watch = try Listener("sipleak watch", words, at: path)
    let peers = [
      try Listener(
        "conntrack -E -p udp", ["conntrack", "-E", "-p", "udp", "-b", "\(peerBuffer)"], at: path),
      try Listener(
        "conntrack -E -p udp --orig-port-dst 5060",
        ["conntrack", "-E", "-p", "udp", "--orig-port-dst", "5060", "-b", "\(peerBuffer)"],
        at: path),
    ]
    try await waiting { watch.errorsNow().contains("watching") }
    try await Task.sleep(for: .seconds(1))

    let (made, refused, took) = try await offer(load, lab)
    let leaks = (made + Load.leakEvery / 2) / Load.leakEvery
    // What is still on its way: until all are there, or nothing more comes.
    var seen = -1
    for _ in 0..<30 {
      let now = Self.leaks(watch.outputNow())
      if now >= leaks, seen == now { break }
      seen = now
      try await Task.sleep(for: .milliseconds(500))
    }
    let account = watch.end()
    let found = Self.leaks(account.output)
    say(
      "\(load.rawValue): \(made) flows in \(Self.decimal(took, 1)) s "
        + "(\(Int(Double(made) / took)) a second, \(refused) refused), \(leaks) leaks")
    show(account, "\(found) of \(leaks) leaks reported")
    for peer in peers {
      let account = peer.end()
      let lines = account.output.utf8.count { $0 == 10 }
      show(
        account,
        "\(lines) lines" + (account.errors.contains("WARNING") ? ", says that it lost events" : ""))
    }
    for line in account.errors.split(separator: "\n") { say("    \(line)") }
    say("")
    return leaks - found
  }

  /// Offers the load at an even rate.
  private func offer(_ load: Load, _ lab: Lab) async throws -> (Int, Int, Double) {
    let pbx = lab.pbx
    let (rate, seconds, lifetime) = (rate, seconds, lifetime)
    return try await Task.detached {
      // Blocks a thread of the pool for a minute; nothing else here needs it.
      try Self.offer(load, rate: rate, seconds: seconds, lifetime: lifetime, on: pbx)
    }.value
  }

  private static func offer(
    _ load: Load, rate: Int, seconds: Int, lifetime: UInt32, on host: LabHost
  ) throws -> (Int, Int, Double) {
    let clock = ContinuousClock()
    let start = clock.now
    var number = 0
    var missing = 0
    while number < rate * seconds {
      let elapsed = (clock.now - start) / .seconds(1)
      let due = min(rate * seconds, Int(elapsed * Double(rate)))
      let made = try host.load((number..<due).lazy.map { load.flow($0, seconds: lifetime) })
      missing += due - number - made.created
      number = due
      usleep(2000)
    }
    return (number, missing, (clock.now - start) / .seconds(1))
  }

  private func waiting(for condition: () -> Bool) async throws {
    for _ in 0..<600 {
      if condition() { return }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw Listener.Failure(words: "sipleak watch did not begin")
  }

  private func show(_ account: Listener.Account, _ note: String) {
    let name = account.name.padded(to: 42)
    say(
      "  \(name) \(Self.decimal(account.processorSeconds, 2)) s CPU  "
        + "\(Self.decimal(account.memoryMiB, 1)) MiB  \(note)")
  }

  private static func leaks(_ output: String) -> Int {
    var seen: Set<Substring> = []
    for line in output.split(separator: "\n") where line.contains(" leak cause=") {
      if let port = line.split(separator: " ").first(where: { $0.hasPrefix("sport=") }) {
        seen.insert(port)
      }
    }
    return seen.count
  }

  private static func decimal(_ number: Double, _ places: Int) -> String {
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let whole = Int((number * scale).rounded())
    let fraction = String(whole % Int(scale))
    return "\(whole / Int(scale))."
      + String(repeating: "0", count: places - fraction.count) + fraction
  }
}

/// Prints a line at once, also into a pipe.
func say(_ line: String) {
  let bytes = Array("\(line)\n".utf8)
  _ = unsafe write(1, bytes, bytes.count)
}

extension String {
  func padded(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
}
