import Foundation
import Testing

/// RFC 4475's messages, which aren't part of the project: `SIPLEAK_CORPUS`, or `../shared/corpus`.
enum Corpus {
  static let folder: URL? = {
    let root =
      ProcessInfo.processInfo.environment["SIPLEAK_CORPUS"].map { URL(fileURLWithPath: $0) }
      ?? URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("shared/corpus")
    let folder = root.appendingPathComponent("sip/rfc4475")
    return FileManager.default.fileExists(atPath: folder.path) ? folder : nil
  }()

  static var isPresent: Bool { folder != nil }

  static func message(_ name: String) throws -> [UInt8] {
    let folder = try #require(folder)
    return [UInt8](try Data(contentsOf: folder.appendingPathComponent(name + ".dat")))
  }

  /// The names of all messages.
  static var names: [String] {
    let files = folder.flatMap { try? FileManager.default.contentsOfDirectory(atPath: $0.path) }
    return (files ?? []).filter { $0.hasSuffix(".dat") }.map { String($0.dropLast(4)) }.sorted()
  }
}
