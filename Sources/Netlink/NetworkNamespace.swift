public import SystemPackage

/// The network namespace that something is read from or written to.
public enum NetworkNamespace: Sendable, Hashable {
  /// The namespace this process was started in.
  case current
  /// A namespace by the file that stands for it: `/run/netns/NAME` or `/proc/PID/ns/net`.
  case path(FilePath)

  /// The namespace that `ip netns add NAME` made.
  public static func named(_ name: String) -> NetworkNamespace {
    .path(FilePath("/run/netns").appending(name))
  }

  /// The namespace a process is in.
  public static func process(_ id: Int32) -> NetworkNamespace {
    .path(FilePath("/proc/\(id)/ns/net"))
  }
}

extension NetworkNamespace: CustomStringConvertible {
  /// The file that stands for the namespace, or "current".
  public var description: String {
    switch self {
    case .current: "current"
    case .path(let path): path.string
    }
  }
}

extension NetworkNamespace {
  /// Runs a closure on a thread that has entered the namespace, and waits for it.
  ///
  /// For ``current`` the closure runs on the calling thread. Files under `/proc/sys/net` and
  /// `/proc/thread-self/net` are those of the namespace; `/proc/net` and `/sys` are not. Needs
  /// `CAP_SYS_ADMIN` for another namespace than the current one. Blocks; don't call it for long work on
  /// a thread of the concurrency pool.
  ///
  /// - Parameter body: What to run.
  /// - Returns: What the closure returns.
  /// - Throws: What the closure throws, or ``NetlinkError`` if the namespace can't be entered.
  public func run<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) throws -> Value {
    if case .current = self { return try body() }
    return try enter { Result { try body() } }.get()
  }

  /// Runs a closure that doesn't throw, as ``run(_:)`` does, with one kind of error.
  ///
  /// - Parameter body: What to run.
  /// - Returns: What the closure returns.
  /// - Throws: ``NetlinkError`` if the namespace can't be entered.
  public func enter<Value: Sendable>(
    _ body: @escaping @Sendable () -> Value
  ) throws(NetlinkError) -> Value {
    if case .current = self { return body() }
    return try NamespaceThread.start(in: self, body).join()
  }

  /// The words that make a command run inside: none, or `nsenter --net=PATH --`.
  ///
  /// Children inherit the spawning thread's namespace, so they enter it themselves.
  public var commandPrefix: [String] {
    switch self {
    case .current: []
    case .path(let path): ["nsenter", "--net=\(path.string)", "--"]
    }
  }

  /// Reads a small file of `/proc/sys` or `/proc/thread-self/net` as the namespace has it.
  ///
  /// - Parameter paths: The files.
  /// - Returns: The text of those that could be read, by path; up to 64 KiB each.
  /// - Throws: ``NetlinkError`` if the namespace can't be entered.
  public func readFiles(_ paths: [FilePath]) throws(NetlinkError) -> [FilePath: String] {
    try enter {
      var result: [FilePath: String] = [:]
      for path in paths {
        if let text = Self.readSmallFile(path) { result[path] = text }
      }
      return result
    }
  }

  private static func readSmallFile(_ path: FilePath) -> String? {
    guard let descriptor = try? FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    else { return nil }
    defer { try? descriptor.close() }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while text.count < 65536 {
      guard
        let count = try? unsafe buffer.withUnsafeMutableBytes({
          try unsafe descriptor.read(into: $0)
        })
      else { return nil }
      if count == 0 { break }
      text.append(contentsOf: buffer[..<count])
    }
    return String(decoding: text, as: UTF8.self)
  }
}
