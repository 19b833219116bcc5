@testable import Conntrack
import Netlink

/// Reads the input as one datagram of a dump: messages, attributes, flows, expectations.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = UnsafeRawBufferPointer(start: start, count: count).bytes
  var cursor = MessageCursor()
  var end = 0
  while let message = try? cursor.next(in: bytes) {
    precondition(message.payload.lowerBound >= end + 16, "a message was read twice")
    precondition(message.payload.upperBound <= count, "a message ends outside")
    end = message.payload.upperBound
    let payload = bytes.extracting(message.payload)
    walk(AttributeCursor(0..<payload.byteCount), payload, depth: 0)
    let ports = try? FlowMessage.ports(payload)
    if let flow = try? FlowMessage.flow(payload) {
      precondition(ports != nil, "the quick look refuses what the whole reading takes")
      precondition(flow.key.original == flow.original && flow.reply.family == flow.family)
    }
    if let expectation = try? Expectation(message: payload) {
      _ = expectation.admits(expectation.master)
    }
  }
  return 0
}

/// Goes through every attribute as if each were a nest, always forward and inside.
private func walk(_ start: AttributeCursor, _ bytes: RawSpan, depth: Int) {
  var cursor = start
  var end = 0
  while let attribute = try? cursor.next(in: bytes) {
    precondition(attribute.payload.lowerBound >= end + 4 || end == 0, "it stands still")
    precondition(attribute.payload.upperBound <= bytes.byteCount, "an attribute ends outside")
    end = attribute.payload.upperBound
    _ = try? attribute.bigEndian(UInt8.self, in: bytes)
    _ = try? attribute.bigEndian(UInt16.self, in: bytes)
    _ = try? attribute.bigEndian(UInt32.self, in: bytes)
    _ = try? attribute.bigEndian(UInt64.self, in: bytes)
    _ = try? attribute.bigEndian(UInt128.self, in: bytes)
    if depth < 8 { walk(attribute.children, bytes, depth: depth + 1) }
  }
}
