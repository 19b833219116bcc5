import Addressing
import ArgumentParser
import SIPLeak
import SystemPackage

/// Whom the operator trusts.
struct TrustOptions: ParsableArguments {
  @Option(
    name: .customLong("trust"), parsing: .singleValue,
    help: ArgumentHelp(
      """
      An address or prefix that belongs: no finding, never blocked; everybody else the rules \
      admit becomes one. May be repeated.
      """, valueName: "prefix"), transform: Parse.prefix)
  var trusted: [IPPrefix] = []

  @Option(
    name: .customLong("trunk"), parsing: .singleValue,
    help: ArgumentHelp(
      """
      A trunk, by name or address: trusted at all addresses that A, AAAA and SIP's NAPTR and SRV \
      records lead to, by this host's name servers also with --netns. May be repeated.
      """, valueName: "name[:port]"), transform: Self.trunk)
  var trunks: [TrunkName] = []

  @Option(
    name: .customLong("trust-file"), parsing: .singleValue,
    help: ArgumentHelp(
      """
      A file with an address, prefix or host name a line, or permit= and deny= of an ACL: trusted. \
      May be repeated.
      """, valueName: "file"))
  var files: [String] = []

  @Option(
    name: .customLong("trust-command"), parsing: .singleValue,
    help: ArgumentHelp(
      """
      A command, run without a shell, that prints such a list, or what Asterisk prints for \
      `pjsip show contacts`, `sip show peers` or `acl show`: trusted. If it fails nobody is blocked. \
      May be repeated.
      """, valueName: "command"), transform: Self.command)
  var commands: [TrustCommand] = []

  @Option(
    name: .customLong("protect"), parsing: .singleValue,
    help: ArgumentHelp(
      "An address or prefix that is never blocked (an HA partner); may be repeated.",
      valueName: "prefix"), transform: Parse.prefix)
  var protected: [IPPrefix] = []

  @Option(
    name: .customLong("inside"), parsing: .singleValue,
    help: ArgumentHelp(
      "An interface whose link is inside: nobody on it is ever blocked; may be repeated.",
      valueName: "interface"))
  var inside: [String] = []

  @Flag(
    name: .customLong("yes-really"),
    help: "Take prefixes wider than /8, or /32 for IPv6.")
  var allowsWide = false

  func validate() throws {
    if !allowsWide, let wide = (trusted + protected).first(where: \.isTooWide) {
      throw ValidationError(
        "\(wide) is a large part of the internet: --trust and --protect take /8 or narrower, /32 "
          + "for IPv6, unless --yes-really is given.")
    }
    if files.contains(where: \.isEmpty) { throw ValidationError("--trust-file takes a file.") }
    if inside.contains(where: { $0.isEmpty || $0.utf8.count > 15 || $0.contains("/") }) {
      throw ValidationError("--inside takes an interface's name, such as eth1.")
    }
  }

  /// Looks everything up, and says what is worth saying of it.
  ///
  /// - Parameter state: The folder that remembers the trunks' last addresses.
  /// - Returns: The policy.
  /// - Throws: `SIPLeakError`.
  func policy(_ state: FilePath?) async throws(SIPLeakError) -> AuditPolicy {
    var sources = TrustSources()
    sources.trusted = trusted
    sources.protected = protected
    sources.trunks = trunks
    sources.files = files.map { FilePath($0) }
    sources.commands = commands
    sources.inside = inside
    sources.allowsWide = allowsWide
    let policy = try await sources.policy(state: state)
    for note in policy.notes { Console.note("sipleak: \(EscapedText.terminal(note))") }
    return policy
  }

  /// The options as they would be typed again, each word for a shell.
  var words: [String] {
    var words = trusted.flatMap { ["--trust", $0.description] }
    words += trunks.flatMap { ["--trunk", $0.description] }
    words += files.flatMap { ["--trust-file", EscapedText.shellWord($0)] }
    words += commands.flatMap { ["--trust-command", EscapedText.shellWord($0.text)] }
    words += protected.flatMap { ["--protect", $0.description] }
    words += inside.flatMap { ["--inside", EscapedText.shellWord($0)] }
    return allowsWide ? words + ["--yes-really"] : words
  }

  private static func trunk(_ text: String) throws -> TrunkName {
    guard let name = TrunkName(text) else {
      throw ValidationError(
        "\"\(EscapedText.terminal(text))\" is no trunk; sip.example.net, sip.example.net:5061, "
          + "192.0.2.5 or [2001:db8::5]:5060 is.")
    }
    return name
  }

  private static func command(_ text: String) throws -> TrustCommand {
    guard let command = TrustCommand(text) else {
      throw ValidationError(
        "\"\(EscapedText.terminal(text))\" is no command: it is run without a shell, so quotes must "
          + "be closed, and | & ; < > ( ) $ ` * ? stand in quotes. For a pipe name a script.")
    }
    return command
  }
}
