internal import Addressing

/// What the tools accept as the value of an extension's option.
///
/// Only what every version refuses is refused here: numbers out of range, words that are none of a
/// closed list. In the tables of ``Extensions``: `u8`, `u16`, `u32`, `u64` a number, `nA-B` one within
/// bounds, `r16`, `r32`, `r64` a range `A:B` of which either end may be missing (with `<` not falling,
/// with `!` rising and whole), `m32` `VALUE/MASK`, `=a|b` one of the words, and names for the rest.
enum OptionValue: Sendable {
  case number(ClosedRange<UInt64>)
  case range(most: UInt64, isOrdered: Bool, isStrict: Bool)
  case masked(most: UInt64)
  case word([String])
  case hardwareAddress, share, zone, level, addressTypes
  case translation, ports

  init?(_ text: Substring) {
    let widths: [Substring: UInt64] = [
      "8": 255, "16": 65_535, "32": UInt64(UInt32.max), "64": .max,
    ]
    switch text {
    case "mac": self = .hardwareAddress
    case "real": self = .share
    case "zone": self = .zone
    case "level": self = .level
    case "types": self = .addressTypes
    case "nat": self = .translation
    case "ports": self = .ports
    default:
      let rest = text.dropFirst()
      switch text.first {
      case "=": self = .word(rest.split(separator: "|").map(String.init))
      case "u":
        guard let most = widths[rest] else { return nil }
        self = .number(0...most)
      case "m":
        guard let most = widths[rest] else { return nil }
        self = .masked(most: most)
      case "n":
        let ends = rest.split(separator: "-").compactMap { UInt64($0) }
        guard ends.count == 2, ends[0] <= ends[1] else { return nil }
        self = .number(ends[0]...ends[1])
      case "r":
        let digits = rest.prefix { $0.isNumber }
        guard let most = widths[digits] else { return nil }
        self = .range(most: most, isOrdered: rest.last == "<", isStrict: rest.last == "!")
      default: return nil
      }
    }
  }

  /// What should have stood there, if the value cannot be.
  func fault(_ text: String, _ family: AddressFamily) -> String? {
    switch self {
    case .number(let range):
      return Self.number(text).map { range.contains($0) } == true
        ? nil : "a number from \(range.lowerBound) to \(range.upperBound)"
    case .range(let most, let isOrdered, let isStrict):
      return Self.isRange(text, most, isOrdered: isOrdered, isStrict: isStrict)
        ? nil : "a number or a range A:B of numbers up to \(most)"
    case .masked(let most):
      let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
      return parts.allSatisfy { Self.number($0).map { $0 <= most } == true }
        ? nil : "VALUE or VALUE/MASK, up to 0x\(String(most, radix: 16))"
    case .word(let words):
      return words.contains(text.lowercased()) ? nil : "one of " + words.joined(separator: ", ")
    case .hardwareAddress:
      return ConditionCompiler.hardwareAddress(text) == nil ? "a MAC address" : nil
    case .share:
      return Double(text).map { (0...1).contains($0) } == true ? nil : "a number from 0 to 1"
    case .zone:
      return text == "mark" || Self.number(text).map { $0 <= 65_535 } == true
        ? nil : "a zone from 0 to 65535, or mark"
    case .level:
      return Self.number(text).map { $0 <= 7 } == true || Self.levels.contains(text.lowercased())
        ? nil : "a log level: 0 to 7, or " + Self.levels.joined(separator: ", ")
    case .addressTypes:
      let words = text.split(separator: ",", omittingEmptySubsequences: false)
      return words.allSatisfy { AddressTypeCondition.Kind(rawValue: $0.uppercased()) != nil }
        ? nil : "address types such as LOCAL, UNICAST, BROADCAST"
    case .translation:
      return Self.portPart(text, family).map(Self.arePorts) == false
        ? "an address or range of addresses, and ports up to 65535" : nil
    case .ports: return Self.arePorts(text[...]) ? nil : "a port or a range of ports up to 65535"
    }
  }

  private static let levels = [
    "emerg", "panic", "alert", "crit", "err", "error", "warning", "warn", "notice", "info", "debug",
  ]

  /// A number as `strtoul(3)` with base 0 takes it.
  private static func number(_ text: some StringProtocol) -> UInt64? {
    var digits = text.drop { $0 == " " }
    if digits.hasPrefix("+") { digits = digits.dropFirst() }
    guard let first = digits.utf8.first, (48...57).contains(first) else { return nil }
    if digits.hasPrefix("0x") || digits.hasPrefix("0X") {
      return UInt64(digits.dropFirst(2), radix: 16)
    }
    return first == 48 && digits.utf8.count > 1
      ? UInt64(digits.dropFirst(), radix: 8) : UInt64(digits)
  }

  private static func isRange(
    _ text: String, _ most: UInt64, isOrdered: Bool, isStrict: Bool
  ) -> Bool {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    var ends: [UInt64?] = []
    for part in parts {
      if part.isEmpty {
        ends.append(nil)
        continue
      }
      guard let end = number(part), end <= most else { return false }
      ends.append(end)
    }
    if isStrict, ends.count != 2 { return false }
    guard ends.count == 2, isOrdered || isStrict else { return !text.isEmpty }
    let low = ends[0] ?? 0
    let high = ends[1] ?? most
    return isStrict ? low < high : low <= high
  }

  /// What stands behind the addresses of `--to-destination`, if anything does.
  static func portPart(_ text: String, _ family: AddressFamily) -> Substring? {
    if family == .ipv6 {
      if let close = text.lastIndex(of: "]") {
        let rest = text[text.index(after: close)...]
        return rest.isEmpty ? nil : rest.dropFirst()
      }
      // `:5060` alone; every other text with a colon is an address.
      let rest = text.dropFirst()
      return text.hasPrefix(":") && !rest.contains(":") ? rest : nil
    }
    return text.firstIndex(of: ":").map { text[text.index(after: $0)...] }
  }

  /// `A`, `A-B` or `A-B/BASE`; a name is left to the tools.
  private static func arePorts(_ text: Substring) -> Bool {
    if text.contains(where: { $0.isLetter }) { return true }
    let halves = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    func isPort(_ text: Substring) -> Bool { Self.number(text).map { $0 <= 65_535 } == true }
    let ends = halves[0].split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    return ends.allSatisfy(isPort)
      && (halves.count == 1 || isPort(halves[1]) && Self.number(halves[1]) != 0)
  }
}
