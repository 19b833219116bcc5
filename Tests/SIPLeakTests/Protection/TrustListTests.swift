import Addressing
import TestSupport
import Testing

@testable import SIPLeak

@Suite("Lists of who belongs") struct TrustListTests {
  private func read(_ text: String, wide: Bool = false) throws -> [String] {
    let list = try TrustList(Array(text.utf8), allowsWide: wide)
    return list.entries.map { entry in
      switch entry.subject {
      case .prefix(let prefix): "\(prefix)\(entry.isContact ? " contact" : "")"
      case .name(let name): "\(name)\(entry.isContact ? " contact" : "")"
      }
    }
  }

  @Test("A plain list has an address, prefix or name a line, and comments")
  func plain() throws {
    let text = """
      # our carriers
      198.51.100.0/24   ; the old one
      2001:db8::5\r
      SIP.Carrier.Example.

      ::ffff:203.0.113.7
      """
    #expect(
      try read(text) == [
        "198.51.100.0/24", "2001:db8::5", "sip.carrier.example", "203.0.113.7",
      ])
  }

  @Test(
    "A bad line is named by line and column, and nothing of the list is used",
    arguments: [
      ("192.0.2.1\n  192.0.2.300\n", 2, 3), ("192.0.2.1 192.0.2.2", 1, 11),
      ("10.0.0.1/8", 1, 1), ("0.0.0.0/0", 1, 1), ("2001:db8::/31", 1, 1), ("[acl", 1, 1),
      ("permit=10.0.0.0/255.0.255.0", 1, 1), ("permit=0.0.0.0/0.0.0.0", 1, 1),
      ("No such command 'pjsip show contacts'", 1, 4), ("a;b", 1, 1), ("exa\u{202e}mple", 1, 1),
    ])
  func bad(text: String, line: Int, column: Int) throws {
    #expect {
      try TrustList(Array(text.utf8))
    } throws: { error in
      guard let problem = error as? TrustList.Problem else { return false }
      return (problem.line, problem.column) == (line, column) && !problem.expected.isEmpty
    }
  }

  @Test("A prefix as wide as a continent is taken only when it is meant")
  func wide() throws {
    #expect(try read("0.0.0.0/0", wide: true) == ["0.0.0.0/0"])
    #expect(try read("10.0.0.0/8\n2001:db8::/32") == ["10.0.0.0/8", "2001:db8::/32"])
  }

  @Test("An ACL permits what no later line denies, by length or mask; other settings say nothing")
  func accessList() throws {
    let text = """
      [carriers]            ; acl.conf
      type=acl
      deny=0.0.0.0/0.0.0.0
      permit=198.51.100.0/255.255.255.252
      permit => 2001:db8::/48,!2001:db8::/49
      deny = 198.51.100.1
      [phones]
      permit=192.0.2.77/255.255.255.0
      """
    #expect(
      try read(text) == [
        "198.51.100.0", "198.51.100.2/31", "2001:db8:0:8000::/49", "192.0.2.0/24",
      ])
  }

  @Test("The output of `acl show NAME` is an ACL")
  func shownACL() throws {
    let text = """

      ACL: carriers
      ---------------------------------------------
       ACL
         0: deny  - 0.0.0.0/0.0.0.0
         1: allow - 198.51.100.0/255.255.255.0

      """
    #expect(try read(text) == ["198.51.100.0/24"])
  }

  @Test("Registered contacts are found by their host, IPv6 and colours included")
  func contacts() throws {
    let text = """

        Contact:  <Aor/ContactUri............................> <Hash....> <Status> <RTT(ms)..>
      ==========================================================================================

        Contact:  6001/sip:6001@203.0.113.20:5060;ob           0a1b2c3d4e \u{1b}[1;32mAvail\u{1b}[0m        12.345
        Contact:  6002/sip:6002@[2001:db8::20]:5061;transport= a94a8fe5cc NonQual         nan
        Contact:  6003/sips:a;b=c@203.0.113.21                 b94a8fe5cc Avail         3.100
        Contact:  carrier/sip:sip.carrier.example:5060         d41d8cd98f Unknown         nan
        Contact:  a-rather-long-name-of-an-aor/sip:203.0.113.2 e41d8cd98f Avail         1.000

      Objects found: 5

      """
    let list = try TrustList(Array(text.utf8))
    #expect(
      try read(text) == [
        "203.0.113.20 contact", "2001:db8::20 contact", "203.0.113.21 contact",
        "sip.carrier.example contact",
      ])
    // The last one fills its column: 203.0.113.2 may be the beginning of 203.0.113.25.
    #expect(list.cutOff == [9])
    #expect(try read("No objects found.\n").isEmpty)
  }

  @Test("Peers of chan_sip are found under their heading; the unregistered have no address")
  func peers() throws {
    let text = """
      Name/username             Host                                    Dyn Forcerport Comedia    ACL Port     Status      Description                      
      6001/6001                 203.0.113.20                             D  Yes        Yes         A  5060     OK (12 ms)                                   
      a name with blanks        2001:db8::20                                Auto (No)  No             5060     Unmonitored                                  
      6002                      (Unspecified)                            D  Auto (No)  No             0        UNKNOWN                                      
      3 sip peers [Monitored: 1 online, 1 offline Unmonitored: 1 online, 0 offline]
      """
    #expect(try read(text) == ["203.0.113.20 contact", "2001:db8::20 contact"])
  }

  @Test("Hostile lists never trap, and are read or refused")
  func hostile() {
    var random = SeededGenerator(seed: 6)
    let pieces = [
      "Contact:", "sip:", "@", "[", "]", ":", ";", "/", "permit=", "deny", "=>", "!", ",", "\n",
      " ",
      "\u{1b}[", "\u{1b}", "Name/username", "Host", "ACL:", "0: allow - ", "1.2.3.4", "::1", "é",
      "#",
    ]
    for _ in 0..<4000 {
      let count = Int.random(in: 0...30, using: &random)
      let text = (0..<count).map { _ in pieces.randomElement(using: &random) ?? "" }.joined()
      let list = try? TrustList(Array(text.utf8))
      #expect(list?.entries.allSatisfy { $0.line > 0 } ?? true)
    }
  }

  @Test("A command is split into words as a shell would, and what only a shell knows is refused")
  func commands() {
    #expect(
      TrustCommand("asterisk -rx 'pjsip show contacts'")?.words == [
        "asterisk", "-rx", "pjsip show contacts",
      ])
    #expect(TrustCommand(#"a "b \"c" d\ e ''"#)?.words == ["a", #"b "c"#, "d e", ""])
    for text in ["", "  ", "a 'b", "a | b", "a; b", "$(a)", "a \\", "a > b", "''"] {
      #expect(TrustCommand(text) == nil, "\(text)")
    }
  }
}
