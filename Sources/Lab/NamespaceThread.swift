import Glibc
import Netlink
import SystemPackage

@_silgen_name("setns") private func setns(_ file: Int32, _ kind: Int32) -> Int32

/// Stand-in until NetworkNamespace.run exists.
extension NetworkNamespace {
  func perform<T: Sendable>(_ body: @escaping @Sendable () throws(LabError) -> T) throws(LabError)
    -> T
  {
    guard case .path(let path) = self else { return try body() }
    let box = Box<T>()
    let thread = try startThread("enter \(path)") {
      let file = unsafe open(path.string, O_RDONLY | O_CLOEXEC)
      defer { close(file) }
      guard file >= 0, setns(file, 0x4000_0000) == 0 else {
        unsafe box.result = .failure(
          LabError(.system, "enter \(path)", errno: Errno(rawValue: errno)))
        return
      }
      do throws(LabError) {
        unsafe box.result = .success(try body())
      } catch { unsafe box.result = .failure(error) }
    }
    pthread_join(thread, nil)
    guard let result = unsafe box.result else { throw LabError(.system, "enter \(path)") }
    return try result.get()
  }
  private final class Box<T>: @unchecked Sendable {
    nonisolated(unsafe) var result: Result<T, LabError>?
  }
}
