import Addressing
import Firewall
import Testing

struct EvaluationRecentTests {
  /// Three stamps for the attacker, one for the PBX and one for an IPv6 address.
  static let lists = """
    list 61
    src=203.0.113.66 ttl: 64 last_seen: 4295339667 oldest_pkt: 3 4295339000, 4295339300, 4295339667
    src=192.0.2.5 ttl: 0 last_seen: 4295339667 oldest_pkt: 1 4295339667
    src=2001:0db8:0000:0000:0000:0000:0000:0066 ttl: 64 last_seen: 5 oldest_pkt: 1 5
    list 6e65740a2261
    src=203.0.113.0 ttl: 64 last_seen: 4295339667 oldest_pkt: 1 4295339667
    list 656d707479

    """

  static func reading(_ rules: [String], lists: String? = lists) throws -> FirewallReading {
    var files = [
      "ipv4.legacy.save": Array(Given.filter(rules, policy: "DROP").utf8), "ipv6.legacy.save": [],
      "sets.save": [],
    ]
    files["recent.lists"] = lists.map { Array($0.utf8) }
    return try FirewallHost.reading(files: files)
  }

  static func answer(_ conditions: String, _ packet: Packet) throws -> Expected {
    let lists = try reading([conditions]).snapshot.recentLists
    return Expected(try Given.answer(conditions, packet) { $0.recentLists = lists })
  }

  @Test(
    "A list that was read decides",
    arguments: [
      ("--rcheck --name a", Expected.yes), ("! --rcheck --name a", .no),
      ("--update --name a --rsource", .yes), ("--remove --name a", .yes),
      ("! --remove --name a", .no), ("--rcheck --name a --rdest", .yes),
      ("--rcheck --name empty", .no), ("! --update --name empty", .yes),
      ("--rcheck --name absent", .unknown), ("--rcheck", .unknown),
      ("--rcheck --name a --mask 255.255.255.255", .yes),
      // Entries longer than the mask: the list has another one.
      ("--rcheck --name a --mask 255.255.255.0", .unknown),
      ("--rcheck --name a --hitcount 3", .yes), ("--rcheck --name a --hitcount 4", .no),
      ("! --update --name a --hitcount 4", .yes),
      ("--rcheck --name a --seconds 60", .unknown),
      ("! --rcheck --name a --seconds 60", .unknown),
      ("--update --name a --seconds 60 --hitcount 3", .unknown),
      ("--update --name a --seconds 60 --hitcount 4", .no),
      ("--rcheck --name empty --seconds 60", .no),
      ("--rcheck --name a --rttl", .unknown), ("--rcheck --name empty --rttl", .no),
      // An entry with TTL 0 is found with any.
      ("--rcheck --name a --rdest --rttl", .yes),
      ("--set --name a", .yes),
      // The second clause sees what the first one did; which is first is not looked at.
      ("--set --name a -m recent --rcheck --name a", .unknown),
      ("--rcheck --name a -m recent --set --name a", .unknown),
      ("--rcheck --name a --seconds 60 --reap --hitcount 4", .no),
    ])
  func decided(conditions: String, expected: Expected) throws {
    #expect(try Self.answer("-m recent \(conditions)", Given.packet()) == expected)
  }

  @Test("A mask, a TTL and a name with a newline and a quote are looked up as the kernel does")
  func lookup() throws {
    var packet = try Given.packet()
    for (ttl, expected) in [(UInt8(64), Expected.yes), (63, .no)] {
      packet.ttl = ttl
      #expect(try Self.answer("-m recent --rcheck --name a --rttl", packet) == expected)
    }
    let list = try #require(try Self.reading([]).snapshot.recentLists?.dropFirst().first)
    #expect(list.name == "net\n\"a")
    let answer = try Given.answer(
      "-m recent --rcheck --name net --mask 255.255.255.0", Given.packet()
    ) { $0.recentLists = [RecentList(name: "net", entries: list.entries)] }
    #expect(Expected(answer) == .yes)
    let six = try Given.packet(from: "[2001:db8::66]:1", to: "[2001:db8::5]:5060")
    #expect(try Self.answer("-m recent --rcheck --name a", six) == .yes)
    #expect(try Self.answer("-m recent --rcheck --name a --rdest", six) == .no)
  }

  static let ask = "-m recent --rcheck --name a -j ACCEPT"

  @Test(
    "A walk is decided unless a rule met before may change the list",
    arguments: [
      ([ask], true), ([ask, "-m recent --set --name a -j DROP"], true),
      (["-m recent --set --name b", ask], true), (["-m recent --rcheck --name a", ask], true),
      (["-s 10.0.0.1/32 -m recent --set --name a -j DROP", ask], false),
      (["-m recent --remove --name a", ask], false), (["-m recent --update --name a", ask], false),
      (["-m recent --rcheck --seconds 5 --reap --name a", ask], false),
      ([ask, "-m recent --rcheck --name a --mask 255.255.255.0"], false),
    ])
  func walked(rules: [String], isCertain: Bool) throws {
    let walk = Evaluation(try Self.reading(rules).snapshot).walk(try Given.packet(), to: .input)
    #expect((walk.outcomes.count == 1) == isCertain)
    if isCertain {
      #expect(walk.outcomes.first?.verdict == .accept)
      #expect(walk.dependsOnMemory.map(\.kind).contains(.memory))
    }
  }

  @Test("A refusal depends on memory too, and without the lists nothing is certain")
  func refused() throws {
    let packet = try Given.packet(from: "203.0.113.67:5060")
    let walk = Evaluation(try Self.reading([Self.ask]).snapshot).walk(packet, to: .input)
    #expect(walk.outcomes.map(\.verdict) == [.drop])
    #expect(walk.dependsOnMemory.count == 1)
    let unread = try Self.reading([Self.ask], lists: nil).snapshot
    #expect(unread.recentLists == nil)
    #expect(Evaluation(unread).walk(packet, to: .input).outcomes.count == 2)
  }

  @Test(
    "Malformed lists are an error with its line",
    arguments: [
      ("src=192.0.2.1 ttl: 64 last_seen: 1 oldest_pkt: 1 1\n", 1), ("list 6\n", 1),
      ("list 6g\n", 1), ("list \n", 1), ("list 61\nsrc=192.0.2.1 ttl: 64\n", 2),
      ("list 61\nsrc=a ttl: 64 last_seen: 1 oldest_pkt: 1 1\n", 2),
      ("list 61\nsrc=192.0.2.1 ttl: 64 last_seen: 1 oldest_pkt: 1 1, -2\n", 2),
    ])
  func malformed(text: String, line: Int) throws {
    let error = #expect(throws: FirewallError.self) { try Self.reading([], lists: text) }
    #expect(error?.code == .malformed)
    #expect(error?.file == "recent.lists")
    #expect(error?.line == line)
  }
}
