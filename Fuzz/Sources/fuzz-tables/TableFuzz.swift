import Conntrack

/// Reads the input as a pasted flow table; what is read must write back, and read again, the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  let reading = TableTextReader.read(bytes)
  let lines = bytes.split(separator: 0x0a, omittingEmptySubsequences: false)
  // Each line is one thing at most, and every complaint has a place in the text.
  let things = reading.flowCount + UInt64(reading.expectations.count) + reading.complaintCount
  precondition(things <= lines.count, "more was read than was written")
  precondition(UInt64(reading.flows.count) <= reading.flowCount, "a flow was invented")
  for complaint in reading.complaints {
    precondition((1...lines.count).contains(complaint.line), "no such line")
    precondition(
      (1...lines[complaint.line - 1].count + 1).contains(complaint.column), "no such column")
  }
  precondition(
    Set(reading.flows.map { Key(flow: $0) }).count == reading.flows.count, "a flow was read twice")
  let kept = TableTextReader.read(bytes, query: FlowQuery(transports: [.udp, .tcp]))
  precondition(kept.complaintCount == reading.complaintCount, "a query hides complaints")
  precondition(kept.flowCount == reading.flowCount, "a query changes the count")
  for form in [FlowText.Form(), .extended, [.extended, .id]] { rewrite(reading.flows, form) }
  return 0
}

private struct Key: Hashable {
  var tuple: FlowTuple
  var zone: UInt16

  init(flow: Flow) {
    tuple = flow.original
    zone = flow.originalZone ?? flow.zone
  }
}

private func rewrite(_ flows: [Flow], _ form: FlowText.Form) {
  // A tuple without ports has no words for them, nor has a status bit that only -o save tells.
  let flows = flows.filter { flow in
    flow.helper?.isEmpty != true && isWritten(flow.original) && isWritten(flow.reply)
      && flow.helper?.utf8.contains(where: { $0 <= 0x20 }) != true
      && (flow.tcpState == nil || flow.original.transport == .tcp)
  }
  let text = flows.map { FlowText.line($0, form: form) + "\n" }.joined()
  let again = TableTextReader.read(Array(text.utf8))
  precondition(
    again.complaints.isEmpty, "what was written is refused: \(again.complaints)\n\(text)")
  precondition(again.flows.count == flows.count, "flows differ in number")
  for (flow, twin) in zip(flows, again.flows) {
    var plain = flow
    if !form.contains(.id) { plain.id = 0 }
    plain.status = twin.status
    let shown: FlowStatus = [.seenReply, .assured, .offload, .hardwareOffload]
    precondition(
      plain == twin && flow.status.intersection(shown) == twin.status.intersection(shown),
      "a flow differs: \(FlowText.line(flow, form: form))")
  }
}

/// Whether a tuple's numbers are ones that its text shows.
private func isWritten(_ tuple: FlowTuple) -> Bool {
  tuple.transport.hasPorts || tuple.transport.rawValue == 47
    || tuple.sourcePort == 0 && tuple.destinationPort == 0
}
