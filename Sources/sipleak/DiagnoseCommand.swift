import Addressing
import ArgumentParser
import Firewall
import SIPLeak
import SystemPackage

/// `sipleak diagnose`.
struct DiagnoseCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diagnose",
    abstract: "Say on one screen who gets past the rules to SIP, how, and what to do.",
    discussion: """
      Below that, every explanation of how somebody may get there is judged: supported, ruled out \
      or cannot tell, with what shows it and the command that tells more or sets it right. With a \
      peer's address all of it is asked of that peer, whether or not it has a flow.

      With --listen it also hears what the peers of its findings send, on every port, for that \
      long: method, Request-URI, names, what scanners give away and injection attempts. For that it \
      puts one rule a peer at the head of the raw table, which logs (NFLOG) and decides nothing, and \
      removes it again, also after Ctrl-C; what a killed run left is removed by the next --listen.

      Exit status: 0 clean, 1 only things to look at, 2 leaks, 3 not everything could be read.
      """)

  @Argument(
    help: ArgumentHelp("The address the question is about; else everybody.", valueName: "peer"),
    transform: Parse.address)
  var peer: IPAddress?

  @OptionGroup var source: SourceOptions
  @OptionGroup var ticket: TicketOptions
  @OptionGroup var sip: EndpointOptions
  @OptionGroup var trust: TrustOptions

  @Option(
    help: ArgumentHelp(
      "How often your trunks send a keepalive, such as 60s, to be held against the timeouts.",
      valueName: "time"), transform: Parse.seconds)
  var keepalive: Double?

  @Option(
    name: .customLong("listen"),
    help: ArgumentHelp(
      "Hear what the peers send for this long, such as 10s, by a rule that only logs.",
      valueName: "time"), transform: Parse.seconds)
  var listening: Double?

  @Option(
    name: .customLong("peer"), parsing: .singleValue,
    help: ArgumentHelp(
      "With --listen: hear this address, not the peers found; may be repeated.",
      valueName: "address"), transform: Parse.address)
  var peers: [IPAddress] = []

  @Option(
    name: .customLong("pcap"),
    help: ArgumentHelp(
      "With --listen: save what was heard in a new file that Wireshark reads.",
      valueName: "file"))
  var capture: String?

  @Option(help: "How to print: text or json.")
  var format: OutputFormat = .text

  @Flag(help: "Print counts to the last digit.")
  var exact = false

  @Flag(
    name: .shortAndLong,
    help: """
      Show how the flow table was read, what the kernel and the tools said, and settings that hardly \
      matter.
      """)
  var verbose = false

  func validate() throws {
    try source.validate(with: ticket)
    if listening == nil, !peers.isEmpty || capture != nil {
      throw ValidationError("--peer and --pcap belong to --listen, such as --listen 10s.")
    }
    guard let listening else { return }
    if source.folder != nil || ticket.flows != nil {
      throw ValidationError("--listen hears this host; it cannot be used with --from or --flows.")
    }
    if listening < 0.1 || listening > Listening.longest {
      throw ValidationError(
        "--listen takes 100ms to \(Quantity.duration(Listening.longest)); 10s is usual.")
    }
    if peers.count > Listening.mostPeers {
      throw ValidationError("--peer may be given \(Listening.mostPeers) times.")
    }
    if capture?.isEmpty == true { throw ValidationError("--pcap takes the name of a new file.") }
  }

  func run() async throws {
    try await Console.reading(isVerbose: verbose) {
      let policy = try await trust.policy(StateOptions.usualFolder)
      var observation = try await source.observation(sip, ticket: ticket.files)
      if verbose { Console.note(ReadingText.lines(observation)) }
      // The scripts of this host say nothing of another.
      if source.folder == nil, ticket.flows == nil, source.namespace.name == nil {
        observation.reloadScripts = FlushingLine.search()
      }
      let whole = Audit(observation, policy: policy)
      let audit = peer.map(whole.about) ?? whole
      let (evidence, isMissing) = await hear(audit)
      let diagnosis = Diagnosis(
        whole, of: observation, policy: policy, peer: peer, keepalive: keepalive,
        hopLimits: evidence?.hopLimits ?? [:])
      if listening == nil, observation.sample.firewall.snapshot.listenRulesLeft > 0 {
        Console.note(
          "sipleak: a rule that logs is left of an interrupted --listen; it decides nothing. "
            + "`sipleak purge` removes it, and so does the next --listen.")
      }
      switch format {
      case .json:
        var document = AuditJSON(audit, of: observation, diagnosis: diagnosis)
        document.evidence = evidence
        try document.write(to: Console.print)
      case .text:
        var text = DiagnosisText(
          audit, of: observation, style: Console.style, isExact: exact, isVerbose: verbose,
          diagnosis: diagnosis)
        text.evidence = evidence
        Console.print(text.text())
      }
      // A leak is a leak; beyond that, not to have heard what was asked for is no clean answer.
      return isMissing && audit.exitStatus != 2 ? 3 : audit.exitStatus
    }
  }

  /// Listens, if asked to, and says what kept it from listening; the diagnosis stands without.
  private func hear(_ audit: Audit) async -> (evidence: SIPEvidence?, isMissing: Bool) {
    guard let listening else { return (nil, false) }
    let found = audit.findings.compactMap { $0.peer?.address } + (peer.map { [$0] } ?? [])
    let interruption = Interruption.watch()
    defer { interruption.end() }
    do throws(SIPLeakError) {
      let evidence = try await Listening(
        to: peers.isEmpty ? found : peers, seconds: listening,
        capture: capture.map { FilePath($0) }, access: source.namespace.access()
      ).run { interruption.isRequested }
      return (evidence, !evidence.problems.isEmpty)
    } catch {
      Console.report(error, isVerbose: verbose)
      return (nil, true)
    }
  }
}
