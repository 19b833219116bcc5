import ArgumentParser
import Conntrack
import Lab
import SystemPackage

/// `make bench`: what sipleak takes, beside the programs that give part of the same answer.
@main
struct SipleakBench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sipleak-bench",
    abstract: "Measures sipleak beside conntrack, iptables-save and the same walks in C.",
    discussion: """
      Runs in private namespaces: needs no root and changes nothing on this machine. The number of \
      entries is what the machine's net.netfilter.nf_conntrack_max allows, up to what is asked for.
      """,
    subcommands: [
      Compare.self, Blocks.self, Walk.self, Load.self, Flood.self, Count.self, Until.self,
    ], defaultSubcommand: Compare.self)
}

/// `sipleak-bench walk`: the reading of the flow table alone.
struct Walk: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Read the flows to SIP as sipleak does, and print how many there are.")

  @Option(help: "port-places, transports or everything; the cheapest by default.")
  var strategy: String?
  @Flag(help: "Look at all four places of a port.") var allPlaces = false

  func run() throws {
    var query = FlowQuery(places: FlowQuery.deliveredSide)
    if allPlaces { query.places = Set(FlowQuery.PortPlace.allCases) }
    let wanted: FlowDump.Strategy?
    switch strategy {
    case "port-places": wanted = .portPlaces
    case "transports": wanted = .transports
    case "everything": wanted = .everything
    case nil: wanted = nil
    default: throw ValidationError("There is no strategy \(strategy ?? "").")
    }
    let dump = try FlowTable.dump(query, strategy: wanted)
    guard dump.isComplete else { throw BenchError(description: "\(dump.reasons)") }
    print(dump.flows.count)
  }
}

/// `sipleak-bench load`: fills the table of this network namespace, for measuring by hand.
struct Load: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Open a lab with a full table and run a program on its PBX.")

  @Option(help: "How many entries.") var entries = 1_000_000
  @Argument(parsing: .captureForPassthrough, help: "The program and its arguments, after --.")
  var words: [String] = ["sh"]

  func run() async throws {
    let words = words.first == "--" ? Array(words.dropFirst()) : words
    if case .finished(let status) = try PrivateNamespaces.enter() { throw ExitCode(status) }
    let bench = try await Bench.open()
    defer { bench.lab.close() }
    say(try bench.fill(entries).text)
    throw ExitCode(try bench.lab.pbx.execute(words))
  }
}

/// `sipleak-bench compare`.
struct Compare: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure, and print tables of it.")

  @Option(help: "How many entries the large table has.") var entries = 1_000_000
  @Option(help: "How often each program runs.") var rounds = 5

  func run() async throws {
    if case .finished(let status) = try PrivateNamespaces.enter() { throw ExitCode(status) }
    let bench = try await Bench.open()
    defer { bench.lab.close() }
    try await bench.cron(rounds: rounds)
    try await bench.lab.pbx.run(["conntrack", "-F"])
    try await bench.large(entries: entries, rounds: rounds)
  }
}

/// Writes a line at once, also into a pipe: measuring takes minutes.
func say(_ line: String) {
  _ = try? FileDescriptor.standardOutput.writeAll("\(line)\n".utf8)
}
