internal import Addressing

/// One text that an observation of the firewall consists of.
enum FirewallPart: String, CaseIterable {
  case nft4 = "ipv4.nft"
  case nft6 = "ipv6.nft"
  case legacy4 = "ipv4.legacy"
  case legacy6 = "ipv6.legacy"
  case sets = "sets"
  case native = "nft"
  case recent = "recent"

  /// Its name in a saved observation.
  var file: String {
    switch self {
    case .native: "nft.json"
    case .recent: "recent.lists"
    default: rawValue + ".save"
    }
  }

  static let rulesets: [FirewallPart] = [.nft4, .nft6, .legacy4, .legacy6]

  var family: AddressFamily { self == .nft6 || self == .legacy6 ? .ipv6 : .ipv4 }
  var backend: Backend { self == .legacy4 || self == .legacy6 ? .legacy : .nft }
}

/// How far one text could be had.
enum PartState {
  case read([UInt8])
  /// Known not to be in use.
  case absent
  /// The tool is not there.
  case notInstalled(String)
  /// It exists or may exist, and could not be read.
  case failed(String)
  /// A saved observation says nothing about it.
  case notSaved
}

/// All texts of one observation, live or saved.
///
/// The file `firewall.status` says in one line a part what became of it, so that a saved
/// observation tells as much as the live one.
struct FirewallParts {
  var states: [FirewallPart: PartState] = [:]
  /// Texts that were read and not understood when they were observed.
  var unreadable: Set<FirewallPart> = []

  static let statusFile = "firewall.status"

  subscript(part: FirewallPart) -> PartState { states[part] ?? .notSaved }

  init() {}

  init(files: [String: [UInt8]]) {
    var notes: [String: (state: String, detail: String)] = [:]
    if let status = files[Self.statusFile] {
      for line in String(decoding: status, as: UTF8.self).split(separator: "\n") {
        let words = line.split(separator: " ", maxSplits: 2).map(String.init)
        guard words.count >= 2 else { continue }
        notes[words[0]] = (words[1], words.count > 2 ? words[2] : "")
      }
    }
    for part in FirewallPart.allCases {
      let note = notes[part.rawValue]
      if let text = files[part.file] {
        states[part] = .read(text)
        if note?.state == "unreadable" { unreadable.insert(part) }
        continue
      }
      switch note?.state {
      case "absent": states[part] = .absent
      case "not-installed": states[part] = .notInstalled(note?.detail ?? "")
      case "failed": states[part] = .failed(note?.detail ?? "")
      case "read", "unreadable": states[part] = .failed("the file \(part.file) is missing")
      default: states[part] = .notSaved
      }
    }
  }

  var files: [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    var status = ""
    for part in FirewallPart.allCases {
      let words: String
      switch self[part] {
      case .read(let text):
        files[part.file] = text
        words = unreadable.contains(part) ? "unreadable" : "read"
      case .absent: words = "absent"
      case .notInstalled(let tool): words = "not-installed \(printable(tool))"
      case .failed(let why): words = "failed \(printable(why, limit: 500))"
      case .notSaved: continue
      }
      status += "\(part.rawValue) \(words)\n"
    }
    files[Self.statusFile] = Array(status.utf8)
    return files
  }
}
