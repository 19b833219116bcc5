import ArgumentParser
import Lab

/// A private network with a telephone system, a carrier and an attacker, for trying things by hand.
@main
struct SipleakLab: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sipleak-lab",
    abstract: "A private network with a telephone system, a carrier and an attacker in it.",
    discussion: """
      Makes network namespaces that only its own processes see; needs no root and changes nothing \
      on this machine. They vanish when the command ends.

        pbx       192.0.2.5      2001:db8:5::5
        carrier   198.51.100.10  2001:db8:c::10
        attacker  203.0.113.66   2001:db8:a::66
        other     203.0.113.70   2001:db8:a::70
      """,
    subcommands: [Shell.self, Run.self, Server.self, Client.self])

  /// Opens a lab inside private namespaces and runs a program there.
  ///
  /// - Parameter body: What to do in the lab; returns the status to exit with.
  /// - Throws: `ExitCode` with that status, or what to tell the user.
  static func inLab(_ body: (Lab) async throws -> Int32) async throws {
    do {
      if case .finished(let status) = try PrivateNamespaces.enter() { throw ExitCode(status) }
      let lab = try await Lab.open()
      defer { lab.close() }
      try await lab.pbx.loadReferenceRuleset()
      throw ExitCode(try await body(lab))
    } catch let error as LabError {
      throw ValidationFailure(error)
    }
  }
}

/// A lab error as the parser prints it: one sentence, and what to do.
struct ValidationFailure: Error, CustomStringConvertible {
  let description: String
  init(_ error: LabError) { description = error.description }
}

/// `sipleak-lab shell`.
struct Shell: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Open a shell in the lab.",
    discussion: """
      In it, "ip netns exec pbx iptables -nvL" runs a program on a host, and "sipleak-lab uas" and \
      "sipleak-lab uac" are a SIP server and a client.
      """)

  @Option(help: "The shell to run.") var shell = "/bin/sh"

  func run() async throws {
    try await SipleakLab.inLab { lab in try lab.execute([shell]) }
  }
}

/// `sipleak-lab run`.
struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run one program on a host of a new lab.")

  @Option(help: "The host: pbx, carrier, attacker or other.") var host = "pbx"
  @Argument(parsing: .captureForPassthrough, help: "The program and its arguments, after --.")
  var words: [String]

  func run() async throws {
    let words = words.first == "--" ? Array(words.dropFirst()) : words
    try await SipleakLab.inLab { lab in
      guard let host = lab.hosts.first(where: { $0.name == host }) else {
        throw ValidationError("There is no host named \(host).")
      }
      return try host.execute(words)
    }
  }
}
