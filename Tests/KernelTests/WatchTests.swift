import Addressing
import Conntrack
import Glibc
import Lab
import SIPLeak
import Subprocess
import Synchronization
import SystemPackage
import Testing

/// What a watch under test has said so far.
final class Heard: Sendable {
  private let lines = Mutex<[String]>([])

  var all: [String] { lines.withLock { $0 } }

  func add(_ report: WatchReport) {
    let line: String
    switch report {
    case .watching: line = "watching"
    case .news(let news, let time): line = WatchText.line(news, time: time)
    case .loss: line = "loss"
    case .repaired: line = "repaired"
    case .problem(let text): line = "problem \(text)"
    }
    lines.withLock { $0.append(line) }
  }

  /// Waits for a line that holds all the words; the suite's time limit ends a wait for nothing.
  func wait(for words: String...) async {
    while !all.contains(where: { line in words.allSatisfy(line.contains) }) {
      try? await Task.sleep(for: .milliseconds(10))
      if Task.isCancelled { return }
    }
  }
}

/// Runs a watch beside a closure and returns its summary.
func watching(
  _ lab: Lab, _ change: (inout Watch) -> Void = { _ in },
  _ body: (Heard) async throws -> Void
) async throws -> WatchSummary {
  var watch = Watch(access: HostAccess(lab.pbx.namespace), interval: 3600)
  change(&watch)
  let heard = Heard()
  let stop = Watch.Stop()
  let running = Task { [watch] in
    try await watch.run(stop: stop) {
      heard.add($0)
      return true
    }
  }
  await heard.wait(for: "watching")
  do { try await body(heard) } catch {
    stop.stop()
    throw error
  }
  stop.stop()
  return try await running.value
}

extension Kernel {
  /// The audit that never ends.
  @Suite(.timeLimit(.minutes(15))) struct Watches {
    @Test("A leak is reported as it appears, by its event, and when it is gone")
    func leak() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx)
        let attacker = try SIPClient.open(on: lab.attacker)
        let carrier = try SIPClient.open(on: lab.carrier, port: 5060)
        let summary = try await watching(lab) { heard in
          #expect(try await carrier.request(to: server.local).isAnswered)
          #expect(try await attacker.request(to: server.local).isAnswered == false)
          try await lab.pbx.carelessReload {
            let answer = try await attacker.request(to: server.local)
            #expect(answer.isAnswered)
          }
          await heard.wait(for: " leak cause=established-bypass", "src=203.0.113.66 sport=24376")
          try await lab.pbx.run(["conntrack", "-D", "-p", "udp", "--orig-port-src", "24376"])
          await heard.wait(for: " gone ", "src=203.0.113.66", "was=leak because=flow-ended")
          #expect(!heard.all.contains { $0.contains("198.51.100.10") })
        }
        #expect(summary.leaks == 1)
        #expect(summary.gone == 1)
        #expect(summary.standing == 0)
        #expect(summary.isComplete)
        #expect(summary.exitStatus == 2)
      }
    }

    @Test(
      "A flow that stood before and was admitted is a leak once its rule is gone, and none again")
    func rulesChange() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx)
        let carrier = try SIPClient.open(on: lab.carrier, port: 5060)
        #expect(try await carrier.request(to: server.local).isAnswered)
        let rule = [
          "INPUT", "-s", "198.51.100.0/24", "-p", "udp", "-m", "udp", "--dport", "5060", "-m",
          "comment", "--comment", "100 accept sip from carrier", "-j", "ACCEPT",
        ]
        let summary = try await watching(lab) { heard in
          try await lab.pbx.run(["iptables", "-D"] + rule)
          await heard.wait(for: " leak ", "src=198.51.100.10")
          try await lab.pbx.run(["iptables", "-I", "INPUT", "5"] + Array(rule.dropFirst()))
          await heard.wait(for: " gone ", "src=198.51.100.10", "because=no-finding")
        }
        #expect(summary.readings >= 3)
        #expect(summary.standing == 0)
      }
    }

    @Test("A latent flow is reported at once, and again when its peer has used it")
    func latent() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx)
        let other = try SIPClient.open(on: lab.other, port: 33333)
        let summary = try await watching(lab) { heard in
          try server.send(to: other.local)
          await heard.wait(for: " look cause=host-opened grade=latent", "sport=33333")
          #expect(try await other.request(to: server.local).isAnswered)
          await heard.wait(for: " look cause=host-opened grade=established", "sport=33333")
        }
        #expect(summary.looks == 1)
        #expect(summary.leaks == 0)
        #expect(summary.exitStatus == 1)
      }
    }

    @Test("Events lost to a tiny buffer are noticed and repaired, and the leak among them reported")
    func loss() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let buffering = FlowEvents.Buffering(receiveBuffer: 2048, largestReceiveBuffer: 0)
        let summary = try await watching(lab) {
          $0.buffering = buffering
        } _: { heard in
          try lab.pbx.load(
            (0..<3000).map { number in
              // In the middle of a burst that overruns the buffer: one stranger among the carrier's.
              let host = number == 1500 ? lab.attacker : lab.carrier
              return Flow(
                from: Endpoint(host.address4, UInt16(2000 + number)),
                to: Endpoint(lab.pbx.address4, 5060), isAnswered: true, seconds: 600)
            })
          await heard.wait(for: "loss")
          await heard.wait(for: "repaired")
          await heard.wait(for: " leak ", "src=203.0.113.66 sport=3500")
          #expect(heard.all.filter { $0.contains("cause=") }.count == 1)
        }
        #expect(summary.events.losses > 0)
        #expect(summary.repairs > 0)
        #expect(summary.isComplete)
      }
    }

    /// The executable beside this test bundle.
    private static var program: String {
      guard let own = PrivateNamespaces.program else { return "sipleak" }
      return FilePath(own).removingLastComponent().appending("sipleak").string
    }

    @Test("The command prints one JSON document a line and ends by itself with its exit status")
    func jsonl() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let result = try await pbx.attempt(
          [Self.program, "watch", "--for", "1s", "--format", "jsonl"])
        #expect(result.status == 2, "\(result)")
        let lines = result.output.split(separator: "\n")
        #expect(lines.count == 1)
        #expect(lines.first?.contains("\"event\":\"appeared\"") == true)
        #expect(lines.first?.contains("\"schema\":\"sipleak.watch\"") == true)
        #expect(lines.first?.contains("\"cause\":\"established-bypass\"") == true)
        #expect(result.errors.contains("sipleak: watched"))
        let quiet = try await pbx.attempt([Self.program, "watch", "--for", "1s", "-q"])
        #expect(quiet.status == 2)
        #expect(quiet.errors.isEmpty, "\(quiet.errors)")
        let bad = try await pbx.attempt([Self.program, "watch", "--every", "1s"])
        #expect(bad.status == 64)
      }
    }

    @Test("Ctrl-C ends the command with its summary", arguments: ["INT", "TERM"])
    func interrupt(signal: String) async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        // Waits until it watches, then signals; without an end the suite's time limit fails.
        // Not by what another one has left in the file.
        let script = """
          rm -f /run/watch.err
          "$1" watch 2>/run/watch.err & watch=$!
          until grep -qs watching /run/watch.err; do sleep 0.1; done
          kill -\(signal) $watch; wait $watch; echo "status $?"; cat /run/watch.err
          """
        let result = try await lab.pbx.attempt(["sh", "-c", script, "sh", Self.program])
        #expect(result.output.contains("status 0"), "\(result)")
        #expect(result.output.contains("sipleak: watched"), "\(result)")
      }
    }

    @Test("Without privileges the command says so and exits 3")
    func unprivileged() async throws {
      try await Lab.with { lab in
        let result = try await lab.pbx.attempt(
          ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", Self.program, "watch"])
        #expect(result.status == 3, "\(result)")
        #expect(result.errors.contains("CAP_NET_ADMIN"), "\(result)")
      }
    }
  }
}
