import Testing

@testable import SIPLeak

/// What `ipset restore` is given is cut, and nothing of it is lost.
@Suite("Inputs of ipset cut into parts") struct SetTextTests {
  private static func text(_ entries: Int, isTerminated: Bool = true) -> String {
    let head = "create -exist sipleak4 hash:net,port\ncreate -exist sipleak6 hash:net,port\n"
    let lines = (0..<entries).map { "add -exist sipleak4 10.0.\($0 / 256).\($0 % 256),udp:5060" }
    return head + lines.joined(separator: "\n") + (isTerminated && entries > 0 ? "\n" : "")
  }

  @Test(
    "The parts are the text again, whole lines each, and the sets are made first",
    arguments: [0, 1, 2, 999, 1999, 2000, 2001, 10_007], [1, 2, 3, 64])
  func whole(entries: Int, processors: Int) {
    for isTerminated in [true, false] {
      let text = Self.text(entries, isTerminated: isTerminated)
      let cut = SetText(text, processors: processors)
      #expect(cut.head + cut.parts.joined() == Array(text.utf8))
      #expect(String(decoding: cut.head, as: UTF8.self).split(separator: "\n").count == 2)
      for part in cut.parts {
        #expect(String(decoding: part, as: UTF8.self).hasPrefix("add "))
        #expect(part.last == 0x0a || part == cut.parts.last)
      }
      let wanted = min(processors, 4, max(1, entries / SetText.entriesWorthOne))
      #expect(cut.parts.count == (entries == 0 ? 0 : wanted))
    }
  }

  @Test("A text without sets to make, and none at all, are what they are")
  func small() {
    #expect(SetText("").parts.isEmpty && SetText("").head.isEmpty)
    let only = SetText("del -exist sipleak4 10.0.0.1,udp:5060\n", processors: 8)
    #expect(only.head.isEmpty && only.parts.count == 1)
  }

  @Test(
    "A dry run tries some of many entries, the first and the last among them, whole lines each",
    arguments: [0, 1, 99, 100, 101, 2500, 10_007], [true, false])
  func sample(entries: Int, isTerminated: Bool) {
    let cut = SetText(Self.text(entries, isTerminated: isTerminated), processors: 3)
    let all = String(decoding: cut.parts.joined(), as: UTF8.self).split(separator: "\n")
    let sample = String(decoding: cut.sample(100), as: UTF8.self).split(separator: "\n")
    #expect(sample.count == min(entries, 100))
    #expect(sample.first == all.first && sample.last == all.last)
    #expect(Set(sample).count == sample.count && Set(sample).isSubset(of: Set(all)))
  }
}
