import Addressing

/// The story `sipleak demo` tells: a stranger gets past a sound firewall, is found and shut out.
///
/// Everything in it happens: real rules, real packets, and the program itself run on the lab's PBX
/// as an operator would run it.
public struct Demo: Sendable {
  /// The program to run as `sipleak`.
  private let program: String
  private let print: @Sendable (String) -> Void
  private let heading: @Sendable (String) -> String

  /// Makes the story.
  ///
  /// - Parameters:
  ///   - program: The path of the program to run as `sipleak`.
  ///   - print: Takes each piece of text as it happens.
  ///   - heading: Makes a line stand out, or leaves it as it is.
  public init(
    program: String, print: @escaping @Sendable (String) -> Void,
    heading: @escaping @Sendable (String) -> String
  ) {
    self.program = program
    self.print = print
    self.heading = heading
  }

  /// Tells it, in a lab of its own.
  ///
  /// - Returns: Whether everything came as told.
  /// - Throws: ``LabError`` when the lab can't be made or a tool fails.
  public func run() async throws -> Bool {
    try await Lab.with { lab in try await tell(in: lab) }
  }

  private func tell(in lab: Lab) async throws -> Bool {
    var isAsTold = true
    let pbx = lab.pbx
    try await pbx.loadReferenceRuleset()
    let server = try SIPServer.start(on: pbx)
    let carrier = try SIPClient.open(on: lab.carrier, port: 5060)
    let attacker = try SIPClient.open(on: lab.attacker, port: 24376)

    func ask(_ client: SIPClient, _ name: String, expecting isAnswered: Bool) async throws {
      let answer = try await client.request("INVITE", to: server.local)
      print("  \(name) \(client.local) -> \(server.local)  INVITE   \(answer.words)\n")
      if answer.isAnswered != isAnswered { isAsTold = false }
    }

    step(1, "The carrier is allowed, and answered")
    try await show(pbx, ["iptables", "-S", "INPUT"])
    try await ask(carrier, "carrier ", expecting: true)

    step(2, "A stranger is not, and refused")
    try await ask(attacker, "attacker", expecting: false)

    step(3, "The firewall is reloaded the careless way, while the stranger keeps trying")
    print("  pbx# iptables -F; iptables-restore < /etc/iptables/rules.v4\n")
    attacker.keepSending(every: .milliseconds(20), "INVITE", to: server.local)
    try await pbx.carelessReload {
      if await !server.received(3, from: attacker.local.address) { isAsTold = false }
    }
    attacker.stopSending()
    // Meanwhile the PBX sends one packet to an address somebody put into a Contact.
    try server.send(to: Endpoint(lab.other.address4, 33333))

    step(4, "The rules are all back, and the stranger is answered from now on")
    // Longer than two seconds after its first packet the kernel marks the flow ASSURED (facts B2).
    for _ in 0..<3 {
      try await ask(attacker, "attacker", expecting: true)
      try await Task.sleep(for: .milliseconds(900))
    }

    step(5, "The SIP rules count nothing: its packets never meet them")
    try await show(pbx, ["iptables", "-L", "INPUT", "-vn"])
    try await show(pbx, ["conntrack", "-L", "-p", "udp", "--orig-port-dst", "5060"])

    step(6, "sipleak says who, how and what to do (and finds a flow that search cannot show)")
    attacker.keepSending(every: .milliseconds(50), "INVITE", to: server.local)
    let diagnosis = try await sipleak(pbx, ["diagnose", "--sample", "2s"])
    if diagnosis.status != 2 { isAsTold = false }

    step(7, "It shuts the leak, and checks")
    let block = try await sipleak(pbx, ["block", "--apply"])
    attacker.stopSending()
    if block.status != 0 { isAsTold = false }

    step(8, "Silence; the carrier is still answered")
    try await ask(attacker, "attacker", expecting: false)
    try await ask(carrier, "carrier ", expecting: true)
    let audit = try await sipleak(pbx, ["audit"])
    if audit.status != 1 { isAsTold = false }

    print(
      isAsTold
        ? "\nThe namespaces are gone when this command ends; nothing on this machine was touched.\n"
        : "\nSomething did not come as told; please report this output.\n")
    return isAsTold
  }

  private func step(_ number: Int, _ title: String) {
    print("\n\(heading("\(number). \(title)"))\n")
  }

  /// Runs a tool on the PBX and prints the command and what it printed.
  private func show(_ host: LabHost, _ words: [String]) async throws {
    print("  \(host.name)# \(words.joined(separator: " "))\n")
    let result = try await host.run(words)
    print(result.output.indented)
  }

  private func sipleak(_ host: LabHost, _ words: [String]) async throws -> ToolOutput {
    print("  \(host.name)# sipleak \(words.joined(separator: " "))\n")
    let result = try await host.attempt([program] + words)
    print((result.output + result.errors).indented)
    return result
  }
}

extension SIPClient.Answer {
  /// What a person calls it.
  fileprivate var words: String {
    switch self {
    case .answered(let status): "answered: \(status)"
    case .refused: "refused (ICMP)"
    case .silence: "silence"
    }
  }
}

extension String {
  /// Every line two columns further in.
  fileprivate var indented: String {
    split(separator: "\n", omittingEmptySubsequences: false)
      .map { $0.isEmpty ? "" : "  " + $0 }.joined(separator: "\n")
  }
}
