import ArgumentParser
import Glibc

/// UDP sockets of IPv4, as little as the benchmark needs.
private enum UDPSocket {
  static func open(from address: String?, port: UInt16) throws -> Int32 {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    guard socket >= 0 else { throw BenchError(description: "socket: error \(errno)") }
    var local = try place(address ?? "0.0.0.0", port)
    let result = unsafe withUnsafePointer(to: &local) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else {
      throw BenchError(description: "bind \(address ?? "") \(port): error \(errno)")
    }
    return socket
  }

  static func connect(_ socket: Int32, to address: String, port: UInt16) throws {
    var remote = try place(address, port)
    let result = unsafe withUnsafePointer(to: &remote) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else { throw BenchError(description: "connect: error \(errno)") }
  }

  static func wait(_ socket: Int32, milliseconds: Int) {
    var time = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
    _ = unsafe setsockopt(
      socket, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
  }

  private static func place(_ address: String, _ port: UInt16) throws -> sockaddr_in {
    var place = sockaddr_in()
    place.sin_family = sa_family_t(AF_INET)
    place.sin_port = port.bigEndian
    guard unsafe inet_pton(AF_INET, address, &place.sin_addr) == 1 else {
      throw BenchError(description: "\(address) is no IPv4 address")
    }
    return place
  }
}

/// `sipleak-bench flood`: what a carrier sends.
struct Flood: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Send UDP packets as fast as one processor can, and print how many there were.")

  @Option(help: "Where they go.") var to: String
  @Option(help: "The port.") var port: UInt16 = 5060
  @Option(help: "The first three bytes of the sources' addresses.") var network = "198.51.100"
  @Option(help: "How many addresses, from .10 on.") var addresses = 1
  @Option(help: "How many sockets, each with a port of its own.") var sockets = 1
  @Option(help: "How long.") var milliseconds = 1000
  @Flag(help: "Have the first packet of each socket answered.") var established = false

  func run() throws {
    let all = try (0..<sockets).map { number in
      let socket = try UDPSocket.open(from: "\(network).\(10 + number % addresses)", port: 0)
      try UDPSocket.connect(socket, to: to, port: port)
      return socket
    }
    let first = try UDPSocket.open(from: "\(network).10", port: 0)
    try UDPSocket.connect(first, to: to, port: port)
    // The counter is there once it has answered.
    for socket in established ? [first] + all : [first] { try awaitAnswer(socket) }
    // As long as a short request. A call a packet: what it costs beside the packet's way through the
    // kernel is little, and the same with blocks and without.
    let packet = [UInt8](repeating: 0x20, count: 400)
    let clock = ContinuousClock()
    let start = clock.now
    let end = start + .milliseconds(milliseconds)
    var count = 0
    var number = 0
    while clock.now < end {
      for _ in 0..<64 where unsafe send(all[number], packet, packet.count, 0) == packet.count {
        count += 1
      }
      number = (number + 1) % all.count
    }
    print(Double(count) / ((clock.now - start) / .seconds(1)))
  }

  private func awaitAnswer(_ socket: Int32) throws {
    UDPSocket.wait(socket, milliseconds: 50)
    var byte: UInt8 = UInt8(ascii: "?")
    for _ in 0..<200 {
      _ = unsafe send(socket, &byte, 1, 0)
      var answer: UInt8 = 0
      if unsafe recv(socket, &answer, 1, 0) == 1 { return }
    }
    throw BenchError(description: "nobody answers at \(to):\(port)")
  }
}

/// `sipleak-bench count`: a telephone system that only counts what reaches its socket.
struct Count: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print how many UDP packets a second came in, from the first to the last.")

  @Option(help: "The port.") var port: UInt16 = 5060

  func run() throws {
    let socket = try UDPSocket.open(from: nil, port: port)
    var size: Int32 = 16 << 20
    _ = unsafe setsockopt(
      socket, SOL_SOCKET, SO_RCVBUFFORCE, &size, socklen_t(MemoryLayout<Int32>.size))
    var isCounting = false
    UDPSocket.wait(socket, milliseconds: 20_000)
    // Questions first: each is answered, so that the flow is one that was seen both ways.
    while !isCounting {
      var peer = sockaddr_in()
      var length = socklen_t(MemoryLayout<sockaddr_in>.size)
      var byte: UInt8 = 0
      let count = unsafe withUnsafeMutablePointer(to: &peer) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          unsafe recvfrom(socket, &byte, 1, 0, $0, &length)
        }
      }
      guard count == 1 else { throw BenchError(description: "nothing came in") }
      guard byte == UInt8(ascii: "?") else {
        isCounting = true
        break
      }
      _ = unsafe withUnsafePointer(to: &peer) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          unsafe sendto(socket, &byte, 1, 0, $0, length)
        }
      }
    }
    UDPSocket.wait(socket, milliseconds: 300)
    var packet = [UInt8](repeating: 0, count: 2048)
    let clock = ContinuousClock()
    let start = clock.now
    var last = start
    var total = 1
    while unsafe recv(socket, &packet, packet.count, 0) > 0 {
      total += 1
      if total % 64 == 0 { last = clock.now }
    }
    print(Double(total) / ((last - start) / .seconds(1)))
  }
}
