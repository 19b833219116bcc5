import Addressing
import ArgumentParser
import Glibc
import Lab

/// `sipleak-lab uas`.
struct Server: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "uas",
    abstract: "Answer SIP requests on a host of the lab whose shell this is.",
    discussion: "Prints every message that arrives, until it is interrupted.")

  @Option(help: "The host: pbx, carrier, attacker or other.") var host = "pbx"
  @Option(help: "The address to bind.") var address: String?
  @Option(help: "The port to bind.") var port: UInt16 = 5060
  @Option(help: "Milliseconds between a request and its answer.") var delay: UInt32 = 0
  @Option(help: "Seconds between keepalives to everybody who sent a request.")
  var keepalive: UInt32?
  @Flag(help: "Repeat answers to INVITE until they are acknowledged.") var retransmit = false
  @Option(help: "Send one OPTIONS to this address and port first.") var first: String?

  func run() async throws {
    let host = try namedHost(host)
    let address = try address.map { try parsed($0, "an address", IPAddress.init(_:)) }
    let first = try first.map { try parsed($0, "an address and port", Endpoint.init(_:)) }
    do {
      let server = try SIPServer.start(
        on: host, address: address, port: port,
        behavior: .init(
          answerDelay: .milliseconds(Int(delay)), retransmitsAnswers: retransmit,
          keepaliveInterval: keepalive.map { .seconds(Int($0)) }))
      defer { server.close() }
      if let first { try server.send(to: first) }
      var seen = 0
      while true {
        let received = server.received
        for reception in received.dropFirst(seen) {
          say("\(reception.source) \(reception.message)")
        }
        seen = received.count
        try await Task.sleep(for: .milliseconds(20))
      }
    } catch let error as LabError {
      throw ValidationFailure(error)
    }
  }
}

/// `sipleak-lab uac`.
struct Client: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "uac",
    abstract: "Send SIP requests from a host of the lab whose shell this is.",
    discussion: "Exits with 0 if any request was answered, else with 1.")

  @Option(help: "The host: pbx, carrier, attacker or other.") var host = "attacker"
  @Option(help: "The port to send from.") var port: UInt16 = 24376
  @Option(help: "The SIP method.") var method = "OPTIONS"
  @Option(name: .shortAndLong, help: "How many requests.") var number: UInt32 = 1
  @Option(help: "Milliseconds to wait for each answer.") var wait: UInt32 = 500
  @Argument(help: "Where to: an address and a port.") var destination = "192.0.2.5:5060"

  func run() async throws {
    let host = try namedHost(host)
    let destination = try parsed(destination, "an address and port", Endpoint.init(_:))
    var isAnswered = false
    do {
      let client = try SIPClient.open(
        on: host, address: host.address(destination.address.family), port: port)
      defer { client.close() }
      for _ in 0..<number {
        let answer = try await client.request(
          method, to: destination, within: .milliseconds(Int(wait)))
        switch answer {
        case .answered(let status): say("\(method) answered \(status)")
        case .refused(let error): say("\(method) refused: \(error)")
        case .silence: say("\(method) silence")
        }
        isAnswered = isAnswered || answer.isAnswered
      }
    } catch {
      throw ValidationFailure(error)
    }
    throw ExitCode(isAnswered ? 0 : 1)
  }
}

private func namedHost(_ name: String) throws -> LabHost {
  guard let host = Lab.host(named: name) else {
    throw ValidationError("There is no host named \(name).")
  }
  return host
}

private func parsed<T>(_ text: String, _ kind: String, _ make: (String) -> T?) throws -> T {
  guard let value = make(text) else { throw ValidationError("\"\(text)\" is not \(kind).") }
  return value
}

/// Prints a line at once, also into a pipe.
private func say(_ line: String) {
  let bytes = Array("\(line)\n".utf8)
  _ = unsafe write(1, bytes, bytes.count)
}
