/// A part of a message.
typealias Bytes = ArraySlice<UInt8>

extension UInt8 {
  /// SP or HTAB.
  var isBlank: Bool { self == 0x20 || self == 0x09 }

  var isDigit: Bool { (0x30...0x39).contains(self) }

  var isLetter: Bool { (0x61...0x7a).contains(self | 0x20) }

  /// The value of a hexadecimal digit, or `nil`.
  var hexValue: UInt8? {
    switch self {
    case 0x30...0x39: self - 0x30
    case 0x41...0x46: self - 0x37
    case 0x61...0x66: self - 0x57
    default: nil
    }
  }

  /// Whether a token may hold it (RFC 3261 §25.1).
  var isToken: Bool { isDigit || isLetter || "-.!%*_+`'~".utf8.contains(self) }

  var lowercased: UInt8 { (0x41...0x5a).contains(self) ? self | 0x20 : self }
}

extension ArraySlice<UInt8> {
  /// Without blanks at both ends.
  var trimmed: Bytes {
    var part = self
    while let first = part.first, first.isBlank { part.removeFirst() }
    while let last = part.last, last.isBlank { part.removeLast() }
    return part
  }

  /// As text; invalid UTF-8 is replaced by U+FFFD.
  var text: String { String(decoding: self, as: UTF8.self) }

  /// Whether it begins with an ASCII text, whatever the case.
  func begins(with text: String) -> Bool {
    count >= text.utf8.count && zip(self, text.utf8).allSatisfy { $0.lowercased == $1.lowercased }
  }

  /// Whether it is an ASCII text, whatever the case.
  func isSame(as text: String) -> Bool { count == text.utf8.count && begins(with: text) }

  /// A number of digits alone; `nil` when it is none or does not fit.
  var number: UInt64? {
    guard !isEmpty, allSatisfy(\.isDigit) else { return nil }
    var value: UInt64 = 0
    for digit in self {
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(digit - 0x30))
      if overflow || carry { return nil }
      value = sum
    }
    return value
  }

  /// Parts between a separator that stands outside of quotes and, if asked, of angle brackets.
  ///
  /// A quote that never closes counts as a plain character.
  func split(at separator: UInt8, heedingBrackets: Bool = true, most: Int) -> [Bytes] {
    var parts: [Bytes] = []
    var start = startIndex
    var at = startIndex
    var isBracketed = false
    // Past this place no quote closes, so none is looked for again: the walk stays linear.
    var isQuotable = true
    while at < endIndex {
      let byte = self[at]
      if byte == 0x22, isQuotable {
        if let end = closingQuote(from: at) {
          at = end
        } else {
          isQuotable = false
        }
      } else if byte == 0x3c, heedingBrackets {
        isBracketed = true
      } else if byte == 0x3e {
        isBracketed = false
      } else if byte == separator, !isBracketed {
        parts.append(self[start..<at])
        start = at + 1
        if parts.count >= most { return parts }
      }
      at += 1
    }
    parts.append(self[start...])
    return parts
  }

  /// Where the quote opened at a place closes; a backslash takes the next byte along.
  func closingQuote(from open: Int) -> Int? {
    var at = open + 1
    while at < endIndex {
      if self[at] == 0x5c { at += 1 } else if self[at] == 0x22 { return at }
      at += 1
    }
    return nil
  }

  /// The inside of a quoted string with its backslashes resolved, or the part as it is.
  var unquoted: Bytes {
    guard count >= 2, first == 0x22, last == 0x22 else { return self }
    var plain: [UInt8] = []
    var isEscaped = false
    for byte in dropFirst().dropLast() {
      if byte == 0x5c, !isEscaped {
        isEscaped = true
      } else {
        plain.append(byte)
        isEscaped = false
      }
    }
    return plain[...]
  }

  /// With `%41` read as `A`; a percent sign without two hexadecimal digits stays.
  var percentDecoded: [UInt8] {
    guard contains(0x25) else { return Array(self) }
    var plain: [UInt8] = []
    plain.reserveCapacity(count)
    var at = startIndex
    while at < endIndex {
      if self[at] == 0x25, at + 2 < endIndex, let high = self[at + 1].hexValue,
        let low = self[at + 2].hexValue
      {
        plain.append(high << 4 | low)
        at += 3
      } else {
        plain.append(self[at])
        at += 1
      }
    }
    return plain
  }

  /// Whether every percent sign is followed by two hexadecimal digits.
  var hasOnlyWholeEscapes: Bool {
    for at in indices where self[at] == 0x25 {
      guard at + 2 < endIndex, self[at + 1].hexValue != nil, self[at + 2].hexValue != nil else {
        return false
      }
    }
    return true
  }
}
