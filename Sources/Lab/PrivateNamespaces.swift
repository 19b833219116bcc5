import Glibc
import Netlink
import SystemPackage

/// Private user, network, mount and process namespaces for this program, made without root.
///
/// ```swift
/// switch try PrivateNamespaces.enter() {
/// case .finished(let status): throw ExitCode(status)  // the copy inside did the work
/// case .inside: break
/// }
/// let lab = try await Lab.open()
/// ```
///
/// A process with several threads cannot move into a user namespace, so the program runs itself
/// again through util-linux's `unshare`, in two steps (facts G2): first the user namespace with its
/// maps, then the others. The copy inside is process 1 of a process namespace: when it ends, the
/// kernel ends everything started in it, and with the last process the networks and mounts vanish.
public enum PrivateNamespaces {
  /// Which of the two processes returns from ``enter(arguments:)``.
  public enum Entry: Sendable, Hashable {
    /// This process is inside; the work is to be done here.
    case inside
    /// The copy inside has ended with this status; 128 plus the signal's number for a signal.
    case finished(status: Int32)
  }

  /// The file this program was started from, to run it again on a host of the lab.
  public static var program: String? { Reexecution.ownPath() }

  /// Environment variable with the number of the descriptor that ends when the outer process does.
  static let lifelineVariable = "SIPLEAK_LAB_LIFELINE"

  /// Whether this process is in private namespaces, proved from the kernel.
  public static var isInside: Bool {
    do {
      try Isolation.prove(.current)
      return true
    } catch {
      return false
    }
  }

  /// Enters private namespaces, or runs this program again inside them and waits for it.
  ///
  /// Inside already (a test process, or a lab's shell) nothing is made. Interrupt, hang-up and
  /// termination of the outer process end everything inside before the outer process follows; if
  /// the outer one is killed, the copy inside notices and ends.
  ///
  /// - Parameter arguments: The arguments of the copy, without the program's name.
  /// - Returns: Whether this is the inside, or how the copy inside ended.
  /// - Throws: ``LabError`` when a program is missing or namespaces are forbidden, with the reason.
  public static func enter(
    arguments: [String] = Array(CommandLine.arguments.dropFirst())
  ) throws(LabError) -> Entry {
    if environment(lifelineVariable) != nil, isInside {
      try settle()
      return .inside
    }
    if isInside { return .inside }
    try check()
    return .finished(status: try Reexecution.run(arguments))
  }

  /// Finds out whether private namespaces can be made, without leaving anything.
  ///
  /// - Throws: ``LabError`` with code ``LabError/Code/toolMissing`` or
  ///   ``LabError/Code/namespacesForbidden`` and the setting that forbids them where it is known.
  public static func check() throws(LabError) {
    let missing = Tools.missing
    guard missing.isEmpty else {
      throw LabError(
        .toolMissing, "make a lab", reason: "not installed: \(missing.joined(separator: ", "))",
        advice: "On Debian: sudo apt-get install iptables ipset conntrack iproute2 util-linux mount"
      )
    }
    // The whole way, up to the mount: each step can be forbidden alone.
    let trial = try Reexecution.trial()
    guard trial.status != 0 else { return }
    throw forbidden(trial.errors)
  }

  /// Makes the place ready: runs once in the process that `unshare` started.
  private static func settle() throws(LabError) {
    try Lifeline.hold()
    guard unsafe mount("sipleak-lab", "/run", "tmpfs", 0, nil) == 0 else {
      throw LabError(.system, "mount a private /run", errno: Errno(rawValue: errno))
    }
    // Refused where a container hides parts of /proc; everything works without it.
    _ = unsafe mount("proc", "/proc", "proc", UInt(MS_NOSUID | MS_NODEV | MS_NOEXEC), nil)
    unsafe setenv("PATH", Tools.searchPath, 1)
  }

  /// The error for a failed trial: which setting forbids it, else what the tool said.
  private static func forbidden(_ message: String) -> LabError {
    let operation = "make private namespaces"
    let told = message.split(separator: "\n").last.map(String.init) ?? "refused"
    for limit in ["user", "net", "mnt", "pid"]
    where setting("/proc/sys/user/max_\(limit)_namespaces") == 0 {
      return LabError(
        .namespacesForbidden, operation, reason: "user.max_\(limit)_namespaces is 0",
        advice: "sysctl -w user.max_\(limit)_namespaces=1000 allows them.")
    }
    // Debian's and Ubuntu's own switches; both spare root.
    if geteuid() != 0, setting("/proc/sys/kernel/unprivileged_userns_clone") == 0 {
      return LabError(
        .namespacesForbidden, operation, reason: "kernel.unprivileged_userns_clone is 0",
        advice: "sysctl -w kernel.unprivileged_userns_clone=1 allows them, or run it as root.")
    }
    if geteuid() != 0, setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1 {
      return LabError(
        .namespacesForbidden, operation,
        reason: "AppArmor restricts them for ordinary users",
        advice: "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 allows them, "
          + "or run it as root.")
    }
    return LabError(
      .namespacesForbidden, operation, reason: told,
      advice: "A container or a security policy may forbid them; a virtual machine or an ordinary "
        + "Debian host allows them.")
  }

  private static func setting(_ path: String) -> Int? {
    let file: FileDescriptor
    do { file = try FileDescriptor.open(FilePath(path), .readOnly) } catch { return nil }
    defer { close(file.rawValue) }
    var bytes = [UInt8](repeating: 0, count: 32)
    let count = unsafe bytes.withUnsafeMutableBytes {
      unsafe read(file.rawValue, $0.baseAddress, $0.count)
    }
    guard count > 0 else { return nil }
    let text = String(decoding: bytes.prefix(count), as: UTF8.self)
    return Int(text.split(whereSeparator: \.isWhitespace).first ?? "")
  }
}
