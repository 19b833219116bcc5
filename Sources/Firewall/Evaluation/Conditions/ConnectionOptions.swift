import Addressing

extension ConditionCompiler {
  /// `-m state`.
  func compileState(_ options: [Option]) -> [Condition]? {
    guard options.count == 1, options[0].name == "--state", let list = options[0].only,
      let states = ConnectionStates(list: list), states.isSubset(of: .plain)
    else { return nil }
    // The tool complements the mask; the match itself has no inversion.
    return [.state(options[0].isInverted ? .plain.subtracting(states) : states)]
  }

  /// `-m conntrack`.
  func compileConntrack(_ options: [Option]) -> [Condition]? {
    var condition = ConnectionCondition(states: nil, tests: [])
    for option in options {
      guard let text = option.only else { return nil }
      if option.name == "--ctstate" {
        guard let states = ConnectionStates(list: text), condition.states == nil else {
          return nil
        }
        condition.states = (states, option.isInverted)
      } else if let test = connectionTest(option.name, text) {
        condition.tests.append((test, option.isInverted))
      } else {
        return nil
      }
    }
    if condition.tests.isEmpty, let (states, isInverted) = condition.states,
      states.isSubset(of: .plain)
    {
      return [.state(isInverted ? .plain.subtracting(states) : states)]
    }
    return [.other(condition)]
  }

  private func connectionTest(_ name: String, _ text: String) -> ConnectionCondition.Test? {
    let places: [String: ConnectionCondition.Place] = [
      "--ctorigsrc": .originalSource, "--ctorigdst": .originalDestination,
      "--ctreplsrc": .replySource, "--ctrepldst": .replyDestination,
    ]
    if let place = places[name] {
      return AddressPattern(text, family: family).map { .address(place, $0) }
    }
    if name.hasSuffix("port"), let place = places[String(name.dropLast(4))] {
      return Self.portRange(text).map { .port(place, $0.0, $0.1) }
    }
    switch name {
    case "--ctproto":
      return Self.protocolNumber(text).map { .transport($0) }
    case "--ctstatus":
      return Self.connectionStatus(text).map { .status($0) }
    case "--ctexpire":
      return UInt32.range(text, upTo: .max).map { .expires($0.0, $0.1) }
    case "--ctdir":
      switch text.uppercased() {
      case "ORIGINAL": return .direction(.original)
      case "REPLY": return .direction(.reply)
      default: return nil
      }
    default:
      return nil
    }
  }

  /// `NONE` adds no bit, so that it alone never matches.
  private static func connectionStatus(_ list: String) -> UInt32? {
    var result: UInt32 = 0
    for word in list.split(separator: ",", omittingEmptySubsequences: false) {
      switch word.uppercased() {
      case "NONE": break
      case "EXPECTED": result |= 1 << 0
      case "SEEN_REPLY": result |= 1 << 1
      case "ASSURED": result |= 1 << 2
      case "CONFIRMED": result |= 1 << 3
      default: return nil
      }
    }
    return result
  }

  /// `-m mark`.
  func compileMark(_ options: [Option]) -> [Condition]? {
    guard let (value, mask, isInverted) = Self.markTest(options) else { return nil }
    return [.mark(value, mask: mask, isInverted: isInverted)]
  }

  /// `-m connmark`.
  func compileConnectionMark(_ options: [Option]) -> [Condition]? {
    guard let (value, mask, isInverted) = Self.markTest(options) else { return nil }
    return [.other(ConnectionMark(value: value, mask: mask, isInverted: isInverted))]
  }

  private static func markTest(_ options: [Option]) -> (UInt32, UInt32, Bool)? {
    guard options.count == 1, options[0].name == "--mark", let text = options[0].only,
      let (value, mask) = maskedValue(text)
    else { return nil }
    return (value, mask, options[0].isInverted)
  }

  /// `VALUE` or `VALUE/MASK`.
  static func maskedValue(_ text: String) -> (UInt32, UInt32)? {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let value = UInt32(anyBase: parts[0]) else { return nil }
    guard parts.count == 2 else { return (value, .max) }
    return UInt32(anyBase: parts[1]).map { (value, $0) }
  }

  /// `-m helper`.
  func compileHelper(_ options: [Option]) -> [Condition]? {
    guard options.count == 1, options[0].name == "--helper", let name = options[0].only else {
      return nil
    }
    return [.other(ConnectionHelper(name: name, isInverted: options[0].isInverted))]
  }

  /// `-m connbytes`.
  func compileConnectionBytes(_ options: [Option]) -> [Condition]? {
    var condition = ConnectionVolume()
    for option in options {
      guard let text = option.only else { return nil }
      switch (option.name, text) {
      case ("--connbytes", _):
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let low = UInt64(parts[0]) else { return nil }
        condition.low = low
        if parts.count == 2, !parts[1].isEmpty {
          guard let high = UInt64(parts[1]) else { return nil }
          condition.high = high
        }
        condition.isInverted = option.isInverted
      case ("--connbytes-dir", "original"): condition.directions = [.original]
      case ("--connbytes-dir", "reply"): condition.directions = [.reply]
      case ("--connbytes-dir", "both"): condition.directions = [.original, .reply]
      case ("--connbytes-mode", "packets"): condition.mode = .packets
      case ("--connbytes-mode", "bytes"): condition.mode = .bytes
      case ("--connbytes-mode", "avgpkt"): condition.mode = .average
      default: return nil
      }
    }
    return condition.directions.isEmpty ? nil : [.other(condition)]
  }
}
