public import Netlink
public import SystemPackage

/// Why addresses, routes or sockets of the host couldn't be read.
public struct HostNetworkError: Error, Sendable, Hashable {
  /// The kind of an error; kinds can be added, so a `switch` needs a default.
  public struct Code: Sendable, Hashable, CustomStringConvertible {
    private enum Kind: String, Sendable, Hashable {
      case permissionDenied, unsupported, namespace, interrupted, malformed, file, kernel
    }
    private let kind: Kind

    /// A capability is missing.
    public static let permissionDenied = Code(kind: .permissionDenied)
    /// This kernel can't be asked.
    public static let unsupported = Code(kind: .unsupported)
    /// The network namespace couldn't be entered.
    public static let namespace = Code(kind: .namespace)
    /// The answer was lost or cut short, or changed each time it was read.
    public static let interrupted = Code(kind: .interrupted)
    /// The answer's lengths contradict each other.
    public static let malformed = Code(kind: .malformed)
    /// A file couldn't be read.
    public static let file = Code(kind: .file)
    /// The kernel answered with another error.
    public static let kernel = Code(kind: .kernel)

    /// The kind in one word.
    public var description: String { kind.rawValue }
  }

  /// The kind of the error.
  public var code: Code
  /// What was being done, to follow "cannot".
  public var operation: String
  /// The system's error number, if one is at the bottom of it.
  public var errno: Errno?
  /// What was found, where the error number doesn't say it.
  public var message: String?
  /// What to do about it.
  public var advice: String?

  /// Makes an error.
  public init(
    _ code: Code, operation: String, errno: Errno? = nil, message: String? = nil,
    advice: String? = nil
  ) {
    self.code = code
    self.operation = operation
    self.errno = errno
    self.message = message
    self.advice = advice
  }

  /// Makes an error of what the socket reported.
  public init(_ error: NetlinkError) {
    self.init(
      .kernel, operation: error.operation, errno: error.errno, message: error.message)
    if error.isPermissionDenied {
      code = .permissionDenied
      advice = "Another network namespace needs CAP_SYS_ADMIN. Run it as root."
      return
    }
    switch error.code {
    case .namespace:
      code = .namespace
      advice = "Check that the network namespace exists: `ip netns list`."
    case .overrun, .truncated, .timedOut, .receive:
      code = .interrupted
      advice = "Try again."
    case .malformed:
      code = .malformed
    case .open:
      code = .unsupported
    default:
      break
    }
    if message == nil, errno == nil { message = error.code.description }
  }

  /// Whether a capability is what is missing.
  public var isPermissionDenied: Bool { code == .permissionDenied }
}

extension HostNetworkError: CustomStringConvertible {
  /// The operation and the reason, without the advice.
  public var description: String {
    let reason = errno.map(String.init(describing:)) ?? code.description
    return "cannot \(operation): \(reason)" + (message.map { " (\($0))" } ?? "")
  }
}
