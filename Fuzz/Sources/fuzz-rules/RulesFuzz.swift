import Addressing
import Firewall

/// Reads the input as a ruleset; what is read must write back, and read again, the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  // The input says nothing about its family, so that saved files can be inputs as they are.
  let family: AddressFamily = count.isMultiple(of: 2) ? .ipv4 : .ipv6
  guard
    let rules = try? RulesetReader.read(bytes, source: "input", backend: .nft, family: family)
  else { return 0 }
  precondition(rules.write() == bytes, "it does not write back byte for byte")
  rewrite(rules)
  return 0
}

/// Forgets how the lines stood, as a change does, and reads what is then written.
private func rewrite(_ rules: Ruleset) {
  var plain = Ruleset(backend: rules.backend, family: rules.family)
  plain.tables = rules.tables.map { Table(name: $0.name, chains: $0.chains.filter(isPrinted)) }
  // Names are text: where bytes of one were replaced, rules and chains no longer agree.
  if plain.tables.contains(where: { $0.chains.contains(where: isReplaced) }) { return }
  if plain.tables.contains(where: isAmbiguous) { return }
  let text = plain.write()
  let again: Ruleset
  do {
    again = try RulesetReader.read(
      text, source: "written", backend: rules.backend, family: rules.family)
  } catch {
    fatalError("what was written is refused: \(error)\n\(String(decoding: text, as: UTF8.self))")
  }
  precondition(again.write() == text, "what was written does not write back")
  precondition(again.tables.count == plain.tables.count, "tables differ")
  for (one, other) in zip(plain.tables, again.tables) {
    precondition(one.name == other.name && one.chains.count == other.chains.count, "chains differ")
    let found = Dictionary(uniqueKeysWithValues: other.chains.map { ($0.name, $0) })
    for chain in one.chains {
      guard let same = found[chain.name] else { fatalError("no chain \(chain.name)") }
      precondition(
        same.policy == chain.policy
          && (same.counters == chain.counters || !isDeclared(chain))
          && same.rules.count == chain.rules.count, "chain \(chain.name) differs")
      for (rule, twin) in zip(chain.rules, same.rules) {
        precondition(
          rule.bytes == twin.bytes && rule.matches == twin.matches && rule.target == twin.target
            && rule.counters == twin.counters, "a rule differs: \(rule.text)")
      }
    }
  }
}

/// A built-in chain without a policy is written by its rules alone.
private func isDeclared(_ chain: Chain) -> Bool {
  chain.policy != nil || !builtInChains.contains(chain.name)
}

private func isPrinted(_ chain: Chain) -> Bool { isDeclared(chain) || !chain.rules.isEmpty }

private func isReplaced(_ chain: Chain) -> Bool { chain.name.unicodeScalars.contains("\u{fffd}") }

/// Whether a chain is named as a target and may be declared below a rule that meant the target.
///
/// Written first, the chain would be meant. The tools refuse such a name by `-N` and take it by `:`.
private func isAmbiguous(_ table: Table) -> Bool {
  let names = Set(table.chains.map(\.name))
  return table.chains.contains { chain in
    chain.rules.contains { rule in
      rule.target.map { !$0.options.isEmpty && names.contains($0.name) } ?? false
    }
  }
}

private let builtInChains: Set = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]
