import Addressing

extension ConditionCompiler {
  /// `-m recent`.
  func compileRecent(_ options: [Option]) -> [Condition]? {
    var mode: (name: String, isInverted: Bool)?
    var condition = RecentCondition()
    var reaps = false
    for option in options {
      switch option.name {
      case "--name":
        guard let name = option.only else { return nil }
        condition.name = name
      case "--set", "--rcheck", "--update", "--remove":
        mode = (option.name, option.isInverted)
      case "--seconds":
        guard let seconds = option.only.flatMap({ UInt32(anyBase: $0) }) else { return nil }
        condition.asksClock = seconds > 0
      case "--hitcount":
        guard let count = option.only.flatMap({ UInt32(anyBase: $0) }) else { return nil }
        condition.hitCount = count
      case "--rttl": condition.asksTTL = true
      case "--rdest": condition.isSource = false
      case "--rsource": condition.isSource = true
      case "--reap": reaps = true
      case "--mask": break
      default: return nil
      }
    }
    guard let mode else { return nil }
    // Adding an address always succeeds, so the condition holds, or does not if inverted.
    if mode.name == "--set" { return [mode.isInverted ? .never : .always] }
    if mode.name == "--remove" {
      condition.hitCount = 0
      condition.asksClock = false
    }
    condition.isInverted = mode.isInverted
    func undecidable(_ text: String) -> [Condition] {
      [.undecidable(Missing(.memory, "match \"recent\" asks list \"\(condition.name)\", \(text)"))]
    }
    switch recent.list(condition.name, at: place, isChange: reaps || mode.name != "--rcheck") {
    case .unread: return undecidable("which was not read")
    case .changed:
      return undecidable("which a rule the packet may meet before changes")
    case .masked: return undecidable("whose mask is not certain")
    case .known(let entries, let mask):
      condition.entries = entries
      condition.mask = mask
      return [.other(condition)]
    }
  }
}

/// `-m recent --rcheck`, `--update` or `--remove` of a list that was read.
struct RecentCondition: MatchCondition {
  var name = "DEFAULT"
  /// An address may be there more than once, with different TTLs.
  var entries: [IPAddress: [RecentList.Entry]] = [:]
  /// `nil`: all of the address.
  var mask: IPAddress?
  var isSource = true
  var isInverted = false
  /// Stamps needed; 0 means one.
  var hitCount: UInt32 = 0
  /// Whether only stamps of the last so many seconds count.
  var asksClock = false
  var asksTTL = false

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard let candidates = candidates(situation, variant) else { return .unknown }
    // Which of several the kernel finds first is not known.
    var result: Truth?
    for entry in candidates {
      let answer = self.answer(entry, situation, variant)
      if let result, result != answer { return .unknown }
      result = answer
    }
    return (result ?? .no).inverted(isInverted)
  }

  private func candidates(_ situation: Situation, _ variant: Variant) -> [RecentList.Entry]? {
    guard let address = isSource ? situation.packet.source : situation.destination(variant) else {
      return nil
    }
    guard let mask else { return entries[address] ?? [] }
    guard mask.family == address.family else { return nil }
    return entries[IPAddress(family: address.family, bits: address.bits & mask.bits)] ?? []
  }

  private func answer(_ entry: RecentList.Entry, _ situation: Situation, _ variant: Variant)
    -> Truth
  {
    let isThere: Truth
    // The kernel adds the hop back that forwarding took, so it is the wire's TTL everywhere.
    if !asksTTL || entry.ttl == 0 {
      isThere = .yes
    } else if let ttl = situation.packet.ttl, !variant.edits.contains(.ttl) {
      isThere = Truth(ttl == 0 || ttl == entry.ttl)
    } else {
      isThere = .unknown
    }
    if isThere == .no || UInt64(entry.stamps.count) < UInt64(max(hitCount, 1)) { return .no }
    // Enough stamps; whether they are young enough is not known.
    return asksClock ? .unknown : isThere
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    guard let candidates = candidates(situation, variant) else {
      return Missing(.fact, "the address that list \"\(name)\" is asked for is not known")
    }
    if asksTTL, situation.packet.ttl == nil, !asksClock, candidates.count == 1 {
      return Missing(.fact, "the TTL that list \"\(name)\" is asked for is not known")
    }
    return Missing(
      .memory, "match \"recent\" asks list \"\(name)\" for how long ago it saw the address")
  }

  func memory(_ situation: Situation) -> String? {
    "addresses come and go in list \"\(name)\" of match \"recent\""
  }
}
