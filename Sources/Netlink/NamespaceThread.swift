import CNetfilter
import Glibc
import SystemPackage

/// A thread of its own that has entered a network namespace and runs one closure there.
///
/// `setns(2)` changes the calling thread only. On a thread of the concurrency pool it would leak into
/// whatever task runs there next, so a namespace is entered on a thread that ends afterwards, and
/// nothing has to be restored.
package struct NamespaceThread<Value: Sendable>: ~Copyable {
  private let thread: pthread_t
  private let box: Box<Value>
  private let namespace: NetworkNamespace
  private var isJoined = false

  private init(thread: pthread_t, box: Box<Value>, namespace: NetworkNamespace) {
    self.thread = thread
    self.box = box
    self.namespace = namespace
  }

  /// Starts the thread.
  ///
  /// - Parameters:
  ///   - namespace: The namespace to enter first.
  ///   - body: What to run there.
  /// - Returns: The thread, to be joined.
  /// - Throws: ``NetlinkError`` with code `thread`.
  package static func start(
    in namespace: NetworkNamespace, _ body: @escaping @Sendable () -> Value
  ) throws(NetlinkError) -> NamespaceThread {
    let box = Box<Value>(namespace: namespace, body: body)
    var thread = pthread_t()
    let context = unsafe Unmanaged.passRetained(box as AnyBox).toOpaque()
    let failure = unsafe pthread_create(
      &thread, nil,
      { @Sendable context in
        if let context = unsafe context {
          unsafe Unmanaged<AnyBox>.fromOpaque(context).takeRetainedValue().run()
        }
        return nil
      }, context)
    guard failure == 0 else {
      unsafe Unmanaged<AnyBox>.fromOpaque(context).release()
      throw NetlinkError(
        .thread, operation: "start a thread for a network namespace",
        errno: Errno(rawValue: failure))
    }
    return NamespaceThread(thread: thread, box: box, namespace: namespace)
  }

  /// Waits for the thread's end.
  ///
  /// - Returns: What the closure returned.
  /// - Throws: ``NetlinkError`` with code `namespace` if the namespace couldn't be entered; the closure
  ///   did not run then.
  package consuming func join() throws(NetlinkError) -> Value {
    isJoined = true
    pthread_join(thread, nil)
    if let value = box.value { return value }
    throw NetlinkError(
      .namespace, operation: "enter the network namespace \(namespace)", errno: box.failure)
  }

  deinit {
    if !isJoined { pthread_detach(thread) }
  }
}

/// What crosses to the thread, without its generic parameter: a C function can't have one.
private class AnyBox {
  func run() {}
}

// Unchecked: the fields are written by the thread alone and read after pthread_join, which orders them.
private final class Box<Value: Sendable>: AnyBox, @unchecked Sendable {
  let namespace: NetworkNamespace
  let body: @Sendable () -> Value
  var value: Value?
  var failure: Errno?

  init(namespace: NetworkNamespace, body: @escaping @Sendable () -> Value) {
    self.namespace = namespace
    self.body = body
  }

  override func run() {
    do {
      try namespace.enterOnThisThread()
      value = body()
    } catch {
      failure = error
    }
  }
}

extension NetworkNamespace {
  fileprivate func enterOnThisThread() throws(Errno) {
    guard case .path(let path) = self else { return }
    let descriptor: FileDescriptor
    do {
      descriptor = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    } catch {
      throw (error as? Errno) ?? .ioError
    }
    defer { try? descriptor.close() }
    if setns(descriptor.rawValue, CLONE_NEWNET) != 0 { throw Errno(rawValue: errno) }
  }
}
