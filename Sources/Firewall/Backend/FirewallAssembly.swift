internal import Addressing

/// Makes a snapshot of the texts, live or saved: the one place where they are understood.
struct FirewallAssembly {
  let parts: FirewallParts
  /// Whether a malformed text is an error (a saved one) or a problem (a live one).
  var isStrict = false
  private(set) var unreadable: Set<FirewallPart> = []
  var reading = FirewallReading(snapshot: FirewallSnapshot(rulesets: []))

  init(_ parts: FirewallParts) { self.parts = parts }

  mutating func run() throws(FirewallError) {
    for part in FirewallPart.rulesets { try ruleset(part) }
    let native = try native()
    if let native {
      reading.snapshot.unseen += native.unseen(beside: reading.snapshot.rulesets)
    } else {
      noticed()
    }
    try sets()
    try recentLists()
  }

  /// Takes an error of one text: thrown, or noted and lived with.
  private mutating func note(_ error: FirewallError, _ part: FirewallPart) throws(FirewallError) {
    if isStrict && !parts.unreadable.contains(part) { throw error }
    unreadable.insert(part)
    reading.errors.append(error)
    problem(error.description.split(separator: "\n").first.map(String.init) ?? "")
  }

  private mutating func problem(_ text: String) { reading.problems.append(text) }

  private static func tool(_ part: FirewallPart) -> String {
    (part.family == .ipv4 ? "iptables" : "ip6tables") + "-" + part.backend.rawValue
  }

  private mutating func unseen(_ part: FirewallPart, _ why: String) {
    reading.snapshot.unseen.append(
      UnseenFilter(family: part.family, backend: part.backend, table: "any", why: why))
  }

  private mutating func ruleset(_ part: FirewallPart) throws(FirewallError) {
    switch parts[part] {
    case .read(let bytes):
      do {
        let rules = try RulesetReader.read(
          bytes, source: part.file, backend: part.backend, family: part.family)
        for table in rules.incompatibleTables where !isNativeRead {
          problem(
            "\(Self.tool(part)) does not show table \(printable(table)):"
              + " it holds native nft rules")
        }
        // No table and no notice: nothing of this backend is in use.
        if !rules.tables.isEmpty { reading.snapshot.rulesets.append(rules) }
      } catch let error {
        try note(error, part)
        unseen(part, "its rules could not be read")
      }
    case .absent: break
    // The kernel knows no nf_tables at all.
    case .notInstalled where part.backend == .nft && isNativeAbsent: break
    case .notInstalled(let tool):
      // Where the other backend's tools are the ones installed, this one is not in use.
      if part.backend == .nft, isRead(part.family == .ipv4 ? .legacy4 : .legacy6) || isNativeRead {
        if !isRead(part.family == .ipv4 ? .legacy4 : .legacy6) {
          problem("\(tool) is not installed")
        }
        break
      }
      problem("\(tool) is not installed")
      unseen(part, "\(tool) is not installed, so its rules are not known")
    case .failed(let why):
      problem(why)
      // The nft list says which chains are there; without it all may be.
      if part.backend == .legacy || !isNativeRead { unseen(part, why) }
    case .notSaved:
      let other: FirewallPart
      switch part {
      case .nft4: other = .legacy4
      case .nft6: other = .legacy6
      default: return
      }
      // Somebody who saved one backend's rules has no others.
      if isRead(other) { return }
      let why = "\(part.file) is not among the saved files, so its rules are not known"
      problem(why)
      unseen(part, why)
    }
  }

  private func isRead(_ part: FirewallPart) -> Bool {
    if case .read = parts[part] { return true }
    return false
  }

  private var isNativeRead: Bool { isRead(.native) }

  private var isNativeAbsent: Bool {
    if case .absent = parts[.native] { return true }
    return false
  }

  private mutating func native() throws(FirewallError) -> NftRuleset? {
    switch parts[.native] {
    case .read(let bytes):
      do {
        return try NftRuleset(bytes, name: FirewallPart.native.file)
      } catch let error {
        try note(error, .native)
        reading.snapshot.unseen.append(
          UnseenFilter(
            family: nil, backend: .nft, table: "any", why: "the nft ruleset could not be read"))
        return nil
      }
    case .notInstalled:
      problem(
        "nft is not installed: filters that iptables does not show would not be seen (it is in the"
          + " package nftables)")
    case .failed(let why): problem(why)
    case .absent: break
    case .notSaved:
      problem("the nft ruleset was not saved: filters that iptables does not show are not seen")
    }
    return nil
  }

  /// What the save texts themselves say they leave out: all there is without the nft list.
  private mutating func noticed() {
    for part in [FirewallPart.nft4, .nft6] {
      guard case .read(let bytes) = parts[part],
        let rules = try? RulesetReader.read(
          bytes, source: part.file, backend: .nft, family: part.family)
      else { continue }
      reading.snapshot.unseen += rules.noticedFilters
    }
  }

  // MARK: sets

  private mutating func sets() throws(FirewallError) {
    let isUsed = reading.snapshot.rulesets.contains { $0.usesSets }
    switch parts[.sets] {
    case .read(let bytes):
      do {
        reading.snapshot.sets = try AddressSetReader.read(bytes, source: FirewallPart.sets.file)
      } catch let error {
        try note(error, .sets)
      }
    case .absent: reading.snapshot.sets = []
    case .notInstalled(let tool):
      reading.snapshot.setsUnavailable =
        "\(tool.isEmpty ? "ipset" : printable(tool)) is not installed"
      if isUsed {
        problem(
          "rules look addresses up in sets, and \(tool.isEmpty ? "ipset" : tool) is not installed")
      } else {
        reading.snapshot.sets = []
      }
    case .failed(let why):
      reading.snapshot.setsUnavailable = why
      if isUsed { problem(why) } else { reading.snapshot.sets = [] }
    case .notSaved:
      if isUsed {
        problem("rules look addresses up in sets, and \(FirewallPart.sets.file) is not saved")
      } else {
        reading.snapshot.sets = []
      }
    }
  }
}

extension FirewallAssembly {
  /// The lists of `-m recent`; what was not read leaves a match unknown.
  private mutating func recentLists() throws(FirewallError) {
    switch parts[.recent] {
    case .read(let bytes):
      do {
        reading.snapshot.recentLists = try RecentListReader.read(
          bytes, source: FirewallPart.recent.file)
      } catch let error {
        try note(error, .recent)
      }
    case .absent: reading.snapshot.recentLists = []
    case .failed(let why): problem(why)
    case .notInstalled, .notSaved: break
    }
  }
}

extension Ruleset {
  /// Whether some rule asks or changes an ipset.
  var usesSets: Bool {
    tables.contains { table in
      table.chains.contains { chain in
        chain.rules.contains { rule in
          rule.target?.name == "SET" || rule.matches.contains { $0.name == "set" }
        }
      }
    }
  }
}
