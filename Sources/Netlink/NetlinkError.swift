public import SystemPackage

/// What went wrong between this process and the kernel on a netlink socket.
public struct NetlinkError: Error, Sendable, Hashable {
  /// The kind of an error; kinds can be added, so a `switch` needs a default.
  public struct Code: Sendable, Hashable, CustomStringConvertible {
    private enum Kind: String, Sendable, Hashable {
      case namespace, thread, open, send, receive, refused, overrun, truncated, malformed
      case timedOut, invalidRequest, busy
    }
    private let kind: Kind

    /// The network namespace couldn't be entered.
    public static let namespace = Code(kind: .namespace)
    /// No thread could be started.
    public static let thread = Code(kind: .thread)
    /// The socket couldn't be opened or bound.
    public static let open = Code(kind: .open)
    /// The request couldn't be sent.
    public static let send = Code(kind: .send)
    /// The answer couldn't be received.
    public static let receive = Code(kind: .receive)
    /// The kernel answered with an error (`NLMSG_ERROR`, or a failed `NLMSG_DONE`).
    public static let refused = Code(kind: .refused)
    /// Messages were lost because the receive buffer was full (`ENOBUFS`, `NLMSG_OVERRUN`).
    public static let overrun = Code(kind: .overrun)
    /// A datagram was longer than the buffer (`MSG_TRUNC`).
    public static let truncated = Code(kind: .truncated)
    /// Lengths inside the answer contradict each other.
    public static let malformed = Code(kind: .malformed)
    /// The kernel didn't answer in time.
    public static let timedOut = Code(kind: .timedOut)
    /// The request doesn't fit netlink's length fields.
    public static let invalidRequest = Code(kind: .invalidRequest)
    /// An earlier dump on this socket was left before its end.
    public static let busy = Code(kind: .busy)

    /// The kind in one word.
    public var description: String { kind.rawValue }
  }

  /// The kind of the error.
  public var code: Code
  /// What was being done, to follow "cannot".
  public var operation: String
  /// The system's error number, if one is at the bottom of it.
  public var errno: Errno?
  /// The kernel's own explanation (`NLMSGERR_ATTR_MSG`), if it gave one.
  public var message: String?

  /// Makes an error.
  public init(
    _ code: Code, operation: String, errno: Errno? = nil, message: String? = nil
  ) {
    self.code = code
    self.operation = operation
    self.errno = errno
    self.message = message
  }

  /// Whether a capability is missing (`EPERM`) or a file is closed to this user (`EACCES`).
  public var isPermissionDenied: Bool {
    errno == .notPermitted || errno == .permissionDenied
  }
}

extension NetlinkError: CustomStringConvertible {
  /// The operation, the kind and the system's words for the error number.
  public var description: String {
    var text = "cannot \(operation): \(errno.map(String.init(describing:)) ?? code.description)"
    if let message { text += " (\(message))" }
    return text
  }
}

/// A length field that contradicts the bytes around it.
///
/// Small on purpose: it is thrown in the innermost loop of a dump.
public struct MalformedNetlink: Error, Sendable, Hashable {
  /// Where in the bytes the contradiction stands.
  public var offset: Int

  /// Makes the error.
  @inlinable
  public init(offset: Int) { self.offset = offset }
}
