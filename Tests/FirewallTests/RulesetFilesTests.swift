import Addressing
import Firewall
import Foundation
import Testing

@Suite(.enabled(if: Corpus.isPresent, "the corpus is not beside this clone"))
struct RulesetFilesTests {
  /// Not human listings, nft's own syntax, expectations or shell commands.
  private static func isRuleset(_ path: String) -> Bool {
    if ["-L.stdout", "-L-human.stdout", "nft-ruleset.txt", ".json"].contains(where: path.hasSuffix)
    {
      return false
    }
    return !path.contains("/ferm/") || path.contains("/ferm/preserve__")
  }

  /// Values that only a shell or the generator's own tests give a meaning.
  private static let nonsense = [
    "test/glob/", "iptables -t filter -A INPUT -s 2001:db8::11",
    "ip6tables -t filter -A INPUT -s 192.0.2.21", "-p tcp --mss 100:200",
    // Refused by the tools: no protocol, something missing, something twice, what is no number.
    "-m ah ", "-m esp ", "--ecn-tcp-", "-m state -j", "-m state -p", "--hashlimit-mode",
    "--hashlimit-htable", "0 --to-", "1 --to-source", "2 --to-destination", "--to-ports 1",
    "--to-ports 2", "-o eth2 -j SNAT --to-source 172.17.0.1-", "--set-dscp 2 --set", "FOO",
  ]

  @Test("Every real-world ruleset reads and writes back byte for byte")
  func everyFile() throws {
    var count = 0
    for path in Corpus.files("rulesets") where Self.isRuleset(path) {
      let bytes = try Corpus.bytes(path)
      let family: AddressFamily = path.contains("ip6tables") ? .ipv6 : .ipv4
      do {
        let rules = try RulesetReader.read(bytes, source: path, backend: .nft, family: family)
        let isSame = rules.write() == bytes
        #expect(isSame, "\(path)")
        count += 1
      } catch {
        Issue.record("\(error)")
      }
    }
    #expect(count > 300)
  }

  @Test("What is no ruleset is refused with a place, and never crashes")
  func notRulesets() throws {
    for path in Corpus.files("rulesets") where !Self.isRuleset(path) {
      let bytes = try Corpus.bytes(path)
      guard !bytes.isEmpty else { continue }
      #expect(throws: FirewallError.self, "\(path)") {
        try RulesetReader.read(bytes, source: path, backend: .nft, family: .ipv4)
      }
    }
  }

  @Test("The rules that the ferm generator writes as commands are read")
  func ferm() throws {
    var read = 0
    for path in Corpus.files("rulesets/ferm") {
      for line in String(decoding: try Corpus.bytes(path), as: UTF8.self).split(separator: "\n") {
        let words = line.split(separator: " ", maxSplits: 3)
        guard words.count == 4, words[0] == "iptables" || words[0] == "ip6tables",
          words[1] == "-t", words[3].hasPrefix("-A ")
        else { continue }
        // The shell's quoting is not the save format's.
        if words[3].contains("'") || Self.nonsense.contains(where: line.contains) { continue }
        let bytes = RulesetCorpusTests.file(String(words[3]), table: String(words[2]))
        do {
          let family: AddressFamily = words[0] == "iptables" ? .ipv4 : .ipv6
          let rules = try RulesetReader.read(bytes, source: path, backend: .nft, family: family)
          let isSame = rules.write() == bytes
          #expect(isSame)
          read += 1
        } catch {
          Issue.record("\(line): \(error)")
        }
      }
    }
    #expect(read > 300)
  }

  @Test("Awkward live prints say what they are: empty, incompatible, beside foreign chains")
  func awkward() throws {
    func read(_ name: String) throws -> Ruleset {
      let path = "rulesets/generated-live/\(name)"
      return try RulesetReader.read(
        Corpus.bytes(path), source: path, backend: .nft, family: .ipv4)
    }
    #expect(try read("empty.nft-save.stdout").tables.isEmpty)
    let native = try read("native_rule_in_INPUT.nft-save.stdout")
    #expect(native.tables.isEmpty)
    #expect(native.incompatibleTables == ["filter"])
    let beside = try read("native_chain_in_filter.nft-save.stdout")
    #expect(beside.tablesWithForeignChains == ["mangle", "filter"])
    #expect(beside.table("filter")?.chain("INPUT")?.rules.count == 1)
  }

  @Test("A listing by iptables -S holds what the save holds")
  func listing() throws {
    let folder = "rulesets/generated-live/"
    let listed = try RulesetReader.read(
      Corpus.bytes(folder + "exotic.legacy-S.stdout"), source: "S", backend: .legacy, family: .ipv4)
    let saved = try RulesetReader.read(
      Corpus.bytes(folder + "exotic.legacy-save.stdout"), source: "save", backend: .legacy,
      family: .ipv4)
    let one = try #require(listed.table("filter"))
    let other = try #require(saved.table("filter"))
    for chain in other.chains {
      let same = try #require(one.chain(chain.name))
      #expect(same.policy == chain.policy)
      #expect(same.rules.map(\.text) == chain.rules.map(\.text))
      #expect(same.rules.map(\.counters) == chain.rules.map(\.counters))
      #expect(same.rules.map(\.matches) == chain.rules.map(\.matches))
    }
    #expect(one.chain("INPUT")?.counters?.packets == .max)
  }
}
