import Synchronization

/// The open servers and clients of a lab.
///
/// A socket keeps its network namespace alive after the name is gone, so a lab that closes has to
/// close these first.
final class Endpoints: Sendable {
  private let open = Mutex<[ObjectIdentifier: DatagramLoop]>([:])

  func add(_ loop: DatagramLoop) {
    open.withLock { $0[ObjectIdentifier(loop)] = loop }
  }

  func remove(_ loop: DatagramLoop) {
    open.withLock { $0[ObjectIdentifier(loop)] = nil }
  }

  func closeAll() {
    let loops = open.withLock { loops in
      defer { loops = [:] }
      return Array(loops.values)
    }
    for loop in loops { loop.close() }
  }
}
