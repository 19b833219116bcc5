import Synchronization

/// What holds a socket open on a host of the lab.
protocol OpenEndpoint: AnyObject, Sendable {
  /// Closes it; does nothing the second time.
  func close()
}

/// The open servers and clients of a lab.
///
/// A socket keeps its network namespace alive after the name is gone, so a lab that closes has to
/// close these first.
final class Endpoints: Sendable {
  private let open = Mutex<[ObjectIdentifier: any OpenEndpoint]>([:])

  func add(_ endpoint: any OpenEndpoint) {
    open.withLock { $0[ObjectIdentifier(endpoint)] = endpoint }
  }

  func remove(_ endpoint: any OpenEndpoint) {
    open.withLock { $0[ObjectIdentifier(endpoint)] = nil }
  }

  func closeAll() {
    let endpoints = open.withLock { endpoints in
      defer { endpoints = [:] }
      return Array(endpoints.values)
    }
    for endpoint in endpoints { endpoint.close() }
  }
}
