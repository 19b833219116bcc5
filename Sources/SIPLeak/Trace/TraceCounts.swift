import Firewall

/// What the markers of one run had counted at one moment.
struct TraceCounts: Sendable {
  /// Packets by subject and number, both as in the comment.
  private(set) var packets: [Key: UInt64] = [:]

  struct Key: Hashable, Sendable {
    var subject: Int
    var number: Int
  }

  /// Takes the counters of a run's markers out of tables.
  init(_ tables: [Table], id: String) {
    for table in tables {
      for (_, rule) in table.traceMarkers(of: id) {
        guard let key = Self.key(rule.comment, id), let counters = rule.counters else { continue }
        packets[key] = counters.packets
      }
    }
  }

  /// Makes counts by hand.
  init(packets: [Key: UInt64]) { self.packets = packets }

  private static func key(_ comment: String?, _ id: String) -> Key? {
    guard let last = comment?.split(separator: " ").last else { return nil }
    let parts = last.split(separator: ".")
    guard parts.count == 2, let subject = Int(parts[0]), let number = Int(parts[1]) else {
      return nil
    }
    return Key(subject: subject - 1, number: number)
  }

  subscript(marker: TracePlan.Marker) -> UInt64 {
    packets[Key(subject: marker.subject, number: marker.number)] ?? 0
  }
}

/// What a run has read: twice at the beginning and twice at the end.
///
/// A table's markers come and go together, but reading them takes time in which packets pass. Of two
/// readings right after another, the first of one marker and the second of the next bound what lies
/// between them: a packet that the first had counted has long met the next by then. So no packet
/// "leaves" because of the reading.
struct TraceReadings: Sendable {
  var start: (first: TraceCounts, second: TraceCounts)
  var end: (first: TraceCounts, second: TraceCounts)

  /// Packets that certainly left between two markers of one chain.
  ///
  /// Both began at nothing in one transaction.
  func left(between marker: TracePlan.Marker, and next: TracePlan.Marker) -> UInt64 {
    let came = end.first[marker]
    let went = end.second[next]
    return came > went ? came - went : 0
  }

  /// The most that may have left between them.
  func mostLeft(between marker: TracePlan.Marker, and next: TracePlan.Marker) -> UInt64 {
    let came = end.second[marker]
    let went = end.first[next]
    return came > went ? came - went : 0
  }

  /// Packets that a marker counted.
  func came(_ marker: TracePlan.Marker) -> UInt64 { end.first[marker] }

  /// Packets that certainly came while every marker stood.
  func least(_ marker: TracePlan.Marker) -> UInt64 {
    let (from, to) = (start.second[marker], end.first[marker])
    return to > from ? to - from : 0
  }

  /// Packets that may have come while every marker stood.
  func most(_ marker: TracePlan.Marker) -> UInt64 {
    let (from, to) = (start.first[marker], end.second[marker])
    return to > from ? to - from : 0
  }
}
