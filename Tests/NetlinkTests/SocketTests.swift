import Netlink
import SystemPackage
import Testing

/// `RTM_GETLINK` with an empty `ifinfomsg`: anybody may ask for the interfaces.
private func linkRequest(index: UInt32 = 0) -> NetlinkRequest {
  var request = NetlinkRequest(type: 18)
  request.append(UInt32(0))
  request.append(index)
  request.append(UInt64(0))
  return request
}

@Suite("A netlink socket")
struct SocketTests {
  @Test("dumps, more than once, and hands on whole messages")
  func dump() throws {
    var socket = try NetlinkSocket.open(.route)
    for _ in 0..<3 {
      var indices: [UInt32?] = []
      let result = try socket.dump(linkRequest(), operation: "list links") { message, payload in
        #expect(message.type == 16)
        indices.append(payload.number(UInt32.self, at: 4))
        return true
      }
      #expect(result.messages == UInt64(indices.count))
      #expect(!result.isStopped)
      // Every namespace has a loopback interface, and it is number 1.
      #expect(indices.contains(1))
    }
  }

  @Test("answers a single question up to its acknowledgement")
  func request() throws {
    var socket = try NetlinkSocket.open(.route)
    var answers = 0
    try socket.request(linkRequest(index: 1), operation: "read one link") { message, _ in
      #expect(message.type == 16)
      answers += 1
    }
    #expect(answers == 1)
  }

  @Test("reports the kernel's refusal with its number and stays usable")
  func refusal() throws {
    let noSuchDevice = Errno(rawValue: 19)
    var socket = try NetlinkSocket.open(.route)
    #expect {
      try socket.request(linkRequest(index: 0x7fff_fff0), operation: "read a link")
    } throws: { error in
      let error = error as? NetlinkError
      return error?.code == .refused && error?.errno == noSuchDevice
        && error?.operation == "read a link" && error?.isPermissionDenied == false
    }
    try socket.request(linkRequest(index: 1), operation: "read one link")
  }

  @Test("says that it is spent after a dump that was left before its end")
  func stopped() throws {
    var socket = try NetlinkSocket.open(.route)
    let result = try socket.dump(linkRequest(), operation: "list links") { _, _ in false }
    #expect(result.isStopped)
    #expect(result.messages == 1)
    #expect {
      try socket.request(linkRequest(index: 1), operation: "read one link")
    } throws: {
      ($0 as? NetlinkError)?.code == .busy
    }
  }

  @Test("that doesn't exist for a kernel is an error of opening, in a namespace that isn't one too")
  func namespaces() throws {
    for path in ["/nonexistent/netns", "/dev/null"] {
      #expect {
        _ = try NetlinkSocket.open(.route, in: .path(FilePath(path)))
      } throws: {
        ($0 as? NetlinkError)?.code == .namespace
      }
    }
  }

  @Test("leaves no descriptor behind")
  func descriptors() throws {
    let first = try FileDescriptor.open(FilePath("/dev/null"), .readOnly)
    try first.close()
    for _ in 0..<10_000 {
      _ = try NetlinkSocket.open(.route)
      _ = try? NetlinkSocket.open(.route, in: .path(FilePath("/nonexistent")))
    }
    let last = try FileDescriptor.open(FilePath("/dev/null"), .readOnly)
    try last.close()
    // Other tests run meanwhile and open some too, but not thousands.
    #expect(last.rawValue < first.rawValue + 200)
  }
}

@Suite("A batch of requests")
struct BatchTests {
  @Test("is carried out whole, in more calls than one, and tells which were refused")
  func refusals() throws {
    let noSuchDevice = Errno(rawValue: 19)
    var socket = try NetlinkSocket.open(.route)
    let allowed = [0, 130, 299]
    let requests = (0..<300).map { linkRequest(index: allowed.contains($0) ? 1 : 0x7fff_fff0) }
    let refusals = try socket.batch(requests, operation: "read links")
    #expect(refusals.map(\.index) == (0..<300).filter { !allowed.contains($0) })
    #expect(refusals.allSatisfy { $0.errno == noSuchDevice })
    // The socket stays usable, and the answers that nobody wanted are gone.
    #expect(try socket.batch(requests.prefix(1), operation: "read links") == [])
    #expect(try socket.batch([], operation: "read links") == [])
    #expect(try socket.batch(requests.suffix(2), operation: "read links").map(\.index) == [0])
    var answers = 0
    try socket.request(linkRequest(index: 1), operation: "read one link") { _, _ in answers += 1 }
    #expect(answers == 1)
  }

  @Test("is not sent on a socket whose dump was left, nor with a request that is too long")
  func refused() throws {
    var socket = try NetlinkSocket.open(.route)
    var long = linkRequest()
    long.attribute(1, bytes: [UInt8](repeating: 0, count: 70_000))
    #expect {
      _ = try socket.batch([linkRequest(index: 1), long], operation: "read links")
    } throws: {
      ($0 as? NetlinkError)?.code == .invalidRequest
    }
    _ = try socket.dump(linkRequest(), operation: "list links") { _, _ in false }
    #expect {
      _ = try socket.batch([linkRequest(index: 1)], operation: "read links")
    } throws: {
      ($0 as? NetlinkError)?.code == .busy
    }
  }
}

@Suite("A network namespace")
struct NamespaceTests {
  @Test("gives the words that make a child enter it")
  func prefix() {
    #expect(NetworkNamespace.current.commandPrefix == [])
    #expect(
      NetworkNamespace.named("pbx").commandPrefix == ["nsenter", "--net=/run/netns/pbx", "--"])
    #expect(NetworkNamespace.process(42) == .path(FilePath("/proc/42/ns/net")))
  }

  @Test("runs a closure and hands on what it returns or throws")
  func run() throws {
    struct Thrown: Error {}
    #expect(try NetworkNamespace.current.run { 42 } == 42)
    #expect(throws: Thrown.self) { try NetworkNamespace.current.run { throw Thrown() } }
  }

  @Test("that can't be entered is an error, and the closure doesn't run")
  func missing() {
    #expect {
      try NetworkNamespace.path(FilePath("/nonexistent")).run { Issue.record("it ran") }
    } throws: { error in
      let error = error as? NetlinkError
      return error?.code == .namespace && error?.errno == .noSuchFileOrDirectory
    }
  }

  @Test("reads the files that are there and leaves out those that aren't")
  func files() throws {
    let release = FilePath("/proc/sys/kernel/osrelease")
    let files = try NetworkNamespace.current.readFiles([release, FilePath("/nonexistent")])
    #expect(Array(files.keys) == [release])
    #expect(files[release]?.isEmpty == false)
  }
}
