import Addressing
import Firewall
import Testing

@testable import SIPLeak

@Suite("Comments of our own") struct HostileCommentTests {
  @Test(
    "Quotes, newlines and control characters never reach a set entry or a rule",
    arguments: [
      "a\"b", "a'b", "a\nadd sipleak4 198.51.100.10,udp:5060", "a\r\nCOMMIT", "a\u{0}b", "a\\",
      "`id`", "$(id)", "a\u{1b}[2J", "a\u{202e}b", "é", String(repeating: "x", count: 5000),
    ])
  func plain(reason: String) {
    let entry = BlockPlan.Entry(
      address: address("203.0.113.66"), transport: .udp, port: 5060, reason: reason, grade: nil,
      seconds: 60)
    let comment = OwnObjects.comment(entry)
    #expect(comment.hasPrefix(OwnObjects.label))
    // The kernel takes 255 bytes in a rule and in a set.
    #expect(comment.utf8.count <= 255)
    #expect(
      comment.utf8.allSatisfy { byte in
        (0x20..<0x7f).contains(byte) && !"\"'\\`$".utf8.contains(byte)
      })
    // One line makes the set, one adds the entry.
    let line = "add -exist sipleak4 \(entry.element) comment \"\(comment)\""
    #expect(line.split(separator: "\n", omittingEmptySubsequences: false).count == 1)
    #expect(line.count(where: { $0 == "\"" }) == 2)
  }
}
