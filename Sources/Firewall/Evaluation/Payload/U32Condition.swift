extension ConditionCompiler {
  /// `-m u32`.
  func compileU32(_ options: [Option]) -> [Condition]? {
    guard options.count == 1, options[0].name == "--u32", let text = options[0].only else {
      return nil
    }
    var tests: [U32Condition.Test] = []
    let plain = text.filter { !$0.isWhitespace }
    var rest = plain[...]
    while true {
      let end = rest.firstRange(of: "&&")
      guard let test = U32Condition.Test(rest[..<(end?.lowerBound ?? rest.endIndex)]) else {
        return nil
      }
      tests.append(test)
      guard let end else { break }
      rest = rest[end.upperBound...]
    }
    return [.other(U32Condition(tests: tests, isInverted: options[0].isInverted))]
  }
}

/// `-m u32`: numbers taken out of the packet, beginning at the IP header.
///
/// Corresponds to `u32_match_it` of `xt_u32`.
struct U32Condition: MatchCondition {
  enum Operation: Sendable { case and, left, right, at }

  /// `0>>22&0x3C@8=0x494e5649,5:9`.
  struct Test: Sendable {
    var start: UInt32
    var steps: [(operation: Operation, number: UInt32)] = []
    var values: [(UInt32, UInt32)] = []

    init?(_ text: Substring) {
      let sides = text.split(separator: "=", omittingEmptySubsequences: false)
      guard sides.count == 2 else { return nil }
      var left = sides[0]
      func number() -> UInt32? {
        let digits = left.prefix { $0.isHexDigit || $0 == "x" || $0 == "X" }
        left = left.dropFirst(digits.count)
        return UInt32(anyBase: digits)
      }
      guard let first = number() else { return nil }
      start = first
      while !left.isEmpty {
        let operation: Operation
        if left.hasPrefix("<<") {
          operation = .left
        } else if left.hasPrefix(">>") {
          operation = .right
        } else if left.hasPrefix("&") {
          operation = .and
        } else if left.hasPrefix("@") {
          operation = .at
        } else {
          return nil
        }
        left = left.dropFirst(operation == .left || operation == .right ? 2 : 1)
        guard let number = number() else { return nil }
        steps.append((operation, number))
      }
      for part in sides[1].split(separator: ",", omittingEmptySubsequences: false) {
        let ends = part.split(separator: ":", omittingEmptySubsequences: false)
        guard ends.count <= 2, let low = UInt32(anyBase: ends[0]),
          let high = UInt32(anyBase: ends[ends.count - 1])
        else { return nil }
        values.append((low, high))
      }
    }
  }

  var tests: [Test]
  var isInverted: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard let image = PacketImage(situation, variant) else { return .unknown }
    var result = Truth.yes
    for test in tests {
      result = result && truth(of: test, image)
      if result == .no { break }
    }
    return result.inverted(isInverted)
  }

  private func truth(of test: Test, _ image: PacketImage) -> Truth {
    var base = 0
    guard image.count >= 4, Int(test.start) <= image.count - 4 else { return .no }
    var value = image.word(Int(test.start))
    for (operation, number) in test.steps {
      switch operation {
      case .and: value = value.masked(number)
      case .left: value = value.shiftedLeft(number)
      case .right: value = value.shiftedRight(number)
      case .at:
        guard let offset = value.exact else { return .unknown }
        base += Int(offset)
        guard image.count >= base + 4, Int(number) <= image.count - base - 4 else { return .no }
        value = image.word(base + Int(number))
      }
    }
    var result = Truth.no
    for (low, high) in test.values {
      if let exact = value.exact {
        result = result || Truth(low <= exact && exact <= high)
      } else {
        result = result || (low == high ? value.equals(low, mask: .max) : .unknown)
      }
    }
    return result
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.payload, "match \"u32\" hangs on what is in the packet")
  }
}
