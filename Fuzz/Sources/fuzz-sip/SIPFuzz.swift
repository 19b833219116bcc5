import SIP

/// Reads the input as a datagram: the head, what it gives away, what it attempts.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  guard let head = MessageHead.parse(bytes) else { return 0 }
  precondition(head.length <= count, "the head is longer than the datagram")
  precondition(head.fields.count <= 256 && head.vias.count <= 64 && head.contacts.count <= 64)
  precondition(
    head.fields.reduce(0) { $0 + $1.value.count } <= count, "more was read than was there")
  precondition(Set(head.problems).count == head.problems.count, "a problem is said twice")
  precondition((head.method == nil) != (head.status == nil), "neither request nor response")
  let parties = [head.from, head.to].compactMap(\.self) + head.contacts
  precondition(parties.allSatisfy { $0.parameters.count <= 64 }, "too many parameters")
  precondition(parties.allSatisfy { $0.uri?.isWellFormed != true || $0.uri?.scheme != "" })
  for match in Fingerprint.matches(in: head) { precondition(!match.place.isEmpty) }
  for attempt in Injection.attempts(in: head) { precondition(!attempt.place.isEmpty) }
  // A head alone reads as the head of the whole does, but for what the body decides.
  let alone = MessageHead.parse(Array(bytes.prefix(head.length)), isWhole: false)
  precondition(
    alone?.fields == head.fields && alone?.start == head.start, "the body changes the head")
  return 0
}
