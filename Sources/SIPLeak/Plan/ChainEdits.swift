import Firewall

/// A line of a transaction, and the line that takes it back.
struct RuleEdit {
  var chain: String
  var line: String
  var undo: String
}

/// Rules that go from a chain and come into it, one by one: those that stay are not touched, and
/// keep what they have counted.
struct ChainEdits {
  private let chain: String
  /// The rules as they stand after the edits, without `-A CHAIN`.
  private var rules: [String]
  private(set) var edits: [RuleEdit] = []

  /// Begins with a chain as it stands.
  ///
  /// - Parameters:
  ///   - chain: Its name.
  ///   - rules: Its rules, without `-A CHAIN`.
  init(_ chain: String, standing rules: [String]) {
    self.chain = chain
    self.rules = rules
  }

  /// Deletes a rule by its whole specification (facts E5).
  mutating func delete(at index: Int) {
    let text = rules.remove(at: index)
    edits.append(
      RuleEdit(
        chain: chain, line: "-D \(chain) \(text)", undo: Self.insertion(text, at: index, self)))
  }

  /// Puts a rule where it belongs.
  mutating func insert(_ text: String, at index: Int) {
    edits.append(
      RuleEdit(
        chain: chain, line: Self.insertion(text, at: index, self), undo: "-D \(chain) \(text)"))
    rules.insert(text, at: index)
  }

  private static func insertion(_ text: String, at index: Int, _ edits: ChainEdits) -> String {
    index == edits.rules.count
      ? "-A \(edits.chain) \(text)" : "-I \(edits.chain) \(index + 1) \(text)"
  }
}

extension ChainEdits {
  /// A rule by what it means, and as text without `-A CHAIN`.
  struct MeantRule {
    var meaning: [String]
    var text: String
  }

  /// What turns a chain into another, or `nil` where rules that stay would change places or stand
  /// there twice.
  ///
  /// What comes stands before what it replaces goes: wherever this is cut into transactions, a block
  /// that goes on is never without its rule.
  init?(_ chain: String, from standing: [MeantRule], to wanted: [MeantRule]) {
    self.init(chain, standing: standing.map(\.text))
    let old = Set(standing.map(\.meaning))
    let new = Set(wanted.map(\.meaning))
    let staying = old.intersection(new)
    guard old.count == standing.count, new.count == wanted.count,
      standing.map(\.meaning).filter(staying.contains)
        == wanted.map(\.meaning).filter(staying.contains)
    else { return nil }
    var coming = wanted[...]
    var index = 0
    func comes(_ rule: MeantRule?) -> Bool { rule.map { !staying.contains($0.meaning) } ?? false }
    for rule in standing {
      while let next = coming.first, comes(next) {
        insert(next.text, at: index)
        coming.removeFirst()
        index += 1
      }
      if staying.contains(rule.meaning) {
        coming.removeFirst()
        index += 1
      } else {
        delete(at: index)
      }
    }
    for rule in coming {
      insert(rule.text, at: index)
      index += 1
    }
  }
}
