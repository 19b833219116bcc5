import Addressing
import Conntrack
import Foundation
import Netlink
import TestSupport
import Testing

/// One value of an independent decoder's JSON: `{"attrs": [[name, value], …]}`.
private struct Decoded {
  private let values: [String: Any]

  init?(_ value: Any?) {
    guard let object = value as? [String: Any], let list = object["attrs"] as? [[Any]]
    else { return nil }
    var values: [String: Any] = [:]
    for pair in list where pair.count == 2 {
      if let name = pair[0] as? String { values[name] = pair[1] }
    }
    self.values = values
  }

  subscript(_ name: String) -> Decoded? { Decoded(values[name]) }
  func number(_ name: String) -> UInt64? { (values[name] as? NSNumber)?.uint64Value }
  func text(_ name: String) -> String? { values[name] as? String }

  func tuple(_ name: String) throws -> FlowTuple {
    let tuple = try #require(self[name])
    let ip = try #require(tuple["CTA_TUPLE_IP"])
    let transport = try #require(tuple["CTA_TUPLE_PROTO"])
    let source = try #require(ip.text("CTA_IP_V4_SRC") ?? ip.text("CTA_IP_V6_SRC"))
    let destination = try #require(ip.text("CTA_IP_V4_DST") ?? ip.text("CTA_IP_V6_DST"))
    let number = try #require(transport.number("CTA_PROTO_NUM"))
    return FlowTuple(
      source: try #require(IPAddress(source)), destination: try #require(IPAddress(destination)),
      transport: IPProtocol(rawValue: UInt8(number)),
      sourcePort: UInt16(transport.number("CTA_PROTO_SRC_PORT") ?? 0),
      destinationPort: UInt16(transport.number("CTA_PROTO_DST_PORT") ?? 0))
  }

  func counters(_ name: String) -> Flow.Counters? {
    guard let pair = self[name], let packets = pair.number("CTA_COUNTERS_PACKETS"),
      let bytes = pair.number("CTA_COUNTERS_BYTES")
    else { return nil }
    return Flow.Counters(packets: packets, bytes: bytes)
  }
}

@Suite(
  "A live table",
  .enabled(if: Corpus.isThere, "the corpus isn't here: set SIPLEAK_CORPUS"))
struct LiveTableTests {
  @Test("decodes to what an independent decoder makes of it")
  func independentDecoder() throws {
    let flows = try Corpus.payloads().map { (bytes) in try FlowMessage.flow(bytes) }
    let json = try JSONSerialization.jsonObject(
      with: Data(try Corpus.bytes("raw.nlmsg.pyroute2.json")))
    let expected = try #require(json as? [Any])
    #expect(flows.count == 47)
    try #require(flows.count == expected.count)
    for (flow, value) in zip(flows, expected) {
      let other = try #require(Decoded(value))
      #expect(flow.original == (try other.tuple("CTA_TUPLE_ORIG")))
      #expect(flow.reply == (try other.tuple("CTA_TUPLE_REPLY")))
      #expect(UInt64(flow.status.rawValue) == other.number("CTA_STATUS"))
      #expect(UInt64(flow.id) == other.number("CTA_ID"))
      #expect(UInt64(flow.zone) == other.number("CTA_ZONE") ?? 0)
      #expect(flow.mark.map(UInt64.init) == other.number("CTA_MARK"))
      #expect(flow.timeout.map(UInt64.init) == other.number("CTA_TIMEOUT"))
      #expect(flow.originalCounters == other.counters("CTA_COUNTERS_ORIG"))
      #expect(flow.replyCounters == other.counters("CTA_COUNTERS_REPLY"))
      #expect(flow.start == other["CTA_TIMESTAMP"]?.number("CTA_TIMESTAMP_START"))
      #expect(
        flow.tcpState.map(UInt64.init)
          == other["CTA_PROTOINFO"]?["CTA_PROTOINFO_TCP"]?.number("CTA_PROTOINFO_TCP_STATE"))
      // The other decoder gives the nest of CTA_HELP as text, header and all.
      #expect((flow.helper == "sip") == (other.text("CTA_HELP")?.contains("sip") ?? false))
    }
    #expect(flows.filter { $0.helper != nil }.count == 1)
    #expect(flows.filter { $0.zone == 9 }.count == 1)
    #expect(flows.compactMap(\.originalZone) == [5])
    #expect(Set(flows.map(\.key)).count == flows.count)
  }

  @Test("gives the flows that conntrack prints", arguments: ["ipv4", "ipv6"])
  func textForms(family: String) throws {
    let flows = try Corpus.payloads().map { (bytes) in try FlowMessage.flow(bytes) }
    let byID = Dictionary(
      flows.filter { $0.family.rawValue == family }.map { ($0.id, $0) },
      uniquingKeysWith: { first, _ in first })
    let lines = try Corpus.text("L.\(family).extended_id.txt").split(separator: "\n")
    #expect(lines.count == byID.count)
    for line in lines {
      let words = line.split(separator: " ").map(String.init)
      func all(_ key: String) -> [String] {
        words.filter { $0.hasPrefix(key + "=") }.map { String($0.dropFirst(key.count + 1)) }
      }
      let id = try #require(all("id").last.flatMap { UInt32($0) })
      let flow = try #require(byID[id])
      #expect(all("src") == [flow.original.source, flow.reply.source].map(\.description))
      #expect(all("dst") == [flow.original.destination, flow.reply.destination].map(\.description))
      if flow.original.transport.hasPorts {
        #expect(all("sport") == [flow.original.sourcePort, flow.reply.sourcePort].map(String.init))
        #expect(
          all("dport")
            == [flow.original.destinationPort, flow.reply.destinationPort].map(String.init))
      }
      #expect(words[3] == String(flow.original.transport.rawValue))
      #expect(all("mark") == flow.mark.map { [String($0)] })
      #expect(all("zone") == (flow.zone == 0 ? [] : [String(flow.zone)]))
      #expect(all("zone-orig") == (flow.originalZone.map { [String($0)] } ?? []))
      // A flow that isn't seen both ways is UNREPLIED, ASSURED is printed as it is.
      #expect(words.contains("[UNREPLIED]") == !flow.status.contains(.seenReply))
      #expect(words.contains("[ASSURED]") == flow.status.contains(.assured))
    }
  }

  @Test("cut anywhere inside a message never crashes and never invents a flow")
  func truncation() throws {
    for payload in try Corpus.payloads() {
      let whole = try FlowMessage.flow(payload)
      for length in 0..<payload.count {
        let cut = Array(payload[..<length])
        _ = try? FlowMessage.ports(cut)
        if let flow = try? FlowMessage.flow(cut) { #expect(flow.key.original == whole.original) }
      }
    }
  }

  @Test("with bytes changed at random is read or refused", arguments: 0..<40)
  func mutation(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    for payload in try Corpus.payloads() {
      for _ in 0..<20 {
        var bytes = payload
        for _ in 0..<Int.random(in: 1...8, using: &generator) {
          bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
            in: 0...255, using: &generator)
        }
        _ = try? FlowMessage.ports(bytes)
        _ = try? FlowMessage.flow(bytes)
      }
    }
  }
}
