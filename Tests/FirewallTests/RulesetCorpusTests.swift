import Addressing
import Firewall
import Foundation
import Testing

@Suite(.enabled(if: Corpus.isPresent, "the corpus is not beside this clone"))
struct RulesetCorpusTests {
  @Test("What the kernel gives back reads and writes back byte for byte")
  func canonical() throws {
    let files = Corpus.files("oracle/canonical")
    #expect(!files.isEmpty)
    for path in files {
      let bytes = try Corpus.bytes(path)
      let rules = try RulesetReader.read(bytes, source: path, backend: .legacy, family: .ipv4)
      let isSame = rules.write() == bytes
      #expect(isSame, "\(path)")
      let printed = bytes.split(separator: 10).filter { $0.starts(with: "[".utf8) }.count
      let read = rules.tables.flatMap(\.chains).reduce(0) { $0 + $1.rules.count }
      #expect(read == printed, "\(path): every line with counters is a rule")
    }
  }

  struct Result: Decodable {
    var rc: Int
    var canon: [String]?
  }
  struct Case: Decodable {
    var prog: String
    var table: String
    var input: String
    var legacy: Result?
    var nft: Result?
    var isAccepted: Bool { legacy?.rc == 0 || nft?.rc == 0 }
    var family: AddressFamily { prog == "iptables" ? .ipv4 : .ipv6 }
  }

  /// The rule in a table of its own, with the chains it names declared.
  static func file(_ rule: String, table: String) -> [UInt8] {
    let words = rule.split(separator: " ")
    var chains: [String] = []
    for (index, word) in words.enumerated() where index + 1 < words.count {
      if word == "-A" || word == "-I" || word == "-g" { chains.append(String(words[index + 1])) }
    }
    let declared = Set(chains).map { ":\($0) - [0:0]\n" }.sorted().joined()
    return Array("*\(table)\n\(declared)\(rule)\nCOMMIT\n".utf8)
  }

  @Test("Every rule that the real tools accept is read, and their own print writes back the same")
  func oracle() throws {
    let cases = try JSONDecoder().decode([Case].self, from: Data(Corpus.bytes("oracle/rules.json")))
    #expect(cases.count > 1000)
    var refused = 0
    var refusedByBoth = 0
    for one in cases {
      if one.isAccepted {
        let bytes = Self.file(one.input, table: one.table)
        do {
          let rules = try RulesetReader.read(
            bytes, source: "rule", backend: .nft, family: one.family)
          let isSame = rules.write() == bytes
          #expect(isSame, "\(one.input)")
        } catch {
          Issue.record("\(one.input): \(error)")
        }
        for canon in Set((one.legacy?.canon ?? []) + (one.nft?.canon ?? [])) {
          let bytes = Self.file(canon, table: one.table)
          do {
            let rules = try RulesetReader.read(
              bytes, source: "rule", backend: .nft, family: one.family)
            let isSame = rules.write() == bytes
            #expect(isSame, "\(canon)")
          } catch {
            Issue.record("\(canon): \(error)")
          }
        }
      } else {
        refused += 1
        let bytes = Self.file(one.input, table: one.table)
        if (try? RulesetReader.read(bytes, source: "rule", backend: .nft, family: one.family))
          == nil
        {
          refusedByBoth += 1
        }
      }
    }
    print("of \(refused) rules that the tools refuse, the reader refuses \(refusedByBoth)")
  }
}
