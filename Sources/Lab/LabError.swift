public import SystemPackage

/// What went wrong in the lab.
public struct LabError: Error, Sendable, Hashable {
  /// The kind of failure.
  public enum Code: Sendable, Hashable {
    /// The kernel or an administrator forbids private namespaces.
    case namespacesForbidden
    /// A program the lab runs isn't installed.
    case toolMissing
    /// A program the lab runs ended with an error.
    case toolFailed
    /// The namespace to be changed could not be proved to be private; nothing was changed.
    case notPrivate
    /// Another lab is open in these namespaces.
    case alreadyOpen
    /// A system call failed.
    case system
    /// The lab, server or client was used after it was closed.
    case closed
  }

  /// The kind of failure.
  public var code: Code
  /// What was being done, such as `set up the lab's network`.
  public var operation: String
  /// What the kernel or the tool said, as one line or more.
  public var reason: String
  /// The system call's error, where there was one.
  public var errno: Errno?
  /// What a person can do about it, as a sentence.
  public var advice: String?

  /// Makes an error.
  public init(
    _ code: Code, _ operation: String, reason: String = "", errno: Errno? = nil,
    advice: String? = nil
  ) {
    self.code = code
    self.operation = operation
    self.reason = reason.isEmpty ? (errno.map(String.init(describing:)) ?? "") : reason
    self.errno = errno
    self.advice = advice
  }
}

extension LabError: CustomStringConvertible {
  /// The operation, the reason and, on a line of its own, the advice.
  public var description: String {
    let first = reason.isEmpty ? "cannot \(operation)" : "cannot \(operation): \(reason)"
    guard let advice else { return first }
    return "\(first)\n  \(advice)"
  }
}
