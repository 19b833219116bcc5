import Addressing
import Conntrack
import Firewall
import Testing

@testable import SIPLeak

/// What is said of blocks that stand when somebody else has been at our rules.
@Suite("Standing blocks") struct StandingBlockTests {
  private static let set = """
    create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
    add sipleak4 203.0.113.66,udp:5060 timeout 100 packets 7 bytes 0 comment "sipleak: x"

    """
  private static let behind = set.replacing(
    "\"sipleak: x\"", with: "\"sipleak: x behind this host 10.77.3.33\"")

  /// How a block is held.
  struct Held: Sendable, CustomTestStringConvertible {
    var isPlain: Bool
    var hasInner: Bool

    static let all = [(true, false), (true, true), (false, false), (false, true)].map {
      Held(isPlain: $0.0, hasInner: $0.1)
    }

    var testDescription: String {
      "\(isPlain ? "rules" : "set")\(hasInner ? ", inner host" : "")"
    }
  }

  /// A host on which a block stands whole, in raw, and more members of the set.
  private func host(_ held: Held, more members: String = "") throws -> SavedHost {
    var host = SavedHost()
    host.hasSets = !held.isPlain
    if !held.isPlain { host.sets = (held.hasInner ? Self.behind : Self.set) + members }
    let snapshot = try host.firewall().snapshot
    let blocks: [PlainBlock] =
      held.isPlain
      ? [
        PlainBlock(
          prefix: IPPrefix(address("203.0.113.66")), transport: .udp, port: 5060, seconds: 3600,
          from: 1_795_225_330, reason: held.hasInner ? "x behind this host 10.77.3.33" : "x")
      ] : []
    let placement = Placement(
      renewing: snapshot,
      standing: StandingRules(snapshot, at: 1_795_225_330, isPlain: held.isPlain),
      restored: blocks)
    var model = PlanModel(family: .ipv4)
    try model.restore(host.rules.replacing(/\[\d+:\d+\] -A/, with: "-A"), .nft)
    for rules in placement.rules { try model.restore(rules.text, rules.backend) }
    host.rules = String(decoding: model.files["ipv4.nft.save"] ?? [], as: UTF8.self)
    return host
  }

  /// The host without the lines that hold some words.
  private func without(_ words: String..., of host: SavedHost) -> SavedHost {
    var host = host
    host.rules = host.rules.split(separator: "\n").filter { line in
      !words.allSatisfy { line.contains($0) }
    }.map { $0 + "\n" }.joined()
    return host
  }

  private func lines(_ host: SavedHost) throws -> String {
    AuditLines.text(try host.audit(), of: try host.observation(), isQuiet: true)
  }

  @Test("A block that stands whole is in force, and the audit clean", arguments: Held.all)
  func whole(held: Held) throws {
    let host = try host(held)
    let audit = try host.audit()
    #expect(audit.blocks.map(\.state) == [.inForce])
    #expect(audit.blocks.map(\.missing) == [[]])
    #expect(audit.isClean)
    #expect(try host.plan().isEmpty)
  }

  @Test(
    "A block whose answers are tracked again is not whole, and the next apply sets it right",
    arguments: Held.all, ["-A OUTPUT", "CT --notrack"])
  func answersTracked(held: Held, gone: String) throws {
    let host = without(gone, of: try host(held))
    let audit = try host.audit()
    #expect(audit.blocks.map(\.state) == [.missingPart])
    #expect(audit.blocks.map(\.missing) == [[.answers]])
    #expect(audit.exitStatus == 1)
    #expect(try lines(host).contains("state=missing-part missing=raw/OUTPUT\n"))
    let advice = try #require(AuditLines.advice(audit).first)
    #expect(advice.hasPrefix("203.0.113.66,udp:5060: it drops what the peer sends, but raw OUTPUT"))
    #expect(advice.hasSuffix("sipleak block --apply puts it back"))
    let json = try AuditJSON(audit, of: host.observation()).line()
    #expect(json.contains(#""missing":["answers"]"#))
    #expect(try host.plan().isRenewal)
  }

  @Test(
    "A forwarded block that mangle FORWARD, or raw PREROUTING, does not lead to any more is not whole",
    arguments: [true, false])
  func forward(isPlain: Bool) throws {
    let whole = try host(Held(isPlain: isPlain, hasInner: true))
    var audit = try without("-A FORWARD", of: whole).audit()
    #expect(audit.blocks.map(\.state) == [.missingPart])
    #expect(audit.blocks.map(\.missing) == [[.toInside]])
    audit = try without("-A PREROUTING", of: whole).audit()
    #expect(audit.blocks.map(\.missing) == [[.peer, .fromInside]])
    #expect(audit.blocks.map(\.state) == [.missingPart])
    audit = try without("-A SIPLEAK", "10.77.3.33/32 -d", of: whole).audit()
    // The drop of what the inner host sends, and nothing else.
    #expect(audit.blocks.first?.missing == (isPlain ? [.fromInside] : []))
    #expect(try without("-A FORWARD", of: whole).plan().rules.map(\.table) == ["mangle"])
    #expect(try without("-A PREROUTING", of: whole).plan().rules.map(\.table) == ["raw"])
  }

  @Test("What drops on the way to an inner host holds no block of this host's own port")
  func mangleOfOthers() throws {
    var host = without("-A PREROUTING", of: try host(Held(isPlain: false, hasInner: true)))
    host.sets +=
      "add sipleak4 203.0.113.67,udp:5060 timeout 100 packets 0 bytes 0 comment \"sipleak: x\"\n"
    #expect(try host.audit().blocks.map(\.state) == [.missingPart, .missingHook])
    // Raw gone as a whole is written again.
    let raw = host.rules.split(separator: "*").filter { !$0.hasPrefix("raw") }
    host.rules = raw.map { "*" + $0 }.joined()
    #expect(try host.audit().blocks.map(\.state) == [.missingPart, .missingHook])
    #expect(try host.plan().rules.map(\.table) == ["raw"])
  }

  @Test(
    "A block before the state rule has no part in raw that could be missing",
    arguments: [true, false])
  func beforeStateRule(isPlain: Bool) throws {
    var host = SavedHost()
    host.hasSets = !isPlain
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply])]
    let plan = try host.plan(BlockRequest(place: .beforeStateRule))
    var model = PlanModel(family: .ipv4)
    try model.restore(host.rules.replacing(/\[\d+:\d+\] -A/, with: "-A"), .nft)
    for rules in plan.rules { try model.restore(rules.text, rules.backend) }
    host.rules = String(decoding: model.files["ipv4.nft.save"] ?? [], as: UTF8.self)
    if !isPlain { host.sets = Self.set }
    #expect(try host.audit().blocks.map(\.state) == [.inForce])
    #expect(try without("-j SIPLEAK", of: host).audit().blocks.map(\.state) == [.missingHook])
  }

  @Test("A member of the set whose transport no rule asks for is cut by nothing")
  func transports() throws {
    var host = try host(Held(isPlain: false, hasInner: false))
    host.sets +=
      "add sipleak4 203.0.113.67,tcp:5061 timeout 100 packets 0 bytes 0 comment \"sipleak: x\"\n"
    #expect(try host.audit().blocks.map(\.state) == [.inForce, .missingHook])
  }

  @Test(
    "Blocks beside a rule of somebody else's are listed once, with what keeps them and what to do",
    arguments: Held.all, ["-A SIPLEAK -s 192.0.2.200/32", "-A SIPLEAK-OUT -s 192.0.2.200/32"])
  func foreignRule(held: Held, rule: String) throws {
    var host = try host(held)
    host.rules = host.rules.replacing(
      "-A PREROUTING", with: rule + "\n-A PREROUTING", maxReplacements: 1)
    let chain = rule.contains("-OUT") ? "SIPLEAK-OUT" : "SIPLEAK"
    let audit = try host.audit()
    #expect(audit.blocks.map(\.element) == ["203.0.113.66,udp:5060"])
    #expect(audit.blocks.map(\.state) == [.foreignRule])
    #expect(audit.exitStatus == 1)
    #expect(try lines(host).contains("state=foreign-rule chain=raw/\(chain)\n"))
    let advice = try #require(audit.blocks.first?.advice)
    #expect(advice.hasPrefix("it drops what the peer sends, and sipleak can"))
    #expect(
      advice.contains(held.isPlain ? "neither lift nor renew it" : "lift it and not renew it"))
    #expect(advice.contains("of raw \(chain) is not ours"))
    #expect(advice.hasSuffix("(iptables-nft -t raw -S \(chain) shows it)"))
    let json = try AuditJSON(audit, of: host.observation()).line()
    #expect(json.contains(#""spoilt_chain":"raw \#(chain)""#))
    // What is in force outlives a reboot.
    let snapshot = try host.firewall().snapshot
    #expect(
      SavedBlocks(snapshot, at: 1_795_225_330).blocks.map(\.element) == ["203.0.113.66,udp:5060"])

    let lift = RemovalPlan(.addresses([address("203.0.113.66")]), snapshot: snapshot)
    #expect(lift.absent == [])
    #expect(lift.stillBlocked == (held.isPlain ? ["203.0.113.66,udp:5060"] : []))
    #expect(lift.kept.count == (held.isPlain ? 1 : 0), "\(lift.kept)")
  }

  @Test(
    "A rule before ours that may let the peer pass is told as such, and a lost mark as what it is")
  func before() throws {
    let held = Held(isPlain: true, hasInner: false)
    var host = try host(held)
    host.rules = host.rules.replacing(
      "-A SIPLEAK -s", with: "-A SIPLEAK -j RETURN\n-A SIPLEAK -s", maxReplacements: 1)
    let block = try #require(try host.audit().blocks.first)
    #expect(block.state == .foreignRule)
    #expect(block.advice?.hasPrefix("a rule before it may let the peer pass, and") == true)
    #expect(block.advice?.contains("rule 2 of raw SIPLEAK is not ours") == true)
    let unmarked = try without(
      "-A SIPLEAK -m comment --comment \"sipleak: chain", of: self.host(held)
    )
    .audit()
    #expect(unmarked.blocks.map(\.state) == [.foreignRule])
    #expect(
      unmarked.blocks.first?.advice?.contains(
        "-I SIPLEAK 1 -m comment --comment \"sipleak: chain \(OwnObjects.version)\"")
        == true)
    // Nothing leads there any more: it is no block that stands.
    let unhooked = try without("-A PREROUTING", of: host).audit()
    #expect(unhooked.blocks.map(\.state) == [.missingHook])
    #expect(
      unhooked.blocks.first?.advice?.contains("shows it), then sipleak block --apply") == true)
  }

  @Test("Where the rule that bore our mark is gone, what it dropped is not said to be dropped")
  func lostFirst() throws {
    let tcp = Self.set.split(separator: "\n")[1].replacing("66,udp:5060", with: "67,tcp:5061")
    let whole = try host(Held(isPlain: false, hasInner: false), more: tcp + "\n")
    #expect(try whole.audit().blocks.map(\.state) == [.inForce, .inForce])
    let audit = try without("sipleak: chain v", ": blocked peer", of: whole).audit()
    #expect(audit.blocks.map(\.state) == [.missingHook, .foreignRule])
    let mark = "-I SIPLEAK 1 -m comment --comment \"sipleak: chain \(OwnObjects.version)\""
    for block in audit.blocks { #expect(block.advice?.contains(mark) == true) }
  }

  @Test("Many blocks that one command sets right are one sentence")
  func advice() throws {
    var host = try host(Held(isPlain: false, hasInner: false))
    for number in 1...40 {
      host.sets +=
        "add sipleak4 203.0.113.\(number),udp:5060 timeout 100 packets 0 bytes 0 comment \"sipleak: x\"\n"
    }
    let audit = try without("-A PREROUTING", of: host).audit()
    #expect(AuditLines.advice(audit) == ["41 blocks: sipleak block --apply puts the hook back"])
  }
}
