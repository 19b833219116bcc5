import Addressing
import FoundationEssentials
import SystemPackage

/// The last whole answer for each trunk's name, for when no name server answers.
///
/// Written whole or not at all. A file that cannot be read is said and left as it is.
struct RememberedNames: Codable, Hashable {
  /// The answer for one name.
  struct Entry: Codable, Hashable {
    /// When it was given, in seconds since 1970 UTC.
    var time: Double
    var addresses: [IPAddress]
  }

  var version = 1
  var names: [String: Entry] = [:]

  static let fileName = "names.json"
  /// Names not asked for in as many seconds are forgotten: a year.
  private static let longest: Double = 365 * 86400

  static func load(from folder: FilePath) throws(SIPLeakError) -> RememberedNames {
    let file = folder.appending(fileName)
    guard let bytes = FileManager.default.contents(atPath: file.string) else {
      return RememberedNames()
    }
    guard let names = try? JSONDecoder().decode(Self.self, from: bytes), names.version == 1,
      names.names.values.allSatisfy({ $0.time.isFinite })
    else {
      throw SIPLeakError(
        .badFile, "\(file) is no list of remembered names, or of a newer sipleak",
        advice: "It was left as it is.")
    }
    return names
  }

  func save(in folder: FilePath) throws(SIPLeakError) {
    let file = folder.appending(Self.fileName)
    do {
      try WholeFile.write(JSONEncoder().encode(self), to: file)
    } catch {
      throw SIPLeakError(
        .history, "cannot remember the trunks' addresses in \(file): \(error)",
        advice: "With the name servers down, nobody is blocked unattended.")
    }
  }

  mutating func forget(at time: Double) {
    names = names.filter { time - $0.value.time < Self.longest }
  }
}
