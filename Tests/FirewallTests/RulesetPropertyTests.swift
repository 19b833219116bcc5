import Addressing
import Firewall
import TestSupport
import Testing

@Suite struct RulesetPropertyTests {
  static let sample = """
    # Generated
    *nat
    :PREROUTING ACCEPT [1:2]
    [0:0] -A PREROUTING -p udp -m udp --dport 5061 -j DNAT --to-destination 192.0.2.5:5060
    COMMIT
    *filter
    :INPUT DROP [3:4]
    :SIP - [0:0]
    [5:6] -A INPUT ! -s 10.0.0.0/8 -i eth0 -m conntrack ! --ctstate INVALID,NEW -j ACCEPT
    [7:8] -A INPUT -m comment --comment "a \\"b\\"
    -A INPUT -j ACCEPT" -g SIP
    -I INPUT 1 -s 192.0.2.1,192.0.2.2 -m geoip --src-cc DE
    [9:9] -A SIP -m set --match-set bad src -j SET --add-set x src --exist
    COMMIT

    """

  static let pieces: [String] = [
    "\"", "\\", "\n", "\r\n", " ", "!", "-", "--", "=", "[", "]", ":", "*", "#", ",", "-A INPUT",
    "-I INPUT 2 ", "COMMIT\n", "*filter\n", ":X - [0:0]\n", "-m ", "-p udp ", "--dport ", "-c 1 2 ",
    "-F\n", "-P INPUT DROP\n", "-4 ", "\0", "\u{FF}", "-s 1.1.1.1,2.2.2.2 ", "--comment=\"",
  ]

  /// Whatever is read must write back as it was.
  static func check(_ bytes: [UInt8]) -> Bool {
    guard
      let rules = try? RulesetReader.read(bytes, source: "f", backend: .nft, family: .ipv4)
    else { return false }
    let isSame = rules.write() == bytes
    #expect(isSame, "\(String(decoding: bytes, as: UTF8.self).debugDescription.prefix(2000))")
    return true
  }

  static func mutate(_ bytes: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
      let at = Int.random(in: 0..<bytes.count, using: &random)
      switch Int.random(in: 0..<6, using: &random) {
      case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
      case 1: bytes.remove(at: at)
      case 2:
        bytes.insert(contentsOf: Array((pieces.randomElement(using: &random) ?? "").utf8), at: at)
      case 3: bytes.removeSubrange(at..<min(bytes.count, at + 20))
      case 4:
        let slice = Array(bytes[at..<min(bytes.count, at + 60)])
        bytes.insert(contentsOf: slice, at: Int.random(in: 0...bytes.count, using: &random))
      default: bytes.removeSubrange(at...)
      }
    }
    return bytes
  }

  @Test("A ruleset mangled at random is refused, or read and written back as it was")
  func mangled() throws {
    var random = SeededGenerator(seed: 5060)
    var read = 0
    for _ in 0..<20_000 where Self.check(Self.mutate(Array(Self.sample.utf8), &random)) {
      read += 1
    }
    // The mutations must leave something to read, or the property says nothing.
    #expect(read > 1000)
  }

  @Test(
    "Real rulesets mangled at random never crash the reader",
    .enabled(if: Corpus.isPresent, "the corpus is not beside this clone"))
  func mangledFiles() throws {
    var random = SeededGenerator(seed: 5061)
    for path in Corpus.files("rulesets") {
      let bytes = try Corpus.bytes(path)
      guard bytes.count < 20_000 else { continue }
      for _ in 0..<5 { _ = Self.check(Self.mutate(bytes, &random)) }
    }
  }

  @Test("Random words and random bytes never crash the readers")
  func random() throws {
    var random = SeededGenerator(seed: 5062)
    for _ in 0..<5_000 {
      var bytes: [UInt8] = []
      for _ in 0..<Int.random(in: 0..<40, using: &random) {
        if Bool.random(using: &random) {
          bytes += (Self.pieces.randomElement(using: &random) ?? "").utf8
        } else {
          bytes.append(UInt8.random(in: 0...255, using: &random))
        }
      }
      _ = Self.check(bytes)
      _ = try? AddressSetReader.read(bytes, source: "f")
      _ = try? FirewallHost.reading(files: ["nft.json": bytes, "ipv4.nft.save": bytes])
    }
  }
}
