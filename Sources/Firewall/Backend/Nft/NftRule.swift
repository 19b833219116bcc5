/// One rule of `nft -j`, as far as what iptables does not show is concerned.
struct NftRule {
  /// What a statement does with the packets that reach it.
  enum Effect {
    case passes
    case touches
    case returns
    case jump(String)
    case goto(String)
    /// By a map whose elements are not listed.
    case jumpAnywhere
  }

  struct Step {
    var effect: Effect
    var scope: PacketScope
    /// Whether the statement is reached by all packets of the scope; else by some of them.
    var isExact: Bool
  }

  /// Whether `iptables-nft-save` prints it truly.
  var isPrintable = true
  /// Whether it ends or leaves the chain for some packets.
  var decides = false
  var steps: [Step] = []
  /// Whether it hands flows to a flowtable.
  var offloads = false
  /// Sets that packets change.
  var changedSets: [String] = []

  /// Whether it can refuse, change, redirect or hide a packet from tracking.
  var touches: Bool {
    steps.contains { if case .touches = $0.effect { true } else { false } }
  }
}

extension NftRule {
  /// Understands a rule's statements.
  ///
  /// - Parameters:
  ///   - statements: The rule's `expr`.
  ///   - elements: The elements of a set by its name, if they are known and stay.
  init(_ statements: [JSONValue], elements: @escaping (String) -> [JSONValue]?) {
    var condition = NftScope(elements: elements)
    func add(_ effect: Effect) {
      decides = true
      steps.append(Step(effect: effect, scope: condition.scope, isExact: condition.isExact))
    }
    for statement in statements {
      guard case .object(let members) = statement, let (name, value) = members.first,
        members.count == 1
      else {
        isPrintable = false
        add(.touches)
        condition.isExact = false
        continue
      }
      switch name {
      case "match":
        if !NftPrinting.isPrintable(match: value) { isPrintable = false }
        condition.take(match: value)
      case "counter", "continue": break
      case "log": if value["group"] == nil { isPrintable = false }
      case "last", "dup": isPrintable = false
      case "limit":
        if value["inv"] != nil { isPrintable = false }
        condition.isExact = false
      case "quota", "ct count":
        isPrintable = false
        condition.isExact = false
      case "set", "map":
        // Seen by nobody but the rule itself, and by those that ask the set.
        isPrintable = false
        condition.isExact = false
        if let set = value["set"]?.string ?? value["map"]?.string {
          changedSets.append(set.hasPrefix("@") ? String(set.dropFirst()) : set)
        }
      case "accept": add(.passes)
      case "return": add(.returns)
      case "drop": add(.touches)
      case "jump", "goto":
        guard let target = value["target"]?.string else {
          add(.jumpAnywhere)
          continue
        }
        add(name == "jump" ? .jump(target) : .goto(target))
      case "xt":
        if value["type"]?.string == "target" {
          decides = true
          if !Self.harmlessTargets.contains(value["name"]?.string ?? "") { add(.touches) }
        }
        condition.isExact = false
      case "vmap":
        isPrintable = false
        decides = true
        verdicts(value, condition)
        condition.isExact = false
      case "mangle" where value["key"]?["meta"]?["key"]?.string == "nftrace":
        isPrintable = false
      default:
        // reject, queue, mangle, notrack, nat, fwd, tproxy and what is still to be invented.
        isPrintable = false
        add(.touches)
        condition.isExact = false
        if name == "flow" { offloads = true }
      }
    }
  }

  private static let harmlessTargets: Set<String> = [
    "LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "CHECKSUM", "CLASSIFY", "LED", "RATEEST",
  ]

  /// The verdicts of a map; one whose elements are not known can hold any.
  private mutating func verdicts(_ value: JSONValue, _ condition: NftScope) {
    func add(_ effect: Effect, _ condition: NftScope) {
      steps.append(Step(effect: effect, scope: condition.scope, isExact: condition.isExact))
    }
    let data = value["data"]
    let named = data?.string.flatMap { $0.hasPrefix("@") ? String($0.dropFirst()) : nil }
    guard let elements = data?["set"]?.array ?? named.flatMap(condition.elements) else {
      add(.touches, condition)
      add(.jumpAnywhere, condition)
      return
    }
    for element in elements {
      var chosen = condition
      if let key = value["key"], let pair = element.array, pair.count == 2 {
        chosen.take(key, "==", NftScope.bare(pair[0]))
      } else {
        chosen.isExact = false
      }
      guard case .object(let members)? = element.array?.last, let (name, value) = members.first
      else {
        add(.touches, chosen)
        continue
      }
      switch name {
      case "continue": break
      case "accept": add(.passes, chosen)
      case "return": add(.returns, chosen)
      case "jump", "goto":
        guard let target = value["target"]?.string else {
          add(.jumpAnywhere, chosen)
          continue
        }
        add(name == "jump" ? .jump(target) : .goto(target), chosen)
      default: add(.touches, chosen)
      }
    }
  }
}
