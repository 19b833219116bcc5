import Addressing
import Firewall
import Testing
import TestSupport

@testable import SIPLeak

@Suite("Single rules of a chain") struct ChainEditsTests {
  private func rules(_ names: [String]) -> [ChainEdits.MeantRule] {
    names.map { ChainEdits.MeantRule(meaning: [$0], text: "-s \($0) -j DROP") }
  }

  @Test("Any chain becomes any other and comes back, and whoever stays is never without a rule")
  func random() throws {
    var generator = SeededGenerator(seed: 1)
    var several = 0
    for _ in 0..<300 {
      // A block by its number, in one of three versions of its end.
      func chain() -> [String] {
        (0..<400).filter { _ in Int.random(in: 0..<4, using: &generator) > 0 }.map {
          "\($0).\(Int.random(in: 0..<3, using: &generator))"
        }
      }
      let (old, new) = (chain(), chain())
      let edits = try #require(ChainEdits("SIPLEAK", from: rules(old), to: rules(new))).edits
      let parts = BlockPlan.RestoreText.transactions(edits, .nft)
      #expect(parts.allSatisfy { $0.count <= 200 })
      if parts.count > 1 { several += 1 }
      var model = PlanModel(family: .ipv4)
      try model.restore(
        "*raw\n:SIPLEAK - [0:0]\n" + rules(old).map { "-A SIPLEAK \($0.text)\n" }.joined(), .nft)
      func sources() -> [String] {
        model.tables[PlanModel.Place(backend: .nft, table: "raw")]?.first?.rules.map {
          String($0.dropFirst(3).dropLast(8))
        } ?? []
      }
      func blocks(_ names: [String]) -> Set<Substring> {
        Set(names.compactMap { $0.split(separator: ".").first })
      }
      let held = blocks(old).intersection(blocks(new))
      for part in parts {
        try model.restore(BlockPlan.RestoreText.input("raw", part.map(\.line)), .nft)
        #expect(held.isSubset(of: blocks(sources())))
      }
      #expect(sources() == new)
      for part in parts.reversed() {
        try model.restore(
          BlockPlan.RestoreText.input("raw", part.reversed().map(\.undo)), .nft)
        #expect(held.isSubset(of: blocks(sources())))
      }
      #expect(sources() == old)
    }
    #expect(several > 0)
  }

  @Test(
    "Rules that would change places, or stand there twice, are not edited one by one",
    arguments: [(["1", "2"], ["2", "1"]), (["1", "1"], ["1"]), (["1"], ["1", "1"])])
  func notEdited(old: [String], new: [String]) {
    #expect(ChainEdits("SIPLEAK", from: rules(old), to: rules(new)) == nil)
  }
}
