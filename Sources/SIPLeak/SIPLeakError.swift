import Conntrack
import Firewall
import HostNetwork

/// What went wrong in the product library, with what lies under it.
public struct SIPLeakError: Error, Sendable {
  /// What kind of failure it is.
  public enum Code: Sendable, Hashable {
    /// The kernel or a tool refused for lack of privileges; nothing was read or changed.
    case permissionDenied
    /// The host could not be read.
    case unreadable
    /// A saved observation is missing, cut short or malformed.
    case badFile
    /// The history cannot be opened, read or written.
    case history
    /// Another sipleak is changing the firewall now.
    case locked
    /// A change failed and nothing had been changed.
    case unchanged
    /// A change failed and what had been done was taken back.
    case undone
    /// A change failed and something of it is still there.
    case notUndone
  }

  /// The kind.
  public var code: Code
  /// What failed, in a sentence without a full stop.
  public var message: String
  /// What it means or what to do.
  public var advice: String
  /// The tool's or kernel's own words, shown with `--verbose`; not escaped for terminals.
  public var detail: String
  /// Whether the firewall changed between reading and writing, and nothing else stood against it: what
  /// is planned on a new reading may go through.
  public var isStale = false

  /// Makes an error.
  public init(_ code: Code, _ message: String, advice: String = "", detail: String = "") {
    self.code = code
    self.message = message
    self.advice = advice
    self.detail = detail
  }

  static let needsRoot =
    "It needs CAP_NET_ADMIN, and so do the iptables tools it runs. Run it as root."
}
