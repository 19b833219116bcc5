import Addressing
import Netlink

/// A kernel's version as far as the dump filter depends on it.
struct KernelRelease: Sendable, Hashable, Comparable {
  var major: Int
  var minor: Int
  var patch: Int

  init(_ major: Int, _ minor: Int, _ patch: Int = 0) {
    self.major = major
    self.minor = minor
    self.patch = patch
  }

  /// Reads `uname -r`, such as `6.1.0-18-amd64`; what follows the numbers is not looked at.
  init?(_ text: String) {
    let numbers = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
      .split(separator: ".").map { Int($0) }
    guard numbers.count >= 2, let major = numbers[0], let minor = numbers[1] else { return nil }
    self.init(major, minor, numbers.count > 2 ? numbers[2] ?? 0 : 0)
  }

  static func < (left: KernelRelease, right: KernelRelease) -> Bool {
    (left.major, left.minor, left.patch) < (right.major, right.minor, right.patch)
  }

  /// Whether `CTA_FILTER` is understood; older kernels ignore it without a word (facts I5).
  var filtersTuples: Bool { self >= KernelRelease(5, 8) }

  /// Whether filters on the reply tuple work; where they don't, they match nothing and entries are
  /// lost without an error (facts I6).
  ///
  /// Distributions' own numbering of patches (`5.15.0-91`) counts as not known good.
  var filtersReplyTuples: Bool {
    switch (major, minor) {
    case (5, 10): patch >= 83
    case (5, 15): patch >= 6
    default: self >= KernelRelease(5, 16)
    }
  }
}

/// What one walk of the table asks the kernel to leave out.
struct KernelFilter: Sendable, Hashable {
  var transport: IPProtocol?
  var place: FlowQuery.PortPlace?
  var port: UInt16 = 0

  /// Everything of the family.
  static let none = KernelFilter()

  /// Bits of `CTA_FILTER_ORIG_FLAGS` and its sister; in no header the kernel exports (facts I2).
  ///
  /// The address bits are left out on purpose: their IPv6 match is inverted (facts I4).
  private enum Flag {
    static let protocolNumber: UInt32 = 0x08
    static let sourcePort: UInt32 = 0x10
    static let destinationPort: UInt32 = 0x20
  }

  /// Appends `CTA_TUPLE_ORIG` or `CTA_TUPLE_REPLY` and `CTA_FILTER`.
  func append(to request: inout NetlinkRequest) {
    guard let transport else { return }
    let isReply = place == .replySource || place == .replyDestination
    var flags = Flag.protocolNumber
    request.nest(
      isReply ? ConntrackAttribute.replyTuple : ConntrackAttribute.originalTuple
    ) { tuple in
      tuple.nest(ConntrackAttribute.Tuple.transport) { inner in
        inner.attribute(ConntrackAttribute.Transport.number, host: transport.rawValue)
        switch place {
        case .originalSource, .replySource:
          flags |= Flag.sourcePort
          inner.attribute(ConntrackAttribute.Transport.sourcePort, bigEndian: port)
        case .originalDestination, .replyDestination:
          flags |= Flag.destinationPort
          inner.attribute(ConntrackAttribute.Transport.destinationPort, bigEndian: port)
        case nil: break
        }
      }
    }
    request.nest(ConntrackAttribute.filter) { filter in
      // These two are in host order, unlike everything else here.
      filter.attribute(
        isReply ? ConntrackAttribute.Filter.replyFlags : ConntrackAttribute.Filter.originalFlags,
        host: flags)
    }
  }
}

/// The walks of one family that together find every flow of a query.
struct WalkPlan: Sendable, Hashable {
  var strategy: FlowDump.Strategy
  var filters: [KernelFilter]

  /// Hands on the whole family.
  static let everything = WalkPlan(strategy: .everything, filters: [.none])

  /// Chooses the cheapest set of walks that this kernel gets right.
  ///
  /// - Parameters:
  ///   - query: What is asked for.
  ///   - wanted: The strategy to take if this kernel gets it right; `nil` takes the cheapest.
  ///   - release: The kernel's version; `nil` if it couldn't be read.
  ///   - entries: How many entries the table has.
  ///   - buckets: How many buckets the table has.
  init(
    _ query: FlowQuery, _ wanted: FlowDump.Strategy? = nil, release: KernelRelease?,
    entries: UInt32?, buckets: UInt32?
  ) {
    let transports = query.transports.filter { $0.hasPorts && !query.ports(of: $0).isEmpty }
      .sorted { $0.rawValue < $1.rawValue }
    guard !transports.isEmpty, !query.places.isEmpty else {
      self.init(strategy: .everything, filters: [])
      return
    }
    var plans = [WalkPlan.everything]
    if let release, release.filtersTuples {
      plans.append(
        WalkPlan(strategy: .transports, filters: transports.map { KernelFilter(transport: $0) }))
      let looksAtReplies = !query.places.isDisjoint(with: [.replySource, .replyDestination])
      // A walk a port is never cheaper for a hundred of them.
      let ports = transports.map { query.ports(of: $0).count }.reduce(0, +)
      if release.filtersReplyTuples || !looksAtReplies, ports <= 100 {
        plans.append(
          WalkPlan(
            strategy: .portPlaces, filters: transports.flatMap { Self.portPlaces($0, query) }))
      }
    }
    let count = entries ?? 1000
    let size = buckets ?? 65536
    self =
      plans.first { $0.strategy == wanted }
      ?? plans.min {
        $0.cost(entries: count, buckets: size) < $1.cost(entries: count, buckets: size)
      }
      ?? .everything
  }

  private static func portPlaces(_ transport: IPProtocol, _ query: FlowQuery) -> [KernelFilter] {
    // The kernel compares ports for these two only (facts I7).
    guard transport == .udp || transport == .tcp else {
      return [KernelFilter(transport: transport)]
    }
    return query.ports(of: transport).sorted().flatMap { port in
      FlowQuery.PortPlace.allCases.filter(query.places.contains).map {
        KernelFilter(transport: transport, place: $0, port: port)
      }
    }
  }

  /// Nanoseconds of processor that reading both families takes, measured as in Docs/benchmarks.md.
  ///
  /// A walk passes every bucket and every entry of the table, whatever its filter; an entry that is
  /// handed over costs ten times more. How much of the table is of other transports, or is SIP, is a
  /// guess: it decides what the answer costs, never what it is.
  private func cost(entries: UInt32, buckets: UInt32) -> Double {
    let walk = 35 * Double(buckets) + 250 * Double(entries)
    // Without a filter one walk gives both families.
    let walks = strategy == .everything ? 1 : 2 * Double(filters.count)
    let share =
      switch strategy {
      case .everything: 1.0
      case .transports: 0.6
      case .portPlaces: 0.02
      }
    return walks * walk + share * 2200 * Double(entries)
  }

  private init(strategy: FlowDump.Strategy, filters: [KernelFilter]) {
    self.strategy = strategy
    self.filters = filters
  }
}
