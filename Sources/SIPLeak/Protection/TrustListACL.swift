import Addressing

/// Rules of an Asterisk ACL in their order: the last that matches decides, and none permits.
struct ACL {
  /// Whether lines of a section came before, where other settings may stand as well.
  var isSection = false
  private var rules: [(permits: Bool, prefix: IPPrefix, line: Int, column: Int)] = []

  init(isSection: Bool = false) { self.isSection = isSection }

  /// Takes a line if it is one of an ACL.
  ///
  /// - Returns: Whether it was.
  mutating func take(
    _ words: [(text: String, column: Int)], line: Int
  ) throws(TrustList.Problem) -> Bool {
    let joined = words.map(\.text).joined()
    guard let equals = joined.firstIndex(of: "="), let first = words.first else { return false }
    let key = joined[..<equals].lowercased()
    guard key == "permit" || key == "deny" else {
      // Other settings of a section (type=acl) say nothing about addresses.
      return isSection
    }
    var value = joined[equals...].dropFirst()
    if value.first == ">" { value = value.dropFirst() }
    for item in value.split(separator: ",", omittingEmptySubsequences: false) {
      var word = item[...]
      var permits = key == "permit"
      if word.first == "!" {
        permits.toggle()
        word = word.dropFirst()
      }
      try add(permits, String(word), line: line, column: first.column)
    }
    return true
  }

  /// Adds one rule.
  mutating func add(
    _ permits: Bool, _ text: String, line: Int, column: Int
  ) throws(TrustList.Problem) {
    guard let prefix = Self.prefix(text) else {
      throw TrustList.Problem(
        line: line, column: column, what: "\"\(text)\" is no network",
        expected: "an address, or ADDRESS/LENGTH, or ADDRESS/NETMASK")
    }
    rules.append((permits, prefix, line, column))
  }

  /// A network as ACLs write it: a length or a mask, host bits cleared.
  static func prefix(_ text: String) -> IPPrefix? {
    if let prefix = IPPrefix(text) { return prefix.unmapped }
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = IPAddress(String(parts[0])),
      let mask = IPAddress(String(parts[1])), mask.family == address.family
    else { return nil }
    let width = address.family.bitWidth
    // Ones, then zeros, and nothing else.
    let all: UInt128 = width == 128 ? .max : (UInt128(1) << width) - 1
    let zeros = mask.bits == 0 ? width : mask.bits.trailingZeroBitCount
    let ones: UInt128 = zeros == 128 ? 0 : (all >> zeros) << zeros
    guard mask.bits == ones else { return nil }
    return IPPrefix(address, length: width - zeros)
  }

  /// Who is permitted by a rule: never everybody whom no rule denies.
  func entries(_ allowsWide: Bool) throws(TrustList.Problem) -> [TrustList.Entry] {
    var result: [TrustList.Entry] = []
    for (index, rule) in rules.enumerated() where rule.permits {
      // What a later rule denies is not permitted.
      let denied = PrefixSet(rules[index...].filter { !$0.permits }.map(\.prefix))
      for prefix in PrefixSet([rule.prefix]).subtracting(denied).prefixes {
        result.append(
          TrustList.Entry(
            subject: .prefix(
              try TrustList.narrow(prefix, line: rule.line, column: rule.column, allowsWide)),
            isContact: false, line: rule.line))
      }
    }
    return result
  }
}

extension TrustList {
  /// Reads what `acl show NAME` prints: `   0: deny  - 0.0.0.0/0.0.0.0`.
  mutating func readShownACL(_ lines: [Line], _ allowsWide: Bool) throws(Problem) {
    var acl = ACL()
    for (index, line) in lines.enumerated() {
      let words = line.words
      guard let first = words.first else { continue }
      if first.text == "ACL:" {
        entries += try acl.entries(allowsWide)
        acl = ACL()
        continue
      }
      if first.text == "ACL" || first.text.allSatisfy({ $0 == "-" }) { continue }
      let number = first.text.dropLast()
      guard words.count == 4, first.text.hasSuffix(":"), !number.isEmpty,
        number.allSatisfy(\.isNumber), words[2].text == "-",
        words[1].text == "allow" || words[1].text == "deny"
      else {
        throw Problem(
          line: index + 1, column: first.column, what: "no rule of an ACL",
          expected: "a line such as \"0: allow - 192.0.2.0/255.255.255.0\"")
      }
      try acl.add(
        words[1].text == "allow", words[3].text, line: index + 1, column: words[3].column)
    }
    entries += try acl.entries(allowsWide)
  }
}
