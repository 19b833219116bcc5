import Addressing
public import ArgumentParser
import Firewall
import SIPLeak

/// How much `block` may do, and whom it blocks without being told a name.
struct BlockLimitOptions: ParsableArguments {
  @Option(
    name: .customLong("at-most"),
    help: ArgumentHelp(
      "Block nobody when there are more new sources than this. (default: 20 with --unattended)",
      valueName: "count"), transform: Self.count)
  var perRun: Int?

  @Option(
    name: .customLong("at-most-total"),
    help: ArgumentHelp(
      "Block nobody when more sources than this would be blocked in all.", valueName: "count"),
    transform: Self.count)
  var total: Int?

  @Option(help: "The least grade of a flow that is blocked unnamed: latent, established, assured.")
  var grade: Grade = .latent

  @Option(
    name: .customLong("cause"), parsing: .singleValue,
    help: ArgumentHelp(
      """
      Block only leaks of this cause unnamed: established-bypass or expected; may be repeated. \
      (default: both)
      """, valueName: "cause"), transform: Self.cause)
  var causes: [Cause] = []

  @Option(
    help: ArgumentHelp(
      "The iptables backend to write to: nft or legacy. (default: the one in use)"))
  var backend: Backend?

  @Flag(
    help: ArgumentHelp(
      """
      The rules of a run that nobody watches: two readings at least 60s apart (--sample), only what \
      both show while nothing changed, nobody who was admitted or sent to within 24 h, and nobody \
      without a history that tells.
      """))
  var unattended = false

  @Option(
    name: .customLong("prefix6"),
    help: ArgumentHelp(
      """
      Block so many leading bits of an IPv6 peer's address, such as 64, where the rules admit nobody \
      and nobody protected is known in that prefix; else the address alone.
      """, valueName: "length"), transform: Self.length)
  var prefix6: Int?

  /// Most new sources a run that nobody watches blocks.
  private static let unattendedPerRun = 20

  /// The limits of this run.
  ///
  /// - Parameters:
  ///   - notes: What the history says, if it says anything.
  ///   - gap: Why it does not.
  ///   - doubles: Whether peers that came back are blocked for longer.
  /// - Returns: The limits.
  func limits(_ notes: HistoryNotes?, gap: String, doubles: Bool) -> BlockLimits {
    BlockLimits(
      perRun: perRun ?? (unattended ? Self.unattendedPerRun : nil), total: total, grade: grade,
      causes: causes.isEmpty ? nil : Set(causes),
      welcome: unattended ? notes?.welcome ?? [] : [],
      welcomeGap: unattended && notes == nil ? gap : nil,
      offences: doubles ? notes?.offences ?? [:] : [:])
  }

  /// The options as they would be typed again.
  var words: [String] {
    var words: [String] = []
    if let perRun { words += ["--at-most", "\(perRun)"] }
    if let total { words += ["--at-most-total", "\(total)"] }
    if grade != .latent { words += ["--grade", grade.rawValue] }
    words += causes.flatMap { ["--cause", $0.rawValue] }
    if let backend { words += ["--backend", backend.rawValue] }
    if let prefix6 { words += ["--prefix6", "\(prefix6)"] }
    if unattended { words.append("--unattended") }
    return words
  }

  private static func length(_ text: String) throws -> Int {
    guard let length = Int(text), (32...127).contains(length), text.utf8.count <= 3,
      text.utf8.allSatisfy({ (48...57).contains($0) })
    else {
      throw ValidationError(
        "\"\(EscapedText.terminal(text))\" is no prefix length; a number from 32 to 127 is, such as 64."
      )
    }
    return length
  }

  /// Things to look at are never blocked unnamed, so naming their cause would be a mistake.
  private static func cause(_ text: String) throws -> Cause {
    guard let cause = Cause(rawValue: text), [.establishedBypass, .expected].contains(cause) else {
      throw ValidationError(
        "\"\(EscapedText.terminal(text))\" is no leak's cause; established-bypass or expected is.")
    }
    return cause
  }

  private static func count(_ text: String) throws -> Int {
    guard let count = Int(text), (0...1_000_000).contains(count),
      text.utf8.allSatisfy({ (48...57).contains($0) })
    else {
      throw ValidationError(
        "\"\(EscapedText.terminal(text))\" is no count; a number from 0 to 1000000 is.")
    }
    return count
  }
}

extension Grade: ExpressibleByArgument {}
extension Backend: ExpressibleByArgument {}
