internal import Addressing

/// Runs the tools that print the firewall.
struct FirewallObservation {
  let context: ToolContext
  /// Whether the entries of sets are wanted.
  var listsSets = true

  func read() async throws(FirewallError) -> FirewallParts {
    async let nft4 = nft(.ipv4)
    async let nft6 = nft(.ipv6)
    async let legacy4 = legacy(.ipv4)
    async let legacy6 = legacy(.ipv6)
    async let sets = sets()
    async let native = native()
    var parts = FirewallParts()
    let outcomes = await [
      (FirewallPart.nft4, nft4), (.nft6, nft6), (.legacy4, legacy4), (.legacy6, legacy6),
      (.sets, sets), (.native, native),
    ]
    var denied: FirewallError?
    var missing: FirewallError?
    var isAnythingRead = false
    for (part, outcome) in outcomes {
      switch outcome {
      case .success(let state):
        parts.states[part] = state
        if case .read = state { isAnythingRead = true }
      case .failure(let error):
        switch error.code {
        case .toolNotFound:
          parts.states[part] = .notInstalled(error.operation.replacing("run ", with: ""))
          if part == .nft4 { missing = error }
        default:
          if error.isPermissionDenied, part != .sets { denied = denied ?? error }
          parts.states[part] = .failed(
            error.description.split(separator: "\n").first.map(String.init) ?? "it failed")
        }
      }
    }
    if Self.usesRecent(parts) { parts.states[.recent] = await recentLists() }
    if !isAnythingRead {
      if let denied { throw denied }
      if let missing { throw missing }
    }
    return parts
  }

  private typealias Outcome = Result<PartState, FirewallError>

  private func print(
    _ tool: String, _ arguments: [String], _ operation: String, legacy: Bool = false
  )
    async -> Outcome
  {
    do {
      let result = try await context.run(tool, arguments)
      guard result.isSuccess else {
        return .failure(await context.failure(result, operation: operation, legacy: legacy))
      }
      return .success(.read(result.output))
    } catch let error {
      return .failure(error)
    }
  }

  private func sets() async -> Outcome {
    listsSets ? await print("ipset", ["save"], "read the sets") : .success(.absent)
  }

  private func nft(_ family: AddressFamily) async -> Outcome {
    let name = Self.name(family)
    guard let tool = await saver(name, .nft) else {
      return .failure(
        FirewallError(
          .toolNotFound, operation: "run \(name)-nft-save", expected: "it to be installed",
          advice: ToolContext.installation(of: name)))
    }
    return await print(tool, ["-c"], "read the rules of \(name)-nft")
  }

  private func native() async -> Outcome {
    // Terse: the elements of address sets are not needed, and there may be a million.
    let terse = await print("nft", ["-j", "-t", "list", "ruleset"], "read the nft ruleset")
    switch terse {
    case .failure(let error) where error.code == .toolFailed:
      return await print("nft", ["-j", "list", "ruleset"], "read the nft ruleset")
    case .failure(let error) where error.code == .toolNotFound:
      return await isUnknownToKernel() ? .success(.absent) : terse
    case .success(.read(let text)): return .success(.read(await withSets(text)))
    default: return terse
    }
  }

  /// Whether this kernel certainly runs no nf_tables: neither built in nor loaded as a module.
  ///
  /// Its symbols are named in `/proc/kallsyms` either way, to everybody; `/sys/module` and
  /// `/proc/modules` do not name what is built in. One of netfilter itself proves that names are
  /// there to be found. A ruleset keeps the module in the kernel, so without it there is none.
  private func isUnknownToKernel() async -> Bool {
    let proof = """
      grep -q ' nf_hook_slow' /proc/kallsyms || exit 11
      grep -q ' nft_do_chain' /proc/kallsyms
      test $? = 1
      """
    return (try? await context.run("sh", ["-c", proof]))?.isSuccess == true
  }

  /// The most sets that are listed one by one.
  private static let mostSets = 64

  /// Adds the elements of named sets of ports, protocols and interfaces, by which rules can be told
  /// from those that concern SIP.
  private func withSets(_ text: [UInt8]) async -> [UInt8] {
    // A rule that asks a named set has `"@` in it; most rulesets don't, and are not read twice.
    guard zip(text, text.dropFirst()).contains(where: { $0 == 0x22 && $1 == 0x40 }),
      let ruleset = try? NftRuleset(text, name: FirewallPart.native.file)
    else { return text }
    var sets: [[UInt8]] = []
    for words in ruleset.setsWorthListing.prefix(Self.mostSets) {
      let listing = await print("nft", ["-j", "list"] + words, "read an nft set")
      // A set that is gone by now stays unknown.
      if case .success(.read(let set)) = listing { sets.append(set) }
    }
    return sets.isEmpty ? text : NftRuleset.adding(sets, to: text)
  }

  private func legacy(_ family: AddressFamily) async -> Outcome {
    let name = Self.name(family)
    let file = family == .ipv4 ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names"
    do {
      // Read by a child, for /proc/net is the reader's own namespace. 10: the file is not there.
      let names = try await context.run(
        "sh", ["-c", "test -e \(file) || exit 10; exec cat \(file)"])
      if names.exitStatus == 10 { return .success(.absent) }
      guard names.isSuccess else {
        return .success(
          .failed("\(file) cannot be read, so whether \(name)-legacy has tables is not known"))
      }
      let tables = String(decoding: names.output, as: UTF8.self).split(separator: "\n")
      if tables.isEmpty { return .success(.absent) }
      guard let tool = await saver(name, .legacy) else {
        return .success(
          .failed(
            "the kernel has \(name)-legacy tables (\(tables.joined(separator: ", "))) and"
              + " \(name)-legacy-save is not installed"))
      }
      return await print(tool, ["-c"], "read the rules of \(name)-legacy", legacy: true)
    } catch let error {
      return .failure(error)
    }
  }

  /// Whether some rule of the texts asks a `recent` list, as far as bytes tell.
  private static func usesRecent(_ parts: FirewallParts) -> Bool {
    FirewallPart.rulesets.contains {
      guard case .read(let text) = parts[$0] else { return false }
      return text.firstRange(of: Array("-m recent".utf8)) != nil
    }
  }

  private func recentLists() async -> PartState {
    let failed = PartState.failed(
      "/proc/net/xt_recent cannot be read, so what rules with -m recent do is not known")
    // Read by a child, for /proc/net is the reader's own namespace.
    guard let result = try? await context.run("sh", ["-c", RecentListReader.script]) else {
      return failed
    }
    if result.exitStatus == 10 { return .absent }
    return result.isSuccess ? .read(result.output) : failed
  }

  private static func name(_ family: AddressFamily) -> String {
    family == .ipv4 ? "iptables" : "ip6tables"
  }

  /// The program that prints a backend's rules: its own name, or the plain one if that is it.
  private func saver(_ name: String, _ backend: Backend) async -> String? {
    let own = "\(name)-\(backend.rawValue)-save"
    if context.locate(own) != nil { return own }
    let plain = "\(name)-save"
    guard context.locate(plain) != nil else { return nil }
    return await IPTablesTool.plainBackend(name, context) == backend ? plain : nil
  }
}

/// Which backend the tools without one in their name write to.
enum IPTablesTool {
  /// Older ones than 1.8 name none and are legacy.
  static func plainBackend(_ name: String, _ context: ToolContext) async -> Backend? {
    guard let version = try? await context.run(name, ["-V"]), version.isSuccess else { return nil }
    return String(decoding: version.output, as: UTF8.self).contains("nf_tables") ? .nft : .legacy
  }

  /// The tool that loads rules into a backend.
  static func restorer(_ backend: Backend, _ family: AddressFamily, _ context: ToolContext) async
    -> String
  {
    let name = family == .ipv4 ? "iptables" : "ip6tables"
    let own = "\(name)-\(backend.rawValue)-restore"
    if context.locate(own) != nil { return own }
    let plain = "\(name)-restore"
    guard context.locate(plain) != nil, await plainBackend(name, context) == backend else {
      return own
    }
    return plain
  }
}
