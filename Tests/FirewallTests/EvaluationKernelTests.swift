import Addressing
import Firewall
import Foundation
import Testing

/// Random firewalls against the kernel, in two halves that meet in files.
///
/// The first writes rulesets and packets for a runner that loads them in namespaces of its own and
/// sends the packets; the second compares the counters it brought back. Seeds are the only state.
struct EvaluationKernelTests {
  struct Sent: Codable {
    var family: String
    var proto: UInt8
    var src: String
    var dst: String
    var sport: UInt16
    var dport: UInt16
    var flags: UInt8
    var icmp: [UInt8]
    var ttl: UInt8
    var tos: UInt8
    var payload: Int
    var direction: String
    var status: UInt32
    var mark: UInt32
    var forward: Bool
  }
  struct Case: Codable {
    var seed: UInt64
    var family: String
    var saves: [String: String]
    var sets: String
    var packets: [Sent]
  }
  struct Counted: Codable {
    var seed: UInt64
    var time: Int64
    /// What the save commands printed of the rulesets once they were loaded.
    var saves: [String: String]
    /// For each packet the rules whose counters rose; index 0 is a policy.
    var hits: [[Place]]
  }
  struct Place: Codable, Hashable {
    var backend: String
    var table: String
    var chain: String
    var index: Int
  }

  private static func variable(_ name: String) -> String? {
    ProcessInfo.processInfo.environment[name]
  }

  @Test(
    "Random firewalls are written for the runner",
    .enabled(if: variable("SIPLEAK_FUZZ_WRITE") != nil, "SIPLEAK_FUZZ_WRITE names no file"))
  func write() throws {
    let path = try #require(Self.variable("SIPLEAK_FUZZ_WRITE"))
    let first = Self.variable("SIPLEAK_FUZZ_SEED").flatMap { UInt64($0) } ?? 1
    let count = Self.variable("SIPLEAK_FUZZ_COUNT").flatMap { UInt64($0) } ?? 100
    var lines = Data()
    for seed in first..<first + count {
      let firewall = RandomFirewall(seed: seed)
      let packets = zip(firewall.packets, firewall.paths).map { packet, path in
        Sent(
          family: packet.family.rawValue, proto: packet.transport.rawValue,
          src: "\(packet.source)", dst: "\(packet.destination)", sport: packet.sourcePort ?? 0,
          dport: packet.destinationPort ?? 0, flags: packet.tcpFlags ?? 0,
          icmp: packet.icmp.map { [$0.type, $0.code] } ?? [], ttl: packet.ttl ?? 64,
          tos: packet.typeOfService ?? 0, payload: packet.payload?.count ?? 0,
          direction: packet.connection.state == .new
            ? "new" : packet.connection.direction?.rawValue ?? "",
          status: packet.connection.status ?? 0, mark: packet.connection.mark ?? 0,
          forward: path == .forward)
      }
      let saves = Dictionary(
        uniqueKeysWithValues: firewall.saves.map { ($0.key.rawValue, $0.value) })
      lines += try JSONEncoder().encode(
        Case(
          seed: seed, family: firewall.family.rawValue, saves: saves, sets: firewall.setText,
          packets: packets))
      lines.append(10)
    }
    try lines.write(to: URL(fileURLWithPath: path))
  }

  @Test(
    "The kernel counts what the walk meets",
    .enabled(if: variable("SIPLEAK_FUZZ_READ") != nil, "SIPLEAK_FUZZ_READ names no file"))
  func compare() throws {
    let path = try #require(Self.variable("SIPLEAK_FUZZ_READ"))
    var compared = 0
    var uncertain = 0
    for line in try Data(contentsOf: URL(fileURLWithPath: path)).split(separator: 10) {
      let counted = try JSONDecoder().decode(Counted.self, from: line)
      let firewall = RandomFirewall(seed: counted.seed)
      var snapshot = FirewallSnapshot(
        rulesets: try firewall.backends.map { backend in
          try RulesetReader.read(
            Array((counted.saves[backend.rawValue] ?? "").utf8), source: "seed \(counted.seed)",
            backend: backend, family: firewall.family)
        })
      snapshot.sets = firewall.sets
      snapshot.localAddresses = RandomFirewall.localAddresses
      snapshot.time = counted.time
      let evaluation = Evaluation(snapshot)
      let loaded = try firewall.backends.map { backend in
        try RulesetReader.read(
          Array((firewall.saves[backend] ?? "").utf8), source: "seed \(counted.seed)",
          backend: backend, family: firewall.family)
      }
      func isShown(_ place: Place) -> Bool {
        loaded.contains {
          $0.backend.rawValue == place.backend
            && $0.table(place.table)?.chain(place.chain) != nil
        }
      }
      for (number, hits) in counted.hits.enumerated() {
        let walk = evaluation.walk(firewall.packets[number], to: firewall.paths[number])
        func places(_ hits: [RuleHit]) -> Set<Place> {
          Set(
            hits.map {
              Place(
                backend: $0.rule.backend.rawValue, table: $0.rule.table, chain: $0.rule.chain,
                index: $0.rule.index)
            })
        }
        // A NEW packet that nat sends elsewhere takes another path than the one asked about.
        if walk.translation != .asAsked, firewall.paths[number] == .forward { continue }
        compared += 1
        if !walk.isCertain { uncertain += 1 }
        let certain = places(walk.path.filter(\.isCertain))
        let possible = places(walk.path)
        // iptables-nft-save prints base chains that were never loaded and so count nothing.
        let seen = Set(hits).filter(isShown)
        let missed = certain.filter(isShown).subtracting(seen)
        let extra = seen.subtracting(possible)
        #expect(
          missed.isEmpty && extra.isEmpty,
          "seed \(counted.seed) packet \(number): not counted \(missed), not foreseen \(extra)")
      }
    }
    print("compared \(compared) packets, \(uncertain) not certain")
  }
}
