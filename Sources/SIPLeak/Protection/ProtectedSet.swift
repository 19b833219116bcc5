public import Addressing
import Firewall
import HostNetwork

/// Everybody who is never blocked on a host, whatever its rules say; each with the reason.
public struct ProtectedSet: Sendable {
  /// The entries, in the order of the reasons.
  public let sources: [ProtectedSource]
  /// What could not be resolved: somebody may be missing.
  public let gaps: [TrustGap]
  /// What is worth saying of how they were found, such as the age of a remembered answer.
  public let notes: [String]
  private let all: PrefixSet

  /// Computes the set; pure.
  ///
  /// - Parameters:
  ///   - observation: The host.
  ///   - policy: What the operator named.
  public init(_ observation: Observation, policy: AuditPolicy) {
    let network = observation.network
    var sources = Self.always
    let bridges = Set(network.interfaces.filter(\.isBridge).map(\.name))
    sources += network.addresses.filter { !$0.address.isLoopback }.map {
      ProtectedSource(
        IPPrefix($0.address), bridges.contains($0.interface) ? .bridge : .own, origin: $0.interface)
    }
    sources += network.gateways.map { ProtectedSource(IPPrefix($0), .gateway) }
    sources += network.resolvers.filter { !$0.isLoopback }.map {
      ProtectedSource(IPPrefix($0.unmapped), .resolver)
    }
    var gaps = policy.gaps
    for name in policy.inside {
      let links = network.addresses.filter { $0.interface == name }.compactMap(\.prefix)
      sources += links.filter { $0.length > 0 }.map {
        ProtectedSource($0, .inside, origin: name)
      }
      if links.isEmpty {
        let isThere = network.interfaces.contains { $0.name == name }
        gaps.append(
          TrustGap(
            "--inside \(name)",
            isThere ? "the interface has no address" : "there is no such interface",
            stopsEverything: false))
      }
    }
    sources += policy.sources
    // A policy made of bare sets names nobody.
    let named = PrefixSet(policy.sources.map(\.prefix))
    sources += policy.trusted.subtracting(named).prefixes.map { ProtectedSource($0, .trusted) }
    sources += policy.protected.subtracting(named).prefixes.map { ProtectedSource($0, .protected) }
    var seen: Set<ProtectedSource> = []
    self.sources = sources.filter { seen.insert($0).inserted }
    self.gaps = gaps
    notes = policy.notes
    all = PrefixSet(sources.map(\.prefix))
  }

  private static let always: [ProtectedSource] = {
    let reasons: [(String, ProtectedSource.Reason)] = [
      ("127.0.0.0/8", .loopback), ("::1", .loopback), ("0.0.0.0", .notAHost),
      ("224.0.0.0/4", .notAHost), ("255.255.255.255", .notAHost), ("::", .notAHost),
      ("ff00::/8", .notAHost),
    ]
    return reasons.compactMap { text, reason in
      IPPrefix(text).map { ProtectedSource($0, reason) }
    }
  }()

  /// Why an address is never blocked, or `nil`; the mapped form of an IPv4 address is that address.
  public func reason(for address: IPAddress) -> ProtectedSource? {
    let plain = address.unmapped
    guard all.contains(plain) else { return nil }
    return sources.first { $0.prefix.contains(plain) }
  }

  /// The first protected source that has an address in a prefix, or `nil`.
  public func source(within prefix: IPPrefix) -> ProtectedSource? {
    guard all.intersects(prefix) else { return nil }
    return sources.first { $0.prefix.contains(prefix) || prefix.contains($0.prefix) }
  }

  /// Why a plan that blocks somebody must not be carried out, as somebody may be missing here.
  ///
  /// - Parameter areNamed: Whether a person named every address that would be blocked.
  /// - Returns: The sentences; none when it may.
  func objections(areNamed: Bool) -> [String] {
    gaps.filter { $0.stopsEverything || !areNamed }.map {
      "\($0.text): an address that must not be blocked might be among them, so nobody is"
    }
  }
}
