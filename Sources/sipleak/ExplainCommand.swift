import Addressing
import ArgumentParser
import Firewall
import SIPLeak
import SystemPackage

/// `sipleak explain`.
struct ExplainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Walk any packet through the ruleset, live or from files.",
    discussion: """
      A packet in words: udp 203.0.113.66:24376 -> 192.0.2.5:5060 in eth0 state new. After the \
      ends may come: in, out, state, path, type, mark, ttl, length. What is left out is not known, \
      and the answer is certain only if it is the same for all of it; what it takes for granted \
      (a SYN, a ping, no bridge, no IPsec) it says where the verdict hangs on it.

      In bulk, --packets reads one JSON object a line (proto, src, dst, sport, dport, state, in, \
      out, path, local and rarer facts: see Docs/json.md) and prints one a line.

      Exit status: 0 answered, 1 some lines of --packets could not be read, 3 the firewall could \
      not be read.
      """)

  @Argument(
    parsing: .allUnrecognized, help: ArgumentHelp("The packet in words.", valueName: "word"))
  var words: [String] = []

  @OptionGroup var rules: RulesetOptions
  @OptionGroup var namespace: NamespaceOptions

  @Option(help: ArgumentHelp("Packets in bulk; - is standard input.", valueName: "file"))
  var packets: String?

  @Option(
    help: ArgumentHelp(
      """
      Not a packet but the whole ruleset: who may begin a flow to this port, which rules cover it \
      without naming it, which rules never see a packet. Such as udp/5060.
      """, valueName: "port"), transform: Parse.target)
  var accepts: RulesetQuestions.Target?

  @Option(
    name: .customLong("in"),
    help: ArgumentHelp("With --accepts: the interface, else any.", valueName: "interface"))
  var interface: String?

  @Option(help: "How to print: text or json.")
  var format: OutputFormat = .text

  @Flag(name: .shortAndLong, help: "Show what the kernel and the tools said.")
  var verbose = false

  func validate() throws {
    let questions = [!words.isEmpty, packets != nil, accepts != nil].count { $0 }
    if questions != 1 {
      throw ValidationError(
        "Give a packet in words, or --packets FILE, or --accepts udp/5060.")
    }
    if interface != nil, accepts == nil {
      throw ValidationError("--in goes with --accepts; of a packet, say: in eth0.")
    }
    if namespace.name != nil, rules.isGiven {
      throw ValidationError("--netns reads this host; it cannot be used with --ruleset.")
    }
  }

  func run() async throws {
    try await Console.reading(isVerbose: verbose) {
      let question: PacketQuestion?
      do throws(SIPLeakError) {
        question = words.isEmpty ? nil : try PacketWords.read(words.joined(separator: " "))
      } catch {
        Console.report(error, isVerbose: verbose)
        throw ExitCode(64)
      }
      let snapshot = try await rules.source.snapshot(access: namespace.access())
      if let accepts { return try answer(accepts, snapshot) }
      let records = PacketRecords(snapshot)
      guard let question else { return try bulk(records) }
      let (walk, assumed) = records.answer(question)
      switch format {
      case .json: Console.print(try JSONLine.text(WalkJSON(walk, assumed: assumed)))
      case .text:
        let rules = StateRules.met(by: question, in: Evaluation(snapshot))
        Console.print(
          WalkText.text(
            question, walk, assumed: assumed, stateRules: rules, style: Console.style))
      }
      return 0
    }
  }

  private func answer(
    _ target: RulesetQuestions.Target, _ snapshot: FirewallSnapshot
  ) throws -> Int32 {
    let questions = RulesetQuestions(target, interface: interface, in: snapshot)
    switch format {
    case .json: Console.print(try JSONLine.text(RulesetQuestionsJSON(questions)))
    case .text: Console.print(RulesetQuestionsText.text(questions, style: Console.style))
    }
    return 0
  }

  private func bulk(_ records: PacketRecords) throws -> Int32 {
    let name = packets ?? "-"
    let bytes = try InputFile.read(name)
    var status: Int32 = 0
    var number = 0
    for line in bytes.split(separator: 0x0a, omittingEmptySubsequences: false) {
      number += 1
      if line.allSatisfy({ $0 == 0x20 || $0 == 0x0d }) { continue }
      let answer = records.answer(Array(line), at: "\(name):\(number)")
      Console.print(answer.text)
      if !answer.isGood { status = 1 }
    }
    return status
  }
}
