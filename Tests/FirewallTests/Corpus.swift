import Foundation
import Testing

/// The given test data; tests on it are skipped where it is absent.
enum Corpus {
  static let root: URL? = {
    if let path = ProcessInfo.processInfo.environment["SIPLEAK_CORPUS"] {
      return URL(fileURLWithPath: path)
    }
    let beside = URL(fileURLWithPath: #filePath)
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("shared/corpus")
    return FileManager.default.fileExists(atPath: beside.path) ? beside : nil
  }()

  static var isPresent: Bool { root != nil }

  static func bytes(_ path: String) throws -> [UInt8] {
    let root = try #require(root)
    return [UInt8](try Data(contentsOf: root.appendingPathComponent(path)))
  }

  /// Every file below a folder, as paths from the corpus' root, sorted.
  static func files(_ folder: String) -> [String] {
    guard let root else { return [] }
    let walk = FileManager.default.enumerator(
      at: root.appendingPathComponent(folder), includingPropertiesForKeys: [.isRegularFileKey])
    var paths: [String] = []
    while let url = walk?.nextObject() as? URL {
      guard (try? url.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile) == true else {
        continue
      }
      paths.append(String(url.path.dropFirst(root.path.count + 1)))
    }
    return paths.sorted()
  }
}
