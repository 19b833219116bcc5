/// The first words of a line: the command and its chain.
extension RuleParser {
  mutating func command(at start: Int) throws(FirewallError) -> RuleCommand {
    let wanted = "-A, -I, -N, -P or -F with a chain"
    guard index < tokens.count else {
      throw source.error(at: start, expected: wanted, found: "the end of the line")
    }
    guard isOption(0) else { throw error(wanted) }
    var name = source.text(tokens[0])
    var attached: String?
    if name.hasPrefix("--") {
      if let equals = name.firstIndex(of: "=") {
        attached = String(name[name.index(after: equals)...])
        name = String(name[..<equals])
      }
    } else if name.utf8.count > 2 {
      attached = String(name.dropFirst(2))
      name = String(name.prefix(2))
    }
    guard let letter = BaseOptions.commands[name] else { throw error(wanted) }
    index = 1
    func chain() throws(FirewallError) -> String {
      let name = try value(attached, "a chain")
      guard !name.isEmpty, name.utf8.count <= 28 else {
        throw source.error(at: tokens[index - 1], expected: "a chain name of 1 to 28 bytes")
      }
      // A save prints names without quotes, so a blank in one would begin another word (facts H3).
      guard !name.utf8.contains(where: { $0 == 0x20 || (0x09...0x0D).contains($0) }) else {
        throw source.error(at: tokens[index - 1], expected: "a chain name without blanks")
      }
      return name
    }
    switch letter {
    case UInt8(ascii: "A"): return .append(chain: try chain())
    case UInt8(ascii: "N"):
      let name = try chain()
      guard let first = name.utf8.first, first != UInt8(ascii: "-"), first != UInt8(ascii: "!")
      else {
        throw source.error(
          at: tokens[index - 1], expected: "a chain name that does not begin with - or !")
      }
      return .newChain(name)
    case UInt8(ascii: "F"):
      return .flush(chain: attached == nil && index == tokens.count ? nil : try chain())
    case UInt8(ascii: "P"):
      let name = try chain()
      let policy = try word("ACCEPT or DROP")
      guard policy == "ACCEPT" || policy == "DROP" else {
        index -= 1
        throw error("ACCEPT or DROP")
      }
      return .policy(chain: name, policy)
    default:
      let name = try chain()
      var position = 1
      if index < tokens.count, let first = source.text(tokens[index]).utf8.first,
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
      {
        guard let number = Int(source.text(tokens[index])), number > 0 else {
          throw error("a position from 1")
        }
        position = number
        index += 1
      }
      return .insert(chain: name, position: position)
    }
  }

  mutating func policyCounters(_ line: inout ParsedLine) throws(FirewallError) {
    guard source.text(tokens[index]) == "-c" else { throw error("-c or the end of the line") }
    index += 1
    line.counters = try counters(attached: nil)
  }
}
