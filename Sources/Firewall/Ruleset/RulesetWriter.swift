extension Ruleset {
  /// The ruleset as `iptables-save` prints it and `iptables-restore` takes it.
  ///
  /// What ``RulesetReader`` read comes back byte for byte, counters, comments and line ends
  /// included. A table whose number of chains or rules has been changed is written plainly, in the
  /// order of its chains.
  ///
  /// - Returns: The bytes; rules keep theirs, so this need not be valid UTF-8.
  public func write() -> [UInt8] {
    var output: [UInt8] = []
    for table in tables {
      for line in table.leader { output.append(line: line) }
      table.write(to: &output)
    }
    for line in trailer { output.append(line: line) }
    if !endsWithNewline, output.last == UInt8(ascii: "\n") { output.removeLast() }
    return output
  }
}

extension Table {
  func write(to output: inout [UInt8]) {
    if let frozen {
      output += frozen
    } else if let layout, layout.fits(chains) {
      write(layout, to: &output)
    } else {
      writePlainly(to: &output)
    }
  }

  private func write(_ layout: TableLayout, to output: inout [UInt8]) {
    var cursor = Array(repeating: 0, count: chains.count)
    let end: [UInt8] =
      layout.usesCRLF ? [UInt8(ascii: "\r"), UInt8(ascii: "\n")] : [UInt8(ascii: "\n")]
    for line in layout.lines {
      switch line {
      case .header:
        output.append(UInt8(ascii: "*"))
        output += name.utf8
        output += end
      case .commit:
        output += "COMMIT".utf8
        output += end
      case .text(let text): output.append(line: text)
      case .chains(let first, let count):
        for chain in chains[first..<(first + count)] {
          chain.writeDeclaration(to: &output)
          output += end
        }
      case .rules(let chain, let count):
        let first = cursor[chain]
        cursor[chain] += count
        for rule in chains[chain].rules[first..<(first + count)] {
          rule.write(to: &output)
          output += end
        }
      case .oddChain(let index, let policy, let counters, let text):
        let chain = chains[index]
        if chain.policy == policy && chain.counters == counters {
          output.append(line: text)
        } else {
          chain.writeDeclaration(to: &output)
          output += end
        }
      case .oddRule(let chain, let bytes, let counters, let text):
        let rule = chains[chain].rules[cursor[chain]]
        cursor[chain] += 1
        if rule.counters == counters && rule.bytes == bytes {
          output.append(line: text)
        } else {
          rule.write(to: &output)
          output += end
        }
      }
    }
  }

  private func writePlainly(to output: inout [UInt8]) {
    output += "*\(name)\n".utf8
    for chain in chains {
      // A built-in chain without a policy was never declared; declaring it would set one (facts E2).
      if chain.policy == nil && BaseOptions.builtInChains.contains(chain.name) { continue }
      chain.writeDeclaration(to: &output)
      output.append(UInt8(ascii: "\n"))
    }
    for chain in chains {
      for rule in chain.rules {
        rule.write(to: &output)
        output.append(UInt8(ascii: "\n"))
      }
    }
    output += "COMMIT\n".utf8
  }
}

extension Chain {
  func writeDeclaration(to output: inout [UInt8]) {
    output.append(UInt8(ascii: ":"))
    output += name.utf8
    output.append(UInt8(ascii: " "))
    output += (policy ?? "-").utf8
    if let counters {
      output.append(UInt8(ascii: " "))
      counters.write(to: &output)
    }
  }
}

extension Rule {
  func write(to output: inout [UInt8]) {
    if let counters {
      counters.write(to: &output)
      output.append(UInt8(ascii: " "))
    }
    output += bytes
  }
}

extension RuleCounters {
  func write(to output: inout [UInt8]) { output += "[\(packets):\(bytes)]".utf8 }
}

extension [UInt8] {
  mutating func append(line: [UInt8]) {
    self += line
    append(UInt8(ascii: "\n"))
  }
}
