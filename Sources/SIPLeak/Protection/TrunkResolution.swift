public import Addressing
public import HostNetwork

/// All addresses that names of trunks may mean: A, AAAA, and SIP's own chain of NAPTR and SRV
/// records (RFC 3263, 4), whichever of them the PBX chooses.
public struct TrunkResolution: Sendable, Hashable {
  /// What a name led to.
  public struct Answer: Sendable, Hashable {
    /// The addresses, in order.
    public var addresses: [IPAddress] = []
    /// Why not all of them are known, or `nil`.
    public var gap: String?
  }

  /// The answers.
  public private(set) var answers: [TrunkName: Answer] = [:]

  /// The most hosts that the records of one name may lead to.
  static let mostHosts = 64
  /// Services that SIP is found by, also without a NAPTR record that says so.
  static let services = ["_sip._udp.", "_sip._tcp.", "_sips._tcp."]

  /// Answers to questions asked together; what is missing got no answer.
  public typealias Asking = (Set<DNSQuestion>) -> [DNSQuestion: DNSAnswer]

  /// Resolves names.
  ///
  /// - Parameters:
  ///   - names: The names; addresses are their own answer.
  ///   - hosts: What `/etc/hosts` says, by name.
  ///   - ask: Asks the name servers.
  public init(_ names: Set<TrunkName>, hosts: [String: [IPAddress]] = [:], ask: Asking) {
    var searches = names.filter { $0.address == nil }.map { Search($0) }
    var known: [DNSQuestion: DNSAnswer] = [:]
    var asked: Set<DNSQuestion> = []
    // NAPTR to SRV to host is three; what leads on beyond that is no trunk's.
    for _ in 0..<4 {
      let questions = Set(searches.flatMap(\.questions)).subtracting(asked)
      guard !questions.isEmpty else { break }
      asked.formUnion(questions)
      known.merge(ask(questions)) { first, _ in first }
      for index in searches.indices { searches[index].follow(known) }
    }
    for search in searches { answers[search.name] = search.answer(known, hosts: hosts) }
    for name in names { if let own = name.address { answers[name] = Answer(addresses: [own]) } }
  }

  /// What is asked for one name, growing with the answers.
  private struct Search {
    let name: TrunkName
    var hosts: [String]
    var services: [String]
    private var hasTooMany = false

    init(_ name: TrunkName) {
      self.name = name
      hosts = [name.host]
      // A port names the server itself; a service name is asked for as it stands.
      let isService = name.host.hasPrefix("_")
      services =
        name.port != nil
        ? [] : isService ? [name.host] : TrunkResolution.services.map { $0 + name.host }
    }

    var questions: [DNSQuestion] {
      let ofHosts = hosts.flatMap { [DNSQuestion($0, .a), DNSQuestion($0, .aaaa)] }
      let ofServices = services.map { DNSQuestion($0, .srv) }
      return ofHosts + ofServices + (asksForRules ? [DNSQuestion(name.host, .naptr)] : [])
    }

    private var asksForRules: Bool { name.port == nil && !name.host.hasPrefix("_") }

    mutating func follow(_ known: [DNSQuestion: DNSAnswer]) {
      for record in known[DNSQuestion(name.host, .naptr)]?.records ?? [] {
        guard case .rule(let flags, let service, let replacement) = record,
          service.uppercased().hasPrefix("SIP"), !replacement.isEmpty
        else { continue }
        if flags == "s" { add(replacement, to: \.services) }
        if flags == "a" { add(replacement, to: \.hosts) }
      }
      for service in services {
        for record in known[DNSQuestion(service, .srv)]?.records ?? [] {
          if case .service(let host, _) = record, !host.isEmpty { add(host, to: \.hosts) }
        }
      }
    }

    private mutating func add(_ host: String, to list: WritableKeyPath<Search, [String]>) {
      guard !self[keyPath: list].contains(host) else { return }
      guard self[keyPath: list].count < TrunkResolution.mostHosts else {
        hasTooMany = true
        return
      }
      self[keyPath: list].append(host)
    }

    func answer(
      _ known: [DNSQuestion: DNSAnswer], hosts local: [String: [IPAddress]]
    ) -> Answer {
      var addresses: Set<IPAddress> = []
      var silent = false
      var failed = false
      for host in hosts {
        addresses.formUnion(local[host] ?? [])
        for kind in [DNSQuestion.Kind.a, .aaaa] {
          guard let answer = known[DNSQuestion(host, kind)] else {
            silent = true
            continue
          }
          if !answer.isKnown { failed = true }
          for case .address(let address) in answer.records { addresses.insert(address) }
        }
      }
      let chain =
        services.map { DNSQuestion($0, .srv) }
        + (asksForRules ? [DNSQuestion(name.host, .naptr)] : [])
      for question in chain {
        // Old servers and home routers refuse kinds of record they do not know (4, 5): there are none.
        guard let answer = known[question] else {
          silent = true
          continue
        }
        if !answer.isKnown, answer.code != 4, answer.code != 5 { failed = true }
      }
      // A file that names the host is an answer, and then no DNS may be there at all.
      let isLocal = local[name.host] != nil
      var gap: String?
      if hasTooMany {
        gap = "its records lead to more than \(TrunkResolution.mostHosts) hosts"
      } else if isLocal {
        gap = nil
      } else if silent {
        gap = "no name server answered"
      } else if failed {
        gap = "the name servers failed"
      } else if addresses.isEmpty {
        gap = "there is no such name, or it has no address"
      }
      return Answer(addresses: addresses.sorted(), gap: gap)
    }
  }
}

extension TrunkResolution {
  /// How long all questions may take together.
  static let longest = Duration.seconds(5)

  /// Resolves names by the host's name servers and `/etc/hosts`, within five seconds.
  ///
  /// - Parameters:
  ///   - names: The names.
  ///   - client: Who is asked.
  /// - Returns: The answers.
  public static func live(_ names: Set<TrunkName>, client: DNSClient = DNSClient()) -> Self {
    let deadline = ContinuousClock.now + longest
    return TrunkResolution(names, hosts: HostsFile.read()) { client.ask($0, until: deadline) }
  }
}
