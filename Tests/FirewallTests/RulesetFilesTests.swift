import Addressing
import Firewall
import Testing

@Suite(.enabled(if: Corpus.isPresent, "the corpus is not beside this clone"))
struct RulesetFilesTests {
  @Test("x") func x() throws {
    for path in Corpus.files("rulesets") {
      let bytes = try Corpus.bytes(path)
      let family: AddressFamily = path.contains("v6") || path.contains("ip6") ? .ipv6 : .ipv4
      do {
        let rules = try RulesetReader.read(bytes, source: path, backend: .nft, family: family)
        #expect(rules.write() == bytes, "\(path)")
      } catch { print("REFUSED \(error)") }
    }
  }
}
