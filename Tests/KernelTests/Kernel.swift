import CPrivateNamespaces
import Glibc
import Lab
import Testing

/// Every suite that touches a kernel is an extension of this one.
///
/// `.serialized` orders only what is inside one suite, and the lab's hosts have fixed names. The
/// test process is in private namespaces before its first thread exists (CPrivateNamespaces), so
/// plain `swift test` does, as root and as an ordinary user.
@Suite(
  .serialized,
  .enabled(
    if: Namespaces.problem == nil,
    "no private namespaces: \(Namespaces.problem ?? "")"))
struct Kernel {}

/// Whether this test process is in namespaces of its own.
enum Namespaces {
  /// Why it is not, or `nil` when it is.
  static var problem: String? {
    if let text = unsafe private_namespaces_error() { return unsafe String(cString: text) }
    return PrivateNamespaces.isInside ? nil : "the kernel contradicts"
  }

  /// Inode of the network namespace the process came from.
  static var outside: UInt64 { private_namespaces_outside() }
}

/// Where kernel tests must run, being unable to is a failure and not a skip.
@Suite struct ContinuousIntegration {
  @Test(
    "namespaces are available where CI is set",
    .enabled(if: unsafe getenv("CI") != nil, "CI is not set"))
  func namespacesAreAvailable() {
    #expect(Namespaces.problem == nil)
  }
}
