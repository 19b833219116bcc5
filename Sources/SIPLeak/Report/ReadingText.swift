import Addressing
public import Conntrack

/// How the flow table was read, for `--verbose`: the strategy of each family, its walks and their cost.
public enum ReadingText {
  /// The lines, without newlines; none if it is not known how it was read.
  ///
  /// - Parameter observation: What was read.
  /// - Returns: Lines for standard error.
  public static func lines(_ observation: Observation) -> [String] {
    [observation.earlier, observation.sample].compactMap { $0?.reading }.flatMap(lines)
  }

  /// The lines of one reading, without newlines.
  public static func lines(_ reading: FlowDump.Account) -> [String] {
    func number(_ value: UInt32?) -> String { value.map { Quantity.grouped(Int($0)) } ?? "unknown" }
    var table =
      "flow table: \(number(reading.entries)) entries, \(number(reading.buckets)) buckets, read in "
      + "\(seconds(reading.seconds)) on \(counted(reading.threads, "thread"))"
    if reading.readings > 1 {
      table +=
        ", for the \(reading.readings == 2 ? "second" : "third") time: it was resized meanwhile"
    }
    if reading.isTogether { table += ", both families in one walk" }
    return [table]
      + reading.families.map { family in
        "\(family.family.rawValue): \(words(family)), \(counted(family.walks, "walk")) of "
          + "\(seconds(family.seconds)), the kernel gave "
          + "\(counted(Int(clamping: family.walked), "entry", "entries")), "
          + "\(Quantity.grouped(family.flows)) may concern SIP"
      }
  }

  private static func words(_ family: FlowDump.Account.Family) -> String {
    switch family.strategy {
    case .portPlaces: "asked by port and direction"
    case .transports: "asked by transport"
    case .everything:
      family.isFallback
        ? "asked for everything, the kernel having refused the filter" : "asked for everything"
    }
  }

  private static func counted(_ count: Int, _ noun: String, _ plural: String? = nil) -> String {
    "\(Quantity.grouped(count)) \(count == 1 ? noun : plural ?? noun + "s")"
  }

  private static func seconds(_ value: Double) -> String {
    "\(Quantity.grouped(Quantity.whole(value * 1000))) ms"
  }
}
