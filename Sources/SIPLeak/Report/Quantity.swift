import FoundationEssentials

/// Numbers, times and durations as operators read them.
public enum Quantity {
  /// A count as `iptables -L -v` prints it: five digits, then K, M, G, T (decimal).
  public static func short(_ count: UInt64) -> String {
    var value = count
    if value <= 99_999 { return String(value) }
    for unit in ["K", "M", "G"] {
      value = (value + 500) / 1000
      if value <= 9_999 { return "\(value)\(unit)" }
    }
    return "\((value + 500) / 1000)T"
  }

  /// A count with commas between thousands.
  public static func grouped(_ count: some BinaryInteger) -> String {
    let digits = Array(String(count))
    var result = ""
    for (index, digit) in digits.enumerated() {
      let left = digits.count - index
      if index > 0, left % 3 == 0, digits[index - 1] != "-" { result.append(",") }
      result.append(digit)
    }
    return result
  }

  /// A duration in at most two units: `5 s`, `1 min 30 s`, `24 h`.
  public static func duration(_ seconds: Double) -> String {
    guard seconds >= 1 else { return "\(whole(seconds * 1000)) ms" }
    let whole = whole(seconds)
    // A day is said in hours until there are two of them: `24 h` is what people set.
    let units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    guard var first = units.firstIndex(where: { whole >= $0.1 }) else { return "0 s" }
    if first == 0, whole < 2 * 86400 { first = 1 }
    let size = units[first].1
    var text = "\(whole / size) \(units[first].0)"
    if first + 1 < units.count, whole % size / units[first + 1].1 > 0 {
      text += " \(whole % size / units[first + 1].1) \(units[first + 1].0)"
    }
    return text
  }

  /// A number as an integer, whatever it is: one that does not fit is the nearest that does.
  static func whole(_ number: Double) -> Int {
    guard !number.isNaN else { return 0 }
    return Int(min(max(number, -1e15), 1e15).rounded())
  }

  /// A time in UTC as RFC 3339 writes it, to the second; its years end with 9999, and ours begin
  /// with 1970: a time outside of them is the nearest inside.
  public static func rfc3339(_ seconds: Double) -> String {
    let last = Observation.Sample.times.upperBound - 1
    let known = seconds.isNaN ? 0 : min(max(seconds, 0), last)
    return Date(timeIntervalSince1970: known.rounded(.down)).formatted(.iso8601)
  }

  /// A time in UTC for people: `2026-11-21 01:42:10 UTC`.
  public static func utc(_ seconds: Double, toMinute: Bool = false) -> String {
    let text = rfc3339(seconds)
    let day = text.prefix(10)
    let clock = text.dropFirst(11).prefix(toMinute ? 5 : 8)
    return "\(day) \(clock) UTC"
  }
}
