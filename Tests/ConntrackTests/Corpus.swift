import Foundation
import Netlink
import Testing

/// The test data that isn't part of the project: `SIPLEAK_CORPUS`, or `../shared/corpus`.
enum Corpus {
  static let liveTable: URL? = {
    let root =
      ProcessInfo.processInfo.environment["SIPLEAK_CORPUS"].map { URL(fileURLWithPath: $0) }
      ?? URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("shared/corpus")
    let folder = root.appendingPathComponent("conntrack/live-table")
    return FileManager.default.fileExists(atPath: folder.path) ? folder : nil
  }()

  static var isThere: Bool { liveTable != nil }

  static func bytes(_ name: String) throws -> [UInt8] {
    let folder = try #require(liveTable)
    return [UInt8](try Data(contentsOf: folder.appendingPathComponent(name)))
  }

  static func text(_ name: String) throws -> String {
    String(decoding: try bytes(name), as: UTF8.self)
  }

  /// The payloads of the live table's messages.
  static func payloads() throws -> [[UInt8]] {
    let bytes = try bytes("raw.nlmsg")
    let span = unsafe bytes.span.bytes
    var cursor = MessageCursor()
    var result: [[UInt8]] = []
    while let message = try cursor.next(in: span), message.type >= 16 {
      result.append(Array(bytes[message.payload]))
    }
    return result
  }
}
