import Addressing
import FoundationEssentials

/// `/etc/hosts`: names that need no name server.
enum HostsFile {
  static func read(_ path: String = "/etc/hosts") -> [String: [IPAddress]] {
    guard let bytes = FileManager.default.contents(atPath: path) else { return [:] }
    return addresses(String(decoding: bytes, as: UTF8.self))
  }

  /// Addresses by name, in lower case.
  static func addresses(_ text: String) -> [String: [IPAddress]] {
    var result: [String: [IPAddress]] = [:]
    for line in text.split(whereSeparator: \.isNewline) {
      let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" }
      guard let first = words.first, let address = IPAddress(String(first)) else { continue }
      for name in words.dropFirst() {
        result[name.lowercased(), default: []].append(address.unmapped)
      }
    }
    return result
  }
}
