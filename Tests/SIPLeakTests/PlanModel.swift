import Addressing
import Firewall

@testable import SIPLeak

/// A firewall as text that plans are applied to, as `iptables-restore --noflush` and `ipset restore`
/// would, written apart from the code that makes the plans.
struct PlanModel: Equatable {
  struct Chain: Equatable {
    var name: String
    var policy: String
    var rules: [String] = []
    var isBuiltIn: Bool { policy != "-" }
  }
  struct Place: Hashable {
    var backend: Backend
    var table: String
  }
  struct Failure: Error { var text: String }

  let family: AddressFamily
  var tables: [Place: [Chain]] = [:]
  /// Our sets: what each member's line says after the element.
  var members: [String: [String: String]] = [:]
  /// The text of everybody else's sets.
  var otherSets = ""

  init(family: AddressFamily) { self.family = family }

  /// What decides: a table without rules, user's chains and dropping policies is as good as none.
  var essence: [Place: [Chain]] {
    tables.mapValues { chains in
      chains.filter { !$0.isBuiltIn || !$0.rules.isEmpty || $0.policy != "ACCEPT" }
        .sorted { $0.name < $1.name }
    }.filter { !$0.value.isEmpty }
  }

  /// Applies the input of one restore; all of it or, with an error, none.
  mutating func restore(_ text: String, _ backend: Backend) throws {
    var copy = self
    var place = Place(backend: backend, table: "")
    for line in text.split(separator: "\n").map(String.init) where !line.hasPrefix("#") {
      if line.hasPrefix("*") {
        place.table = String(line.dropFirst())
        if copy.tables[place] == nil { copy.tables[place] = [] }
      } else if line != "COMMIT" {
        try copy.apply(line, at: place)
      }
    }
    self = copy
  }

  private mutating func apply(_ line: String, at place: Place) throws {
    var chains = tables[place] ?? []
    let words = line.split(separator: " ", maxSplits: 2).map(String.init)
    let builtIns = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]
    func index(_ name: String) throws -> Int {
      if let at = chains.firstIndex(where: { $0.name == name }) { return at }
      guard builtIns.contains(name) else { throw Failure(text: "no chain for: \(line)") }
      chains.append(Chain(name: name, policy: "ACCEPT"))
      return chains.count - 1
    }
    switch words[0] {
    case "-A": chains[try index(words[1])].rules.append(words.count > 2 ? words[2] : "")
    case "-I":
      let parts = words[2].split(separator: " ", maxSplits: 1)
      let at = try index(words[1])
      guard let number = Int(parts[0]), (1...chains[at].rules.count + 1).contains(number) else {
        throw Failure(text: "no such place: \(line)")
      }
      chains[at].rules.insert(String(parts[1]), at: number - 1)
    case "-D":
      let at = try index(words[1])
      guard let rule = chains[at].rules.firstIndex(of: words[2]) else {
        throw Failure(text: "no such rule: \(line)")
      }
      chains[at].rules.remove(at: rule)
    case "-F": chains[try index(words[1])].rules = []
    case "-X":
      let at = try index(words[1])
      let isUsed = chains.contains { chain in
        chain.rules.contains { $0.hasSuffix("-j \(words[1])") || $0.hasSuffix("-g \(words[1])") }
      }
      guard chains[at].rules.isEmpty, !isUsed else { throw Failure(text: "in use: \(line)") }
      chains.remove(at: at)
    default:
      guard words[0].hasPrefix(":") else { throw Failure(text: "unknown: \(line)") }
      let name = String(words[0].dropFirst())
      if let at = chains.firstIndex(where: { $0.name == name }) {
        if words[1] == "-" { chains[at].rules = [] } else { chains[at].policy = words[1] }
      } else {
        chains.append(Chain(name: name, policy: words[1]))
      }
    }
    tables[place] = chains
  }

  /// Applies the input of `ipset restore`.
  mutating func restoreSets(_ text: String) throws {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ").map(String.init).filter { $0 != "-exist" }
      switch words[0] {
      case "create": if members[words[1]] == nil { members[words[1]] = [:] }
      case "add": members[words[1]]?[words[2]] = words.dropFirst(3).joined(separator: " ")
      case "del": members[words[1]]?[words[2]] = nil
      case "flush": members[words[1]] = [:]
      case "destroy": members[words[1]] = nil
      default: throw Failure(text: "unknown: \(line)")
      }
    }
  }

  /// What the tools would print, as `FirewallHost.reading(files:)` takes it.
  var files: [String: [UInt8]] {
    let name = family == .ipv4 ? "ipv4" : "ipv6"
    var files: [String: [UInt8]] = [:]
    for backend in Backend.allCases {
      var text = ""
      for (place, chains) in tables.sorted(by: { $0.key.table < $1.key.table })
      where place.backend == backend {
        text += "*\(place.table)\n"
        for chain in chains { text += ":\(chain.name) \(chain.policy) [0:0]\n" }
        for chain in chains {
          for rule in chain.rules { text += "-A \(chain.name)\(rule.isEmpty ? "" : " ")\(rule)\n" }
        }
        text += "COMMIT\n"
      }
      files["\(name).\(backend.rawValue).save"] = Array(text.utf8)
    }
    var sets = otherSets
    for (set, elements) in members.sorted(by: { $0.key < $1.key }) {
      sets +=
        "create \(set) hash:net,port family \(family == .ipv4 ? "inet" : "inet6") "
        + "hashsize 1024 maxelem 1000000 timeout 0 counters comment\n"
      for (element, rest) in elements.sorted(by: { $0.key < $1.key }) {
        let words = rest.split(separator: " ", maxSplits: 2)
        sets += "add \(set) \(element) \(words[0]) \(words[1]) packets 0 bytes 0 \(words[2])\n"
      }
    }
    files["sets.save"] = Array(sets.utf8)
    return files
  }
}
