extension Fingerprint {
  private static let sipvicious = "github.com/EnableSecurity/sipvicious"
  /// Lists of User-Agents that operators of SIP servers collected.
  private static let hardening = "github.com/paulseward/sip-hardening siptables.sh"
  private static let smartvox =
    "www.smartvox.co.uk/2016/02/how-to-spot-hacker-invite-requests"
  private static let honeynet = "honeynet.org.au/?q=sunday_scanner"
  private static let sippts = "github.com/Pepelux/sippts"
  private static let halloween =
    "www.rtcsec.com/post/2010/11/distributed-sip-scanning-during"
  private static let nmap = "github.com/nmap/nmap nmap-service-probes, SIPOptions"
  private static let sipp = "github.com/SIPp/sipp, scenario uac (sipp -sd uac)"

  /// Everything that is looked for.
  public static let table: [Fingerprint] =
    sipviciousMarks + otherMarks
    + scanners.map { agent($0, .scanner) } + borrowed.map { agent($0, .borrowed) }

  private static let sipviciousMarks = [
    Fingerprint(
      id: "sipvicious-agent", tool: "SIPVicious", kind: .scanner,
      trait: .agentBegins("friendly-scanner"),
      sources: ["\(sipvicious) libs/svhelper.py makeRequest", smartvox, hardening]),
    Fingerprint(
      id: "sipvicious-name", tool: "SIPVicious svmap", kind: .scanner,
      trait: .displayName("sipvicious"), sources: ["\(sipvicious) svmap.py", smartvox]),
    Fingerprint(
      id: "sipvicious-from", tool: "SIPVicious svmap", kind: .scanner,
      trait: .uri(user: "100", host: "1.1.1.1", in: ["From", "To"]),
      sources: ["\(sipvicious) svmap.py", smartvox, hardening]),
    Fingerprint(
      id: "sipvicious-contact", tool: "SIPVicious", kind: .scanner,
      trait: .uri(user: "123", host: "1.1.1.1", in: ["Contact"]),
      sources: ["\(sipvicious) libs/svhelper.py makeRequest"]),
    Fingerprint(
      id: "sipvicious-tag", tool: "SIPVicious", kind: .scanner, trait: .hexTag,
      sources: ["\(sipvicious) libs/svhelper.py createTag", halloween]),
    Fingerprint(
      id: "svcrack-tag", tool: "SIPVicious svcrack", kind: .scanner, trait: .tagIs("3206210844"),
      sources: ["\(sipvicious) svcrack.py"]),
    Fingerprint(
      id: "sipvicious-numbers", tool: "SIPVicious", kind: .habit, trait: .sipviciousNumbers,
      sources: ["\(sipvicious) libs/svhelper.py makeRequest, svmap.py, svwar.py"]),
  ]

  private static let otherMarks = [
    Fingerprint(
      id: "sundayddr-agent", tool: "the sundayddr worm", kind: .scanner,
      trait: .agentBegins("sundayddr"), sources: [honeynet]),
    Fingerprint(
      id: "sundayddr-name", tool: "the sundayddr worm", kind: .scanner,
      trait: .displayName("sipsscuser"), sources: [honeynet]),
    Fingerprint(
      id: "sundayddr-to", tool: "the sundayddr worm", kind: .scanner,
      trait: .displayName("sipssc"), sources: [honeynet]),
    Fingerprint(
      id: "sippts-agent", tool: "sippts", kind: .scanner, trait: .agentBegins("pplsip"),
      sources: ["\(sippts) modules/*.py, user_agent", hardening]),
    Fingerprint(
      id: "sippts-old-agent", tool: "sippts", kind: .scanner, trait: .agentBegins("sipptk"),
      sources: ["\(sippts) trunk/sipscan.pl"]),
    Fingerprint(
      id: "sipcli-agent", tool: "sipcli", kind: .scanner, trait: .agentBegins("sipcli"),
      sources: [smartvox, hardening]),
    Fingerprint(
      id: "nmap-probe", tool: "Nmap service detection", kind: .scanner,
      trait: .host(["nm", "nm2"]),
      sources: [nmap, smartvox]),
    Fingerprint(
      id: "nmap-script", tool: "Nmap scripts", kind: .scanner, trait: .agentBegins("Nmap NSE"),
      sources: ["github.com/nmap/nmap nselib/sip.lua"]),
    Fingerprint(
      id: "asterisk-spoof", tool: "a SIPVicious derivative named Asterisk PBX", kind: .scanner,
      trait: .agentWithoutCookieOrTag("Asterisk PBX"), sources: [halloween]),
    Fingerprint(
      id: "sipp-tag", tool: "SIPp", kind: .testTool, trait: .tagContains("SIPpTag"),
      sources: [sipp]),
    Fingerprint(
      id: "sipp-subject", tool: "SIPp", kind: .testTool,
      trait: .header("Subject", is: "Performance Test"), sources: [sipp]),
    Fingerprint(
      id: "sipsak-agent", tool: "sipsak", kind: .testTool, trait: .agentBegins("sipsak"),
      sources: ["github.com/nils-ohlmeier/sipsak request.c", hardening]),
    Fingerprint(
      id: "rfc3261-hosts", tool: "an example of RFC 3261 sent as it stands", kind: .habit,
      trait: .host([
        "pc33.atlanta.com", "server10.biloxi.com", "bigbox3.site3.atlanta.com",
        "bobspc.biloxi.com", "erlang.bell-telephone.com",
      ]), sources: [hardening]),
    Fingerprint(
      id: "sip-call-agent", tool: "SIP Call", kind: .scanner, trait: .agentIs("SIP Call"),
      sources: [smartvox]),
  ]

  /// Agents that no telephone has.
  private static let scanners = [
    "A_B_C", "aaaaaaaa", "Asterix PBX", "dr.pes", "FourCats", "fgfdhgfxjfhyjhkj",
    "friendly-request", "Gulp", "iWar", "sip-scan", "siparmyknife", "sipscan", "sipv", "SIVuS",
    "smap", "sundayaddr", "Test Agent", "Z 3",
  ]

  /// Libraries and telephones that scanners are built on or pretend to be.
  private static let borrowed = [
    "Cisco-CUCM", "Cisco-SIPGateway", "Conaito", "CSipSimple", "Custom SIP Phone", "eyeBeam",
    "IM-client/OMA1.0", "MizuPhone", "Ozeki VoIP SIP SDK", "PortSIP VoIP SDK", "VaxIPUserAgent",
    "VaxSIPUserAgent", "xlite",
  ]

  private static func agent(_ name: String, _ kind: Kind) -> Fingerprint {
    let id = name.lowercased().map { $0.isLetter || $0.isNumber ? $0 : "-" }
    return Fingerprint(
      id: String(id) + "-agent", tool: name, kind: kind, trait: .agentBegins(name),
      sources: [hardening])
  }
}
