extension ConditionCompiler {
  /// `-m string`.
  func compileString(_ options: [Option]) -> [Condition]? {
    var condition = StringCondition()
    for option in options {
      switch option.name {
      case "--string", "--hex-string":
        guard let text = option.only else { return nil }
        let pattern = option.name == "--string" ? Array(text.utf8) : Self.hexPattern(text)
        guard let pattern, !pattern.isEmpty else { return nil }
        condition.pattern = pattern
        // What is not UTF-8 was replaced when the rule was read.
        condition.isExact = !text.unicodeScalars.contains("\u{fffd}")
        condition.isInverted = option.isInverted
      case "--from", "--to":
        guard let text = option.only, let value = UInt32(anyBase: text), value <= 65_535 else {
          return nil
        }
        if option.name == "--from" {
          condition.from = Int(value)
        } else {
          condition.to = Int(value)
        }
      case "--icase": condition.ignoresCase = true
      case "--algo": break
      default: return nil
      }
    }
    return condition.pattern.isEmpty ? nil : [.other(condition)]
  }

  /// `text|0d 0a|text`.
  private static func hexPattern(_ text: String) -> [UInt8]? {
    var result: [UInt8] = []
    var digits: [UInt8]?
    var isEscaped = false
    for byte in text.utf8 {
      if isEscaped {
        result.append(byte)
        isEscaped = false
      } else if byte == UInt8(ascii: "|") {
        if let open = digits {
          guard open.isEmpty else { return nil }
          digits = nil
        } else {
          digits = []
        }
      } else if let open = digits {
        if byte == UInt8(ascii: " ") { continue }
        let pair = open + [byte]
        guard pair.count == 2 else {
          digits = pair
          continue
        }
        guard let value = UInt8(String(decoding: pair, as: UTF8.self), radix: 16) else {
          return nil
        }
        result.append(value)
        digits = []
      } else if byte == UInt8(ascii: "\\") {
        isEscaped = true
      } else {
        result.append(byte)
      }
    }
    return digits == nil ? result : nil
  }
}

/// `--string` and `--hex-string`: offsets count from the IP header (facts F6).
struct StringCondition: MatchCondition {
  var pattern: [UInt8] = []
  var isExact = true
  var from = 0
  var to = 65_535
  var ignoresCase = false
  var isInverted = false

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard isExact, let image = PacketImage(situation, variant) else { return .unknown }
    return found(in: image).inverted(isInverted)
  }

  private func found(in image: PacketImage) -> Truth {
    var result = Truth.no
    guard image.count >= pattern.count else { return .no }
    for start in from..<max(from, min(image.count - pattern.count, to) + 1) {
      let here = matches(image, at: start)
      // Here the whole pattern must end by `--to`; older kernels only ask that it begins there.
      if here == .yes, start + pattern.count <= to { return .yes }
      if here != .no { result = .unknown }
    }
    return result
  }

  private func matches(_ image: PacketImage, at start: Int) -> Truth {
    var result = Truth.yes
    for (index, wanted) in pattern.enumerated() {
      let isPossible =
        image.may(start + index, be: wanted)
        || ignoresCase && image.may(start + index, be: Self.otherCase(wanted))
      if !isPossible { return .no }
      if image[start + index] == nil { result = .unknown }
    }
    return result
  }

  private static func otherCase(_ byte: UInt8) -> UInt8 {
    (97...122).contains(byte) ? byte - 32 : (65...90).contains(byte) ? byte + 32 : byte
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.payload, "match \"string\" hangs on what is in the packet")
  }
}
