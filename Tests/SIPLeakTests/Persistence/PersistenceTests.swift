import Addressing
import Firewall
import FoundationEssentials
import SystemPackage
import Testing

@testable import SIPLeak

private func withFolder(_ body: (FilePath) throws -> Void) throws {
  let path = FileManager.default.temporaryDirectory.path + "/sipleak-root-\(UUID().uuidString)"
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: path) }
  try body(FilePath(path))
}

private func write(_ text: String, to file: FilePath) throws {
  try FileManager.default.createDirectory(
    atPath: file.removingLastComponent().string, withIntermediateDirectories: true)
  try Data(text.utf8).write(to: URL(filePath: file.string))
}

@Suite("Persistence") struct PersistenceTests {
  private func snapshot(_ lines: String) throws -> FirewallSnapshot {
    var host = SavedHost()
    host.sets = lines
    return try host.firewall().snapshot
  }

  private static let sets = """
    create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
    add sipleak4 203.0.113.66,udp:5060 timeout 1000 packets 0 bytes 0 comment "sipleak: x behind this host 10.77.3.33"
    add sipleak4 203.0.113.67,udp:5060 timeout 0 packets 0 bytes 0 comment "sipleak: named"

    """

  @Test("Saved blocks come back with the time they have left, over ones are gone")
  func remaining() throws {
    try withFolder { folder in
      try SavedBlocks(try snapshot(Self.sets), at: 5000).save(in: folder)
      let saved = try #require(try SavedBlocks.load(from: folder))
      #expect(saved.remaining(at: 5400).map(\.timeout) == [600, 0])
      #expect(saved.remaining(at: 6000).map(\.element) == ["203.0.113.67,udp:5060"])
      #expect(saved.remaining(at: 0).map(\.timeout) == [1000, 0])
      let text = SavedBlocks.setText(saved.remaining(at: 5400))
      #expect(
        text.contains(
          "add -exist sipleak4 203.0.113.66,udp:5060 timeout 600 comment "
            + "\"sipleak: x behind this host 10.77.3.33\"\n"))
      #expect(text.contains("create -exist sipleak6 "))
    }
  }

  @Test("What was left out at boot stays in the file until its time, its return, or an unblock")
  func leftOut() throws {
    try withFolder { folder in
      var saved = SavedBlocks(try snapshot(""), at: 5000)
      saved.keepLeftOut(of: nil, SavedBlocks(try snapshot(Self.sets), at: 5000).blocks)
      try saved.save(in: folder)
      let elements = ["203.0.113.66,udp:5060", "203.0.113.67,udp:5060"]
      var later = SavedBlocks(try snapshot(""), at: 5400)
      later.keepLeftOut(of: try SavedBlocks.load(from: folder))
      #expect(later.remaining(at: 5500).map(\.element) == elements)
      #expect(later.remaining(at: 5500).map(\.timeout) == [500, 0])
      // What stands again is a block like others, and what is over is nothing.
      var again = SavedBlocks(try snapshot(Self.sets), at: 5400)
      again.keepLeftOut(of: later)
      #expect(again.leftOut == nil)
      var over = SavedBlocks(try snapshot(""), at: 6001)
      over.keepLeftOut(of: later)
      #expect(over.leftOut?.map(\.element) == [elements[1]])
      // All put back: nothing is left out any more.
      var restored = SavedBlocks(try snapshot(""), at: 5400)
      restored.keepLeftOut(of: later, [])
      #expect(restored.leftOut == nil)
      #expect(later.forgetLeftOut(of: [address("203.0.113.67")]) == [elements[1]])
      #expect(later.forgetLeftOut(of: [address("203.0.113.67")]) == [])
      #expect(later.forgetLeftOut(of: nil) == [elements[0]])
      #expect(later.leftOut == nil)
    }
  }

  @Test("A file is written whole or not at all, and never through what lies in its way")
  func wholeFile() throws {
    try withFolder { folder in
      let file = folder.appending("x.json")
      let others = folder.appending("theirs")
      try Data("theirs".utf8).write(to: URL(filePath: others.string))
      let passing = folder.appending(
        ".x.json.\(ProcessInfo.processInfo.processIdentifier)")
      try FileManager.default.createSymbolicLink(
        atPath: passing.string, withDestinationPath: others.string)
      try WholeFile.write(Data("ours".utf8), to: file)
      #expect(FileManager.default.contents(atPath: file.string) == Data("ours".utf8))
      #expect(FileManager.default.contents(atPath: others.string) == Data("theirs".utf8))
      // What stands in the place of the file cannot be replaced: nothing is left beside it.
      let folderInTheWay = folder.appending("y.json")
      try FileManager.default.createDirectory(
        atPath: folderInTheWay.string, withIntermediateDirectories: false)
      #expect(throws: Errno.self) {
        try WholeFile.write(Data("ours".utf8), to: folderInTheWay)
      }
      let names = try FileManager.default.contentsOfDirectory(atPath: folder.string)
      #expect(Set(names) == ["x.json", "y.json", "theirs"])
    }
  }

  @Test("A list that somebody changed gives no line that is not an entry of ours")
  func hostile() throws {
    try withFolder { folder in
      let text = """
        {"version":1,"saved":5000,"blocks":[
        {"family":"ipv4","element":"203.0.113.66,udp:5060 timeout 1\\nflush allow","timeout":9,"comment":"x"},
        {"family":"ipv6","element":"203.0.113.66,udp:5060","timeout":9,"comment":"x"},
        {"family":"ipv4","element":"203.0.113.66,udp:5060","timeout":9,"comment":"x\\"\\nflush allow"}]}
        """
      try write(text, to: folder.appending("blocks.json"))
      let saved = try #require(try SavedBlocks.load(from: folder))
      let lines = SavedBlocks.setText(saved.remaining(at: 5000)).split(separator: "\n")
      #expect(lines.count == 3)
      #expect(
        lines.last
          == "add -exist sipleak4 203.0.113.66,udp:5060 timeout 9 comment \"xflush allow\"")
      for bad in ["", "{", "{\"version\":2,\"saved\":1,\"blocks\":[]}"] {
        try write(bad, to: folder.appending("blocks.json"))
        #expect(throws: SIPLeakError.self) { _ = try SavedBlocks.load(from: folder) }
      }
    }
  }

  @Test("The units stand before and after every loader, are enabled, and go again")
  func units() throws {
    try withFolder { root in
      #expect(!BootUnits.areInstalled(root: root))
      let units = BootUnits(program: "/opt/sipleak")
      #expect(try units.install(root: root).count == 2)
      #expect(try units.install(root: root).count == 2)
      #expect(BootUnits.areInstalled(root: root))
      let sets = try #require(units.files[BootUnits.setsUnit])
      let blocks = try #require(units.files[BootUnits.blocksUnit])
      for loader in BootUnits.loaders {
        let before = sets.split(separator: "\n").first { $0.hasPrefix("Before=") }
        #expect(before?.contains(" \(loader).service") == true)
        let after = blocks.split(separator: "\n").first { $0.hasPrefix("After=") }
        #expect(after?.contains(" \(loader).service") == true)
      }
      #expect(sets.contains("ExecStart=/opt/sipleak persist sets\n"))
      // Whom the rules admit hangs on addresses and routes; the empty sets wait for neither.
      #expect(blocks.contains("network-online.target"))
      #expect(!sets.contains("network-online.target"))
      // Where blocks are saved is there, for root alone, or nothing would be carried over.
      let state = root.appending("var/lib/sipleak")
      #expect(try state.stat().permissions == .ownerReadWriteExecute)
      #expect(throws: SIPLeakError.self) { try units.install(root: "/proc/nowhere") }
      #expect(BootUnits.remove(root: root))
      #expect(!BootUnits.remove(root: root))
      #expect(!BootUnits.areInstalled(root: root))
    }
  }

  @Test("Enabled loaders and saved files that name what is ours are found, and not edited")
  func saved() throws {
    try withFolder { root in
      let rules = root.appending("etc/iptables/rules.v4")
      try write("*raw\n# sipleak4\n-A X --match-set sipleak4 src,dst -j DROP\nCOMMIT\n", to: rules)
      try write("*raw\nCOMMIT\n", to: root.appending("etc/iptables/rules.v6"))
      let wants = root.appending("etc/systemd/system/multi-user.target.wants")
      try write("", to: wants.appending("netfilter-persistent.service"))
      #expect(
        SavedFirewalls.mentions(root: root) == [SavedFirewalls.Mention(file: rules, line: 3)])
      #expect(SavedFirewalls.enabledLoaders(root: root) == ["netfilter-persistent"])
    }
  }
}
