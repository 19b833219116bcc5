import Glibc
import Synchronization
import SystemPackage

/// A capture file that Wireshark, tshark and tcpdump read.
///
/// Classic pcap with nanoseconds (magic a1b23c4d) and `LINKTYPE_RAW` (101): each packet begins with
/// its IP header. https://www.tcpdump.org/linktypes.html
final class PcapFile: Sendable {
  let path: FilePath
  private let file: FileDescriptor
  private let state = Mutex(State())

  private struct State {
    var isOpen = true
    var pending: [UInt8] = []
    /// How long the file is up to its last whole packet.
    var length = 0
    var packets = 0
    var failure: Errno?
  }

  /// What became of a file.
  struct Outcome {
    var packets: Int
    var failure: Errno?
  }

  private init(_ path: FilePath, _ file: FileDescriptor) {
    self.path = path
    self.file = file
  }

  deinit { _ = finish() }

  /// Makes a file that nobody else can read and that was not there before.
  ///
  /// - Throws: ``SIPLeakError`` `badFile` when something has that name or it cannot be written.
  static func create(_ path: FilePath) throws(SIPLeakError) -> PcapFile {
    let file: FileDescriptor
    do {
      // Exclusive: a link that somebody laid in a shared folder is not followed, nothing overwritten.
      file = try FileDescriptor.open(
        path, .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
        permissions: [.ownerReadWrite])
    } catch {
      throw Self.cannotWrite(path, error)
    }
    let pcap = PcapFile(path, file)
    pcap.append(header)
    if !pcap.flush() {
      let failure = pcap.finish().failure
      pcap.unlink()
      throw Self.cannotWrite(path, failure ?? .ioError)
    }
    return pcap
  }

  private static func cannotWrite(_ path: FilePath, _ error: any Error) -> SIPLeakError {
    SIPLeakError(
      .badFile, "cannot write the capture to \(path): \(error)",
      advice: error as? Errno == .fileExists
        ? "Nothing is overwritten: name a file that is not there yet."
        : "Name a file in a folder that can be written, on a disk with room.")
  }

  /// Adds a packet.
  ///
  /// - Parameters:
  ///   - bytes: From the IP header on.
  ///   - length: How long it was on the wire.
  ///   - seconds: Since 1970 UTC.
  ///   - nanoseconds: Behind them.
  func add(_ bytes: [UInt8], length: Int, seconds: UInt64, nanoseconds: UInt32) {
    let numbers = [
      UInt32(truncatingIfNeeded: seconds), nanoseconds, UInt32(bytes.count),
      UInt32(max(length, bytes.count)),
    ]
    state.withLock { state in
      guard state.failure == nil, state.isOpen else { return }
      for number in numbers { state.pending += Self.little(number) }
      state.pending += bytes
      state.packets += 1
    }
    if state.withLock({ $0.pending.count }) > 1 << 18 { _ = flush() }
  }

  /// Writes what is pending; a failure cuts the file behind its last whole packet.
  @discardableResult
  func flush() -> Bool {
    state.withLock { state in
      guard state.isOpen, state.failure == nil else { return state.failure == nil }
      do {
        try file.writeAll(state.pending)
        state.length += state.pending.count
        state.pending = []
        return true
      } catch {
        state.failure = (error as? Errno) ?? .ioError
        cut(&state)
        return false
      }
    }
  }

  /// Cuts off a packet that was written in part, and counts what is left.
  private func cut(_ state: inout State) {
    let end = (try? Int(file.seek(offset: 0, from: .end))) ?? state.length
    var whole = state.length
    var at = 0
    var lost = 0
    while at < state.pending.count {
      // The file's own header, or a packet's with its bytes.
      let size =
        state.length == 0 && at == 0 ? Self.header.count : 16 + Self.count(state.pending, at)
      at += size
      if state.length + at <= end { whole = state.length + at } else { lost += 1 }
    }
    state.packets -= min(lost, state.packets)
    state.length = whole
    state.pending = []
    try? file.resize(to: Int64(whole))
  }

  /// Closes the file.
  func finish() -> Outcome {
    flush()
    return state.withLock { state in
      if state.isOpen {
        state.isOpen = false
        do { try file.close() } catch {
          state.failure = state.failure ?? ((error as? Errno) ?? .ioError)
        }
      }
      return Outcome(packets: state.packets, failure: state.failure)
    }
  }

  /// Closes the file and takes it away if no packet came into it.
  func discard() {
    if finish().packets == 0 { unlink() }
  }

  /// Takes away the file this object made.
  private func unlink() {
    _ = unsafe path.withPlatformString { unsafe Glibc.unlink($0) }
  }

  private func append(_ bytes: [UInt8]) { state.withLock { $0.pending += bytes } }

  private static let header: [UInt8] =
    little(0xa1b2_3c4d) + [2, 0, 4, 0] + little(0) + little(0) + little(65535) + little(101)

  private static func little(_ number: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
  }

  /// The length of the packet whose record begins somewhere.
  private static func count(_ bytes: [UInt8], _ at: Int) -> Int {
    (0..<4).reduce(0) { $0 | Int(bytes[at + 8 + $1]) << (8 * $1) }
  }
}
