import FoundationEssentials

/// A line of a script of this host that empties the firewall, so that its rules come back one by
/// one.
public struct FlushingLine: Sendable, Hashable, Codable {
  /// The script.
  public var path: String
  /// The line, from 1.
  public var line: Int
  /// Its text; not escaped for terminals.
  public var text: String

  /// Makes an entry.
  public init(path: String, line: Int, text: String) {
    self.path = path
    self.line = line
    self.text = text
  }

  /// Files and folders where firewall scripts usually lie.
  public static let places = [
    "/etc/rc.local", "/etc/rc.d/rc.local", "/etc/rc.firewall", "/etc/firewall",
    "/etc/firewall.sh", "/etc/init.d", "/etc/iptables", "/etc/network/if-pre-up.d",
    "/etc/network/if-up.d", "/etc/cron.d", "/usr/local/bin", "/usr/local/sbin", "/usr/local/etc",
  ]
  private static let mostFiles = 400
  private static let mostBytes = 256 << 10

  /// The lines of scripts in the usual places that flush a chain or table of iptables.
  ///
  /// Reads only; what cannot be read is passed over, for nothing is proved by its absence.
  ///
  /// - Parameter places: Files and folders; those of the folders are looked at, not deeper.
  /// - Returns: At most 20 lines.
  public static func search(_ places: [String] = FlushingLine.places) -> [FlushingLine] {
    let files = FileManager.default
    var result: [FlushingLine] = []
    var looked = 0
    for place in places {
      var paths = [place]
      if let names = try? files.contentsOfDirectory(atPath: place) {
        paths = names.sorted().map { place + "/" + $0 }
      }
      for path in paths {
        guard looked < mostFiles, result.count < 20 else { return result }
        guard let facts = try? files.attributesOfItem(atPath: path),
          facts[.type] as? FileAttributeType == .typeRegular,
          (facts[.size] as? Int).map({ $0 <= mostBytes }) == true,
          let text = try? Data(contentsOf: URL(filePath: path))
        else { continue }
        looked += 1
        result += lines(of: Array(text), path: path)
      }
    }
    return Array(result.prefix(20))
  }

  /// The lines of one script that flush.
  static func lines(of script: [UInt8], path: String) -> [FlushingLine] {
    // A program may lie in such a place too.
    guard !script.contains(0) else { return [] }
    var result: [FlushingLine] = []
    for (number, line) in script.split(separator: 0x0a, omittingEmptySubsequences: false)
      .enumerated()
    {
      let text = String(decoding: line, as: UTF8.self)
      guard flushes(text) else { continue }
      result.append(
        FlushingLine(
          path: path, line: number + 1,
          text: String(text.drop { $0 == " " || $0 == "\t" }.prefix(200))))
    }
    return result
  }

  /// Whether a line of shell flushes: `iptables -F`, `$IPT --flush INPUT`, `-t filter -F`.
  private static func flushes(_ line: String) -> Bool {
    let words = line.split { " \t;&|\"'".contains($0) }
    for (place, word) in words.enumerated() {
      if word.hasPrefix("#") { return false }
      guard word == "-F" || word == "--flush" else { continue }
      let tool = words[..<place].last { !$0.hasPrefix("-") && isTool($0) }
      // A flush of another table than the one that filters opens nothing.
      let table = words[..<place].firstIndex(of: "-t").map { words.index(after: $0) }
      if tool != nil, table.map({ words[$0] == "filter" }) ?? true { return true }
    }
    return false
  }

  private static func isTool(_ word: Substring) -> Bool {
    let name = word.split(separator: "/").last.map { $0.lowercased() } ?? ""
    return ["iptables", "ip6tables", "$ipt", "${ipt", "$fw"].contains { name.hasPrefix($0) }
      && !name.contains("save") && !name.contains("restore")
  }
}
