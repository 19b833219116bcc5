import Addressing
import SIP
import SystemPackage

/// What was heard of the peers, for a person.
///
/// Everything here was written by somebody who attacks: each text is escaped, and cut where it would
/// fill the screen.
struct SIPEvidenceText {
  private let evidence: SIPEvidence
  private let style: TextStyle
  /// Kinds of messages shown of a peer; JSON has more.
  private static let mostMessages = 6
  private static let mostNames = 8

  init(_ evidence: SIPEvidence, style: TextStyle) {
    self.evidence = evidence
    self.style = style
  }

  /// The sections: how it was heard, then one a peer.
  var sections: [[String]] { [summary] + evidence.peers.map(peer) }

  private var summary: [String] {
    guard !evidence.peers.isEmpty else {
      return [
        "Heard     nobody: no finding has a peer to listen to. Name one with --peer ADDRESS."
      ]
    }
    var text = "listened for \(Quantity.duration(evidence.heardSeconds))"
    if evidence.isInterrupted {
      text += " of \(Quantity.duration(evidence.seconds)), then interrupted"
    }
    let rules = evidence.peers.count == 1 ? "one rule" : "\(evidence.peers.count) rules"
    if !evidence.backends.isEmpty {
      text += ", by \(rules) of ours that logged and decided nothing (raw PREROUTING, "
      text += "\(evidence.backends.joined(separator: "+")), at most \(ListenRules.rate) packets/s "
      text += "a peer); removed again."
    }
    var lines = titled("Heard", text)
    if evidence.leftovers > 0 {
      lines += noted(
        "\(evidence.leftovers) such rule(s) that an interrupted run had left were removed first.")
    }
    if !evidence.omittedPeers.isEmpty {
      let names = evidence.omittedPeers.prefix(4).map(\.description).joined(separator: ", ")
      lines += noted(
        "Not listened to, as \(Listening.mostPeers) is the most: \(names)"
          + (evidence.omittedPeers.count > 4 ? ", …" : ""))
    }
    if evidence.lost > 0 || evidence.overruns > 0 {
      lines += noted(
        "\(evidence.lost) logged packets never came: the log was full \(evidence.overruns) times.")
    }
    if let capture = evidence.capture {
      let count = capture.packets == 1 ? "1 packet" : "\(capture.packets) packets"
      lines += noted("Saved: \(escaped(capture.path.string)), \(count) (pcap)")
    }
    for problem in evidence.problems { lines += noted(escaped(problem)) }
    return lines
  }

  private func peer(_ peer: PeerEvidence) -> [String] {
    let name = style.bold("From  \(peer.address)")
    guard peer.packets > 0 else {
      return [name + "  sent nothing in this time"]
    }
    var parts = [
      "\(count(peer.packets)) packet" + (peer.packets == 1 ? "" : "s"),
      "\(count(peer.sipPackets)) SIP",
    ]
    if peer.keepalives > 0 { parts.append("\(count(peer.keepalives)) keepalives") }
    if peer.encrypted > 0 { parts.append("\(count(peer.encrypted)) TLS, not readable") }
    var lines = [name + "  " + parts.joined(separator: ", ")]
    lines += field("sent", list(peer.methods) { $0 })
    lines += field(
      "to",
      list(peer.ports) { port in
        "\(port.transport)" + (port.port.map { "/\($0)" } ?? "")
      })
    if peer.users.values.count > 1 { lines += field("users", list(peer.users) { $0 }) }
    for (mark, count) in peer.fingerprints.ranked {
      lines += found(mark, count)
    }
    for (attempt, count) in peer.injections.ranked {
      lines += tagged(
        style.red("INJECT"), "INJECT",
        "\(attempt.kind.rawValue) in \(escaped(attempt.place)): \"\(shown(attempt.text))\"", count)
    }
    let messages = peer.messages.ranked
    for (message, count) in messages.prefix(Self.mostMessages) {
      lines += self.message(message, count)
    }
    let rest =
      messages.dropFirst(Self.mostMessages).map(\.count).reduce(0, +)
      + peer.messages.others
    if rest > 0 {
      lines.append("      and \(count(rest)) more messages of other kinds: --format json")
    }
    return lines
  }

  private func found(_ mark: FingerprintMatch, _ count: Int) -> [String] {
    let kind = mark.fingerprint.kind
    let word: String
    switch kind {
    case .scanner: word = "TOOL"
    case .testTool: word = "TEST"
    case .borrowed: word = "NAME"
    case .habit: word = "HABIT"
    }
    let tag = kind == .scanner ? style.red(word) : style.yellow(word)
    return tagged(
      tag, word,
      "\(mark.fingerprint.tool): \(escaped(mark.place)) \"\(shown(mark.text))\"", count)
  }

  private func message(_ message: MessageEvidence, _ count: Int) -> [String] {
    var title = escaped(message.method)
    if let uri = message.requestURI { title += " \(shown(uri))" }
    if count > 1 { title += "  x\(self.count(count))" }
    var lines = ["    " + title]
    if let destination = message.destination {
      let line =
        "      sent to \(destination) \(message.transport)"
        + (message.source.map { " from port \($0.port)" } ?? "")
      lines.append(line)
      if message.isMisdirected, let port = message.uriPort {
        lines.append(
          "      "
            + style.yellow("asks for port \(port) and travels to port \(destination.port)"))
      }
    }
    let texts: [(String, String?)] = [
      ("From", message.from), ("To", message.to), ("Contact", message.contact),
      ("User-Agent", message.agent), ("Via", message.sentBy),
    ]
    for (name, text) in texts {
      if let text { lines.append("      \(name.padded(10))  \(shown(text))") }
    }
    if !message.problems.isEmpty {
      let text = message.problems.joined(separator: "; ")
      lines += style.wrapped("wrong: \(escaped(text))", indent: 6)
    }
    return lines
  }

  private func list<Value>(_ tally: Tally<Value>, _ name: (Value) -> String) -> String {
    var parts = tally.ranked.prefix(Self.mostNames).map { value, count in
      "\(shown(name(value), most: 32)) \(self.count(count))"
    }
    let rest = tally.ranked.dropFirst(Self.mostNames).map(\.count).reduce(0, +) + tally.others
    if rest > 0 { parts.append("others \(count(rest))") }
    return parts.joined(separator: ", ")
  }

  private func titled(_ title: String, _ text: String) -> [String] {
    let lines = style.wrapped(text, indent: 10)
    guard let first = lines.first else { return [title] }
    return [title.padded(10) + first.dropFirst(10)] + lines.dropFirst()
  }

  private func noted(_ text: String) -> [String] { style.wrapped(text, indent: 10) }

  private func field(_ name: String, _ text: String) -> [String] {
    guard !text.isEmpty else { return [] }
    let lines = style.wrapped(text, indent: 13)
    guard let first = lines.first else { return [] }
    return ["      \(name.padded(6)) " + first.dropFirst(13)] + lines.dropFirst()
  }

  private func tagged(_ tag: String, _ word: String, _ text: String, _ count: Int) -> [String] {
    let times = count > 1 ? "  x\(self.count(count))" : ""
    return ["      " + tag + String(repeating: " ", count: max(1, 7 - word.count)) + text + times]
  }

  /// A text of the sender's, escaped and cut.
  private func shown(_ text: String, most: Int? = nil) -> String {
    let most = most ?? max(24, style.width - 26)
    let safe = escaped(text)
    // A cut in the middle of an escape would still be plain text.
    return safe.count > most ? safe.prefix(most - 1) + "…" : safe
  }

  private func escaped(_ text: String) -> String { EscapedText.terminal(text) }

  private func count(_ value: Int) -> String { Quantity.grouped(value) }
}
