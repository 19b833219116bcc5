import ArgumentParser
import Lab

/// `sipleak-bench blocks`: many blocks in one run, and what they cost the packets of others.
struct Blocks: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure sipleak block beside iptables -I for each source, and packets beside it.")

  @Option(help: "How many sources are blocked in one run.") var sources = 10_000
  @Option(help: "How many in the long run; 0 leaves it out.") var many = 100_000
  @Option(help: "How often each program runs; iptables -I for all sources runs once.")
  var rounds = 5
  @Option(parsing: .singleValue, help: "nft or legacy; may be repeated. Both by default.")
  var backend: [String] = []
  @Flag(help: "Leave out the packets.") var noPackets = false
  @Flag(help: "Leave out what blocking takes.") var noSpeed = false

  func validate() throws {
    if backend.contains(where: { !["nft", "legacy"].contains($0) }) {
      throw ValidationError("--backend takes nft or legacy.")
    }
  }

  func run() async throws {
    if case .finished(let status) = try PrivateNamespaces.enter() { throw ExitCode(status) }
    for backend in backend.isEmpty ? ["nft", "legacy"] : backend {
      // A lab of its own for each: the tables of the other would stay.
      let bench = try await Bench.open()
      defer { bench.lab.close() }
      let blocks = BlocksBenchmark(bench: bench, backend: backend)
      try await blocks.addCarriers()
      try await blocks.loadRules()
      if !noSpeed { try await blocks.speed(sources, rounds: rounds) }
      if !noSpeed, many > 0 { try await blocks.long(many, rounds: rounds) }
      if !noPackets {
        try await blocks.packets([0, sources] + (many > 0 ? [many] : []), rounds: rounds)
      }
    }
  }
}
