public import Addressing
public import Netlink
import SystemPackage

/// A host in the lab: a network namespace with an address of each family.
public struct LabHost: Sendable {
  /// The name that `ip netns exec` knows it by.
  public let name: String
  /// Its IPv4 address.
  public let address4: IPAddress
  /// Its IPv6 address.
  public let address6: IPAddress
  /// The servers and clients on it, closed with the lab.
  let endpoints: Endpoints

  /// Its network namespace.
  public var namespace: NetworkNamespace { .named(name) }

  /// Its address of a family.
  public func address(_ family: AddressFamily) -> IPAddress {
    family == .ipv4 ? address4 : address6
  }

  /// Runs a program on this host and expects it to succeed.
  ///
  /// - Parameters:
  ///   - words: The program and its arguments, such as `["iptables", "-F"]`.
  ///   - input: What it reads from standard input.
  /// - Returns: What it printed.
  /// - Throws: ``LabError`` when the namespace isn't proved private, the program is missing, or
  ///   its status isn't 0.
  @discardableResult
  public func run(
    _ words: [String], input: String? = nil
  ) async throws(LabError) -> ToolOutput {
    try Isolation.prove(namespace)
    return try await Tools.require(namespace.commandPrefix + words, input: input)
  }

  /// Runs a program on this host and returns what it printed, whatever its status.
  ///
  /// - Parameters:
  ///   - words: The program and its arguments.
  ///   - input: What it reads from standard input.
  /// - Returns: What it printed and how it ended.
  /// - Throws: ``LabError`` when the namespace isn't proved private or the program is missing.
  public func attempt(
    _ words: [String], input: String? = nil
  ) async throws(LabError) -> ToolOutput {
    try Isolation.prove(namespace)
    return try await Tools.run(namespace.commandPrefix + words, input: input)
  }

  /// Loads a ruleset in `iptables-save` form, replacing the tables it names.
  ///
  /// - Parameters:
  ///   - ruleset: The text for `iptables-restore` or `ip6tables-restore`.
  ///   - family: Whose rules they are.
  /// - Throws: ``LabError`` when the tool refuses it.
  public func restore(_ ruleset: String, family: AddressFamily = .ipv4) async throws(LabError) {
    try await run([family == .ipv4 ? "iptables-restore" : "ip6tables-restore"], input: ruleset)
  }

  /// Runs a program on this host in the foreground, with this process's terminal.
  ///
  /// Blocks the calling thread until it ends.
  ///
  /// - Parameter words: The program and its arguments.
  /// - Returns: Its status; 128 plus the signal's number for a signal.
  /// - Throws: ``LabError`` when the namespace isn't proved private or the program is missing.
  public func execute(_ words: [String]) throws(LabError) -> Int32 {
    try Isolation.prove(namespace)
    return try Reexecution.foreground(namespace.commandPrefix + words)
  }

  /// Sets a kernel setting of this host, as `sysctl -w` does.
  ///
  /// - Parameters:
  ///   - name: The setting with dots or slashes, such as `net.ipv4.ip_forward`.
  ///   - value: Its new value.
  /// - Throws: ``LabError`` when it doesn't exist or refuses the value.
  public func set(_ name: String, _ value: String) throws(LabError) {
    try Isolation.prove(namespace)
    let path = FilePath("/proc/sys/\(name.replacing(".", with: "/"))")
    try namespace.perform { () throws(LabError) in
      do {
        let file = try FileDescriptor.open(path, .writeOnly)
        try file.closeAfter { _ = try file.writeAll("\(value)\n".utf8) }
      } catch {
        throw LabError(.system, "set \(name) to \(value)", errno: error as? Errno)
      }
    }
  }
}

extension NetworkNamespace {
  /// Runs a closure on a thread of its own that has entered the namespace.
  func perform<T: Sendable>(
    _ body: @escaping @Sendable () throws(LabError) -> T
  ) throws(LabError) -> T {
    let result: Result<T, LabError>
    do {
      result = try enter {
        do throws(LabError) {
          return .success(try body())
        } catch {
          return .failure(error)
        }
      }
    } catch {
      throw LabError(.system, error.operation, errno: error.errno)
    }
    return try result.get()
  }
}
